"""Demonstrations that are drawn, not recorded, and a labeller small enough to learn from them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mask2iv_ros.actions.settings import LabellerExperiment, LookSettings, NetworkSettings
from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.export import ExportSettings, RobotColumns
from mask2iv_ros.masks import COLOURS, Role

SIZE, FRAMES, FPS, REACH = (32, 64), 8, 10.0, 3.0
SETTINGS = ExportSettings("front", ("x", "y"), ("right", "down", "grip"))
TINY = LabellerExperiment(
    network=NetworkSettings(size=SIZE, chunk=2, seen=3, widths=(16, 32), keypoints=4, layers=1, heads=2),
    look=LookSettings(shift=2, share=0.2),
    steps=100,
    batch=8,
    span=8,
    rate=4e-3,
)


def moving_clip(seed: int) -> tuple[Clip, RobotColumns]:
    """Draw an arm that goes by its actions, at most `REACH` pixels a frame, before a still object."""
    rng = np.random.default_rng(seed)
    # Steady enough for the last action to be guessed, which no frame follows.
    told = np.linspace(*rng.uniform(-1, 1, (2, 2)), FRAMES)
    action = np.concatenate([told, np.full((FRAMES, 1), 0.5)], 1).astype(np.float32)
    place = np.array([24.0, 12.0]) + rng.uniform(-4, 4, 2) + REACH * np.cumsum(action[:, :2], 0) - REACH * action[:, :2]
    labels = np.zeros((FRAMES, *SIZE), np.uint8)
    labels[:, 24:30, 54:60] = Role.OBJECT
    for picture, (x, y) in zip(labels, place.round().astype(int), strict=True):
        picture[max(0, y - 4) : y + 4, max(0, x - 4) : x + 4] = Role.INTERACTOR
    video = np.full((*labels.shape, 3), 120, np.uint8)
    for role in (Role.INTERACTOR, Role.OBJECT):
        video[labels == role] = COLOURS[role]
    clip = Clip(video, labels, labels[-1] == Role.OBJECT, "wander", seed, "wander about", FPS)
    return clip, RobotColumns((place / 100).astype(np.float32), action)


def write_moving(
    root: Path,
    seeds: range,
    settings: ExportSettings = SETTINGS,
    change: Callable[[np.ndarray], np.ndarray] = lambda action: action,
) -> Path:
    """Write clips as a dataset with the columns that the settings name; return its folder.

    Args:
        root: must not exist.
        seeds: a clip each.
        settings: columns of state and action may be none.
        change: makes the actions that are written of the true ones.
    """
    clips, robots = zip(*(moving_clip(seed) for seed in seeds), strict=True)
    robots = [
        RobotColumns(one.state if settings.state else None, change(one.action) if settings.action else None)
        for one in robots
    ]
    write_clips(root, clips, settings, robots)
    return root
