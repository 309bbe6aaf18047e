"""What costs nothing: the figures that a generator has to beat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.masks import Role, move_mask


def repeat_first(clip: Clip) -> Clip:
    """Return the clip with nothing moving: the first frame and its masks, repeated."""
    frames = len(clip.video)
    return replace(clip, video=np.repeat(clip.video[:1], frames, 0), labels=np.repeat(clip.labels[:1], frames, 0))


def linear_translation(clip: Clip) -> UInt8[np.ndarray, "t h w"]:
    """Return masks whose object glides evenly from where it is to the goal mask's centroid; the arm rests."""
    thing = clip.labels[0] == Role.OBJECT
    labels = np.repeat(clip.labels[:1], len(clip.labels), 0)
    if not thing.any():
        return labels
    dx, dy = _centroid(clip.goal_mask) - _centroid(thing)
    for frame, share in zip(labels[1:], np.linspace(0, 1, len(labels))[1:], strict=True):
        frame[thing] = Role.BACKGROUND
        moved = move_mask(thing, share * dx, share * dy)
        frame[moved & (frame != Role.INTERACTOR)] = Role.OBJECT
    return labels


def _centroid(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    return np.argwhere(mask).mean(0)[::-1]
