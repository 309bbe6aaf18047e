"""Rectified flow with a network that predicts the clean latent.

x_s = (1 - s) x + s n for noise level s in [0, 1], and dx_s/ds = n - x = (x_s - x) / s
(Liu et al. 2022, arXiv 2209.03003). Predicting x rather than the velocity measured better for
small networks, whose output must then not carry the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_LEAST_LEVEL = 0.3


@dataclass(frozen=True)
class Flow:
    """Which noise levels are trained: s = sigmoid(N(mean, std))."""

    mean: float = 0.4
    std: float = 1.0

    def draw_levels(self, count: int, generator: torch.Generator) -> Float[Tensor, "b"]:
        """Return noise levels for a training batch."""
        return torch.sigmoid(self.mean + self.std * torch.randn(count, generator=generator))

    def add_noise(
        self, clean: Float[Tensor, "b c t h w"], noise: Float[Tensor, "b c t h w"], level: Float[Tensor, "b"]
    ) -> Float[Tensor, "b c t h w"]:
        """Return x_s."""
        level = level.view(-1, 1, 1, 1, 1)
        return (1 - level) * clean + level * noise

    def loss_weight(self, level: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return each sample's weight: the velocity's 1 / s, bounded where the error nears zero anyway."""
        return 1 / level.clamp_min(_LEAST_LEVEL)

    def velocity(
        self, noisy: Float[Tensor, "b c t h w"], clean: Float[Tensor, "b c t h w"], level: float
    ) -> Float[Tensor, "b c t h w"]:
        """Return dx_s/ds for an estimate of the clean latent; `level` > 0."""
        return (noisy - clean) / level
