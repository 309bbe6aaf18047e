"""Conditioning: what a denoiser is told beside the noisy latent, and how each stage lays it out.

Both stages see the same kind of thing, [noisy latent | first frame | mask latents], which is
12 channels on the base model's 4-channel latents (method, stages 1 and 2). They differ in
what the mask latents hold. A stage 2 whose origin is pasted (`Origin`) sees that video's latents after them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mask2iv_ros.masks import Role

# Of a trajectory, what stage 2 is told: nothing (image to video), the interactor's mask alone, or all of it.
Masks = Literal["none", "interactor", "both"]

# What the change is measured from that a stage denoises: the first frame, or, for stage 2, the first frame with the
# pixels of arm and object pasted where the trajectory shows them (`paste`). Ours, not the paper's: a small network
# then mends what pasting gets wrong and need not carry textures over the image.
Origin = Literal["first", "pasted"]


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told; a part that a network has no input for is None.

    Attributes:
        beside: concatenated to the noisy latent on the channel axis, after it.
        text: the text encoder's hidden states, for cross-attention.
        image: tokens of the first frame for cross-attention; as many for every frame of the video,
            ordered (t l), or one set that all frames share.
        fps: of the video, whole frames per second.
    """

    beside: Float[Tensor, "b k t h w"]
    text: Float[Tensor, "b s d"] | None = None
    image: Float[Tensor, "b n d"] | None = None
    fps: Int[Tensor, "b"] | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """Return the condition with every tensor changed, for example moved to a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Condition(**{name: None if value is None else change(value) for name, value in values.items()})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Condition:
        """Return the condition on a device, what is not whole numbers in `dtype`."""
        return self.map(lambda value: value.to(device, dtype if value.is_floating_point() else None))


def stack(conditions: Sequence[Condition]) -> Condition:
    """Return one batch of conditions that have the same parts, in the order given."""
    values = {}
    for field in fields(Condition):
        parts = [getattr(condition, field.name) for condition in conditions]
        values[field.name] = None if parts[0] is None else torch.cat(parts)
    return Condition(**values)


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


def without_masks(masks: Float[Tensor, "b c t h w"], stage: str) -> Float[Tensor, "b c t h w"]:
    """Return the mask latents as they are dropped in training and led away from by guidance.

    Stage 1 ("trajectory") keeps the initial masks, which are part of the scene, and loses the goal;
    stage 2 loses the whole trajectory.
    """
    return goal_slots(masks[:, :, 0], None, masks.shape[2]) if stage == "trajectory" else torch.zeros_like(masks)


def told_labels(labels: UInt8[np.ndarray, "t h w"], masks: Masks) -> UInt8[np.ndarray, "t h w"]:
    """Return a trajectory's label maps with the roles that stage 2 is not told as background.

    The latent of no role is not that of a black picture but zero, as in training where masks are dropped.
    """
    hidden = {"none": (Role.INTERACTOR, Role.OBJECT), "interactor": (Role.OBJECT,), "both": ()}[masks]
    return np.where(np.isin(labels, hidden), np.uint8(Role.BACKGROUND), labels)


def beside_first_frame(
    first: Float[Tensor, "b c h w"],
    masks: Float[Tensor, "b c t h w"],
    pasted: Float[Tensor, "b c t h w"] | None = None,
) -> Float[Tensor, "b k t h w"]:
    """Return the channels beside the noisy latent.

    Args:
        first: the first frame's latent, which is given in every frame.
        masks: mask latents.
        pasted: latents of the pasted video, for a stage whose origin it is.
    """
    parts = [first.unsqueeze(2).expand_as(masks), masks]
    return torch.cat(parts if pasted is None else [*parts, pasted], dim=1)
