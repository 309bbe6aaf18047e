"""Any LeRobot v3 dataset with a label image per frame, read episode by episode.

What training needs of a dataset, whoever wrote it: the exporter, `mask2iv data`, or others. An
episode is read at once: its span of the video is decoded once and its label images come from
one parquet file, where `LeRobotDataset` seeks and decodes for each frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, UInt8


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known of an episode without decoding it.

    Attributes:
        index: its number in the dataset.
        frames: its length.
        task: its text.
        digest: changes with its label images, its goal masks, its time stamps and its video file.
    """

    index: int
    frames: int
    task: str
    digest: str


class Episode(NamedTuple):
    """One episode, decoded.

    Attributes:
        video: RGB.
        labels: one `Role` per pixel.
        goal_mask: where the object ends up; None where the dataset has none.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]
    goal_mask: Bool[np.ndarray, "h w"] | None


class LabelledDataset:
    """See the module."""

    root: Path
    camera: str
    fps: int
    size: tuple[int, int]
    episodes: tuple[EpisodeInfo, ...]

    @classmethod
    def open(cls, root: str | Path, camera: str | None = None) -> Self: ...

    def read(self, index: int) -> Episode: ...
