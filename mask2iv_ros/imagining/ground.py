"""Where the object of a dataset has been and was meant to go: what plausible goals are drawn from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import theilslopes
from tqdm import tqdm

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.wording import act_of
from mask2iv_ros.masks import Role

_FEWEST = 8  # masks, over at least so many rows, from which a perspective is read
_STEEPEST = 0.1  # growth of the logarithm of the area a row: more is no perspective


@dataclass(frozen=True)
class Shown:
    """What one episode shows of its object.

    Attributes:
        episode: its number in the dataset.
        task: its text.
        start: the object in the first frame, as visible; None where it is not.
        goal: where it ends up; None where the dataset does not say.
    """

    episode: int
    task: str
    start: Bool[np.ndarray, "h w"] | None
    goal: Bool[np.ndarray, "h w"] | None

    @property
    def act(self) -> str:
        """What is done to the object (`act_of`)."""
        return act_of(self.task)

    @property
    def places(self) -> list[Float[np.ndarray, "2"]]:
        """Centroids (x, y) of first frame and goal, in pixels."""
        return [centroid(mask) for mask in (self.start, self.goal) if mask is not None]


@dataclass(frozen=True)
class Ground:
    """What the real episodes of a dataset show.

    Attributes:
        shown: an entry an episode.
    """

    shown: tuple[Shown, ...]

    @classmethod
    def read(cls, dataset: LabelledDataset, episodes: Iterable[int]) -> Self:
        """Look at first frames and goal masks.

        Args:
            dataset: to read.
            episodes: numbers of those that a camera has seen.

        Raises:
            Refused: none of them shows an object, or one is corrupt.
        """
        texts = {one.index: one.task for one in dataset.episodes}
        shown = []
        for index in tqdm(list(episodes), desc="looking", unit="episode", mininterval=2):
            _, labels, goal = dataset.read(index)
            start = labels[0] == Role.OBJECT
            shown.append(Shown(index, texts[index], start if start.any() else None, goal))
        if not any(one.places for one in shown):
            raise Refused(f"none of {len(shown)} episodes of {dataset.root} shows an object; expected labels of one")
        return cls(tuple(shown))

    def with_scenes(self, scenes: Ground) -> Self:
        """Return what is shown with first frames of another dataset, whose goals are not looked at.

        Their numbers there are `scene_number`'s here.
        """
        begun = (replace(one, episode=scene_number(one.episode), goal=None) for one in scenes.shown)
        return type(self)((*self.shown, *begun))

    def of(self, act: str) -> list[Shown]:
        """Return the episodes of an act."""
        return [one for one in self.shown if one.act == act]

    def moves(self, act: str) -> Float[np.ndarray, "n 2"]:
        """Return how the object moved in the episodes of an act: (x, y) from first frame to goal, in pixels."""
        return np.array([pair[1] - pair[0] for pair in self._places[act] if len(pair) == 2]).reshape(-1, 2)

    def places(self, act: str) -> Float[np.ndarray, "n 2"]:
        """Return where the object was and was meant to go in the episodes of an act: centroids (x, y)."""
        return np.array([place for places in self._places[act] for place in places]).reshape(-1, 2)

    @cached_property
    def _places(self) -> dict[str, list[list[Float[np.ndarray, "2"]]]]:
        """Places of every episode, by act; found once, as every draw asks for them."""
        found: dict[str, list[list[Float[np.ndarray, "2"]]]] = {}
        for one in self.shown:
            found.setdefault(one.act, []).append(one.places)
        return found

    @cached_property
    def growth(self) -> float:
        """How much the logarithm of an object's area grows with every row downwards.

        A robust line (Theil-Sen) through the goal masks, those of each act about their own medians: things nearer
        to the camera are lower in the picture and larger. 0 where there are too few to tell.
        """
        rows, areas = [], []
        for act in {one.act for one in self.shown}:
            masks = [one.goal for one in self.of(act) if one.goal is not None and is_clear(one.goal, 1)]
            if masks:
                own_rows = np.array([centroid(mask)[1] for mask in masks])
                own_areas = np.log([mask.sum() for mask in masks])
                rows += list(own_rows - np.median(own_rows))
                areas += list(own_areas - np.median(own_areas))
        if len(rows) < _FEWEST or np.ptp(rows) < _FEWEST:
            return 0.0
        return float(np.clip(theilslopes(areas, rows).slope, -_STEEPEST, _STEEPEST))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any mask or text."""
        state = hashlib.sha256()
        for one in self.shown:
            state.update(f"{one.episode} {one.task}".encode())
            for mask in (one.start, one.goal):
                state.update(b"-" if mask is None else np.packbits(mask).tobytes())
        return state.hexdigest()[:16]


def scene_number(episode: int) -> int:
    """Return what stands for an episode of a dataset that only lends its first frames, apart from all others."""
    return -1 - episode


def centroid(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "2"]:
    """Return the centre (x, y) of a mask that is not empty, in pixels."""
    return np.argwhere(mask).mean(0)[::-1]


def is_clear(mask: Bool[np.ndarray, "h w"], margin: int) -> bool:
    """Return whether a mask keeps so many pixels from the picture's border."""
    inner = mask[margin:-margin, margin:-margin]
    return np.count_nonzero(inner) == np.count_nonzero(mask)
