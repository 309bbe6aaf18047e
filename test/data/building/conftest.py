from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from mask2iv_ros.data.sources.base import SourceEpisode
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role


def draw(
    frames: int = 12, size: tuple[int, int] = (48, 64), seed: int = 0, pan: float = 0.0, back: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A dark arm from the left pushes an orange square over a textured table, and may go back."""
    height, width = size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 200, (height // 4 + 2, width // 4 + 8, 3), dtype=np.uint8)
    table = cv2.resize(coarse, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    arm = rng.integers(0, 80, (height // 4, width // 4, 3), dtype=np.uint8)
    arm = cv2.resize(arm, (width, height), interpolation=cv2.INTER_CUBIC)
    video, labels = np.zeros((frames, *size, 3), np.uint8), np.zeros((frames, *size), np.uint8)
    top, side, left = height // 2 - 6, 12, round(0.4 * width)
    for frame in range(frames):
        way = frame / (frames - 1)
        tip = round(width * (0.15 + 0.55 * (1 - abs(1 - 2 * way) if back else way)))
        left = max(left, tip)
        shift = round(pan * frame)
        video[frame] = table[:height, shift : shift + width]
        video[frame, top : top + side, left : left + side] = (240, 120, 20)
        labels[frame, top : top + side, left : left + side] = Role.OBJECT
        video[frame, top + 2 : top + side - 2, :tip] = arm[top + 2 : top + side - 2, width - tip :]
        labels[frame, top + 2 : top + side - 2, :tip] = Role.INTERACTOR
    return video, labels


@pytest.fixture
def drawn() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return draw


@dataclass(frozen=True)
class Drawn:
    """A source of drawn episodes; one that is None cannot be read."""

    episodes: Mapping[str, SourceEpisode | None]
    name: str = "drawn"

    def cameras(self) -> tuple[str, ...]:
        return ("front", "side")

    def ids(self) -> list[str]:
        return list(self.episodes)

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        found = self.episodes[id]
        if found is None:
            raise Refused(f"episode {id} is corrupt")
        return found if camera == "front" else replace(found, frames=found.frames[..., ::-1])


def episode(id: str, rate: float = 10.0, with_labels: bool = True, **drawing: object) -> SourceEpisode:  # noqa: A002
    video, labels = draw(**drawing)
    rng = np.random.default_rng(len(video))
    return SourceEpisode(
        id=id,
        frames=video,
        times=np.arange(len(video)) / rate,
        task=f"push the square of {id}",
        state=rng.standard_normal((len(video), 3)).astype(np.float32),
        action=rng.standard_normal((len(video), 2)).astype(np.float32),
        state_names=("x", "y", "z"),
        labels=labels if with_labels else None,
    )


@pytest.fixture
def make_episode() -> Callable[..., SourceEpisode]:
    return episode


@pytest.fixture
def make_source() -> type[Drawn]:
    return Drawn
