"""Clips that are drawn, not rendered: what tests of everything around a dataset need."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.data.instruction import instruct
from mask2iv_ros.masks import COLOURS, Role

_SIDE = 6  # of the square, in pixels


def tiny_clip(seed: int, size: tuple[int, int] = (32, 48), frames: int = 4) -> Clip:
    """Draw a bar that pushes a square over grey noise, to the right or to the left as the seed's parity says.

    Args:
        seed: of place and speed.
        size: (height, width) in pixels, at least 16 x 24.
        frames: at least 2.
    """
    height, width = size
    rng = np.random.default_rng(seed)
    top = int(rng.integers(2, height - _SIDE - 1))
    distance = int(rng.integers(width // 6, width // 4))
    labels = np.zeros((frames, *size), np.uint8)
    for frame, picture in enumerate(labels):
        left = width // 2 - _SIDE + round(distance * frame / (frames - 1))
        picture[top : top + _SIDE, left : left + _SIDE] = Role.OBJECT
        picture[top + 1 : top + _SIDE - 1, left - _SIDE : left] = Role.INTERACTOR
    if seed % 2:
        labels = labels[..., ::-1].copy()
    video = rng.integers(110, 130, (*labels.shape, 3), np.uint8)
    for role in (Role.INTERACTOR, Role.OBJECT):
        video[labels == role] = np.array(COLOURS[role]) // 2 + 60
    goal_mask = labels[-1] == Role.OBJECT
    text = instruct("push the square", labels[0] == Role.OBJECT, goal_mask)
    return Clip(video, labels, goal_mask, "slide", seed, text, 10.0)


def write_tiny_dataset(root: Path, clips: int = 4, size: tuple[int, int] = (32, 48), frames: int = 4) -> Path:
    """Write a LeRobot v3 dataset of `clips` drawn clips, seeds 0, 1, ..., and return its folder."""
    write_clips(root, [tiny_clip(seed, size, frames) for seed in range(clips)])
    return root
