"""Conditioning layouts: what each stage is told, laid out beside the noisy latent.

Both stages see the same kind of thing, [noisy latent | first frame | mask latents], which is
12 channels on the base model's 4-channel latents (method, stages 1 and 2). They differ in
what the mask latents hold.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def goal_slots(
    initial: Float[Tensor, "b c h w"], goal: Float[Tensor, "b c h w"] | None, frames: int
) -> Float[Tensor, "b c t h w"]:
    """Return stage 1's mask latents: initial masks in the first slot, the goal in the last, zeros between.

    Without a goal mask (text-conditioned) the last slot is zero too.
    """
    slots = initial.new_zeros(*initial.shape[:2], frames, *initial.shape[2:])
    slots[:, :, 0] = initial
    if goal is not None:
        slots[:, :, -1] = goal
    return slots


def beside_first_frame(
    first: Float[Tensor, "b c h w"], masks: Float[Tensor, "b c t h w"]
) -> Float[Tensor, "b k t h w"]:
    """Return a stage's whole condition: the first frame's latent in every frame, and the mask latents."""
    return torch.cat([first.unsqueeze(2).expand_as(masks), masks], dim=1)
