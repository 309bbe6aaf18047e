"""The denoiser: what a stage asks of a network, whichever network it is."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from mask2iv_ros.generator.conditioning import Condition


class Denoiser(Protocol):
    """A network that looks at a noisy video latent and says what is noise in it.

    The noisy latent and `condition.beside` are concatenated on the channel axis, noise first
    (method: this beats a ControlNet branch, FVD 130 against 157). What the output means, v, noise
    or the clean latent, is the stage's `NoiseSchedule.prediction`.
    """

    def __call__(
        self,
        sample: Float[Tensor, "b c t h w"],
        timestep: Int[Tensor, "b"],
        condition: Condition,
    ) -> Float[Tensor, "b c t h w"]:
        """Return the network's output, of the sample's shape; timestep 0 is almost clean, 999 pure noise."""
        ...
