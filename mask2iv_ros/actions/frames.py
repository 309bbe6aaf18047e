"""What the network is shown of frames and their labels, as they are or made to look imagined."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from mask2iv_ros.actions.settings import LookSettings, NetworkSettings
from mask2iv_ros.masks import Role

_COARSE = 4  # pixels a cell; cells with a mask and those around are shown in full brightness: edges are off
_ROLES = (Role.INTERACTOR, Role.OBJECT)


def plain(
    frames: UInt8[Tensor, "n 3 h w"], labels: UInt8[Tensor, "n h w"], settings: NetworkSettings
) -> Float[Tensor, "n c h w"]:
    """Return the network's channels of frames as they are."""
    count, _, height, width = frames.shape
    rows, columns = (torch.arange(side, device=frames.device).expand(count, -1) for side in (height, width))
    return _channels(frames.float() / 255, _masks(labels), rows, columns, settings)


def imagined(
    frames: UInt8[Tensor, "b s 3 h w"],
    labels: UInt8[Tensor, "b s h w"],
    blurred: UInt8[Tensor, "b s 3 h w"],
    others: UInt8[Tensor, "b s 3 h w"],
    settings: NetworkSettings,
    look: LookSettings,
    random: torch.Generator,
) -> Float[Tensor, "b s c h w"]:
    """Return the network's channels of windows made to look imagined.

    Args:
        frames: of every window.
        labels: of them.
        blurred: the same frames, blurred (`blur`).
        others: frames of the same episodes, whose ghosts may shine through.
        settings: see `NetworkSettings`.
        look: see `LookSettings`.
        random: of all changes.
    """
    windows, shown, _, height, width = frames.shape
    count = windows * shown

    def uniform(*shape: int) -> Float[Tensor, "..."]:
        return torch.rand(shape, generator=random)

    def some(most: float) -> Float[Tensor, "n 1 1 1"]:
        return (uniform(count, 1, 1, 1) < look.share) * uniform(count, 1, 1, 1) * most

    picture, soft, other = (one.flatten(0, 1).float().div_(255) for one in (frames, blurred, others))
    picture = picture.lerp_(soft, some(1.0)).lerp_(other, some(look.ghosts))
    grain = torch.randn(count, 3, height // 4, width // 4, generator=random)
    picture += F.interpolate(some(look.noise) * grain, (height, width))
    gain = 1 + look.colours * (2 * uniform(windows, 3, 1, 1) - 1)
    picture = picture.mul_(gain.repeat_interleave(shown, 0)).clamp_(0, 1)
    masks = _ragged(_masks(labels.flatten(0, 1)), some(look.ragged), random)
    masks[:, 1] *= uniform(count, 1, 1) >= look.lost
    rows, columns = (
        _shifted(windows, side, look.shift, random).repeat_interleave(shown, 0) for side in (height, width)
    )
    at = torch.arange(count)[:, None, None], slice(None), rows[:, :, None], columns[:, None, :]
    # Indices around a slice put its axis last.
    picture, masks = (one[at].permute(0, 3, 1, 2) for one in (picture, masks))
    return _channels(picture, masks, rows, columns, settings, (height, width)).unflatten(0, (windows, shown))


def _channels(
    picture: Float[Tensor, "n 3 h w"],
    masks: Float[Tensor, "n 2 h w"],
    rows: Int[Tensor, "n h"],
    columns: Int[Tensor, "n w"],
    settings: NetworkSettings,
    size: Sequence[int] | None = None,
) -> Float[Tensor, "n c h w"]:
    height, width = size or picture.shape[-2:]
    if settings.masks:
        coarse = F.max_pool2d(masks.amax(1, keepdim=True), _COARSE)
        around = F.interpolate(F.max_pool2d(coarse, 3, 1, 1), (height, width))
        picture = picture * (settings.dim + (1 - settings.dim) * around)
    else:
        masks = torch.zeros_like(masks)
    down = (2 * rows / (height - 1) - 1)[:, None, :, None].expand(-1, -1, -1, columns.shape[1])
    right = (2 * columns / (width - 1) - 1)[:, None, None, :].expand(-1, -1, rows.shape[1], -1)
    return torch.cat([2 * picture - 1, masks, down, right], 1)


def _masks(labels: UInt8[Tensor, "n h w"]) -> Float[Tensor, "n 2 h w"]:
    return torch.stack([labels == role for role in _ROLES], 1).float()


def _shifted(windows: int, side: int, most: int, random: torch.Generator) -> Int[Tensor, "b side"]:
    """Return for every window which rows or columns are shown, those at the edge again beyond it."""
    by = torch.randint(-most, most + 1, (windows, 1), generator=random)
    return (torch.arange(side) + by).clamp(0, side - 1)


def blur(frames: UInt8[Tensor, "n 3 h w"], look: LookSettings) -> UInt8[Tensor, "n 3 h w"]:
    """Return the frames blurred as much as they ever are."""
    pictures = frames.permute(0, 2, 3, 1).contiguous().numpy()
    soft = np.stack([cv2.GaussianBlur(one, (0, 0), look.blur) for one in pictures])
    return torch.from_numpy(soft).permute(0, 3, 1, 2).contiguous()


def _ragged(
    masks: Float[Tensor, "n 2 h w"], by: Float[Tensor, "n 1 1 1"], random: torch.Generator
) -> Float[Tensor, "n 2 h w"]:
    """Return masks whose edges are off by smooth noise."""
    count, _, height, width = masks.shape
    noise = F.interpolate(torch.randn(count, 2, height // 4, width // 4, generator=random), (height, width))
    soft = F.avg_pool2d(masks, 5, 1, 2, count_include_pad=False)
    return torch.where(by > 0, (soft + by * noise > 0.5).float(), masks)
