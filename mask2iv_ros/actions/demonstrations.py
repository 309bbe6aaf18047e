"""Demonstrations in memory: what a labeller learns from and is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings
from mask2iv_ros.generator.framing import Framing

LEAST_TRAINED = 4  # episodes: with fewer there is nothing to tell an arm's motion from the scene
_CONSTANT = 1e-6  # a column that varies by less, against its size, is told the same all the time


@dataclass(frozen=True)
class Demonstration:
    """One episode.

    Attributes:
        index: its number in the dataset.
        frames: RGB at the network's size.
        labels: one `Role` per pixel at the network's size.
        action: as recorded.
        state: as measured; of no columns where the dataset has none.
    """

    index: int
    frames: UInt8[Tensor, "t 3 h w"]
    labels: UInt8[Tensor, "t h w"]
    action: Float32[np.ndarray, "t m"]
    state: Float32[np.ndarray, "t n"]


def read_demonstrations(
    dataset: LabelledDataset, size: tuple[int, int], episodes: Sequence[int], least: int
) -> list[Demonstration]:
    """Return episodes with at least `least` frames at a size.

    Raises:
        Refused: an episode is corrupt, or an action or state of it is not finite.
    """
    framing, settings = Framing(dataset.size, size), dataset.settings
    lengths = {one.index: one.frames for one in dataset.episodes}
    found = []
    for index in tqdm([one for one in episodes if lengths[one] >= least], desc="episodes", mininterval=5):
        episode, robot = dataset.read(index), dataset.robot(index)
        state = np.zeros((len(episode.video), 0), np.float32) if robot.state is None else robot.state
        _require_finite(dataset.root, index, settings, robot.action, state)
        frames = np.stack([framing.image(one) for one in episode.video]).transpose(0, 3, 1, 2)
        labels = np.stack([framing.labels(one) for one in episode.labels])
        found.append(
            Demonstration(
                index,
                torch.from_numpy(np.ascontiguousarray(frames)),
                torch.from_numpy(labels),
                robot.action,
                state,
            )
        )
    return found


def open_demonstrations(root: Path, camera: str | None) -> LabelledDataset:
    """Open a dataset that has actions.

    Raises:
        Refused: it cannot be read or has none.
    """
    dataset = LabelledDataset.open(root, camera)
    if not dataset.settings.action:
        raise Refused(f"{root} has no feature action; expected demonstrations whose actions were recorded")
    return dataset


def constant_columns(values: Float32[np.ndarray, "t m"]) -> list[int]:
    """Return the columns that hold one value, up to rounding."""
    size = np.maximum(1.0, np.abs(values).max(0))
    return [column for column, varies in enumerate(np.ptp(values, 0) > _CONSTANT * size) if not varies]


def _require_finite(root: Path, index: int, settings: ExportSettings, *values: Float32[np.ndarray, "t n"]) -> None:
    kinds = ("action", settings.action), ("observation.state", settings.state)
    for (kind, names), one in zip(kinds, values, strict=True):
        for column, frame in _not_finite(one):
            raise Refused(
                f"{kind} {names[column]!r} is {one[frame, column]} in frame {frame} of episode {index} of {root}; "
                "expected finite numbers"
            )


def _not_finite(values: Float32[np.ndarray, "t n"]) -> Iterator[tuple[int, int]]:
    return ((int(column), int(frame)) for frame, column in np.argwhere(~np.isfinite(values)))
