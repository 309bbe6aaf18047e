"""What costs nothing: the figures that a generator has to beat."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

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


class NearestClip:
    """Answers with the training clip whose condition is most alike.

    For stage 1 and the chain that is what they are given: first masks and goal mask, compared
    blurred, so that near misses count as near. For stage 2 it is the whole true trajectory, by
    the number of pixels whose role differs.
    """

    def __init__(self, train: list[Clip]):
        self._train = train
        self._conditions = np.stack([_condition(clip) for clip in train])
        self._trajectories = np.stack([clip.labels for clip in train])

    def by_goal(self, clip: Clip) -> Clip:
        """Return the nearest training clip by first masks and goal mask."""
        distance = ((self._conditions - _condition(clip)) ** 2).sum((1, 2, 3))
        return self._train[int(distance.argmin())]

    def by_trajectory(self, clip: Clip) -> Clip:
        """Return the nearest training clip by the true trajectory."""
        distance = [np.count_nonzero(labels != clip.labels) for labels in self._trajectories]
        return self._train[int(np.argmin(distance))]


def _condition(clip: Clip) -> Float32[np.ndarray, "3 h w"]:
    parts = (clip.labels[0] == Role.OBJECT, clip.labels[0] == Role.INTERACTOR, clip.goal_mask)
    return np.stack([cv2.GaussianBlur(part.astype(np.float32), (0, 0), 3) for part in parts])


def _centroid(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    return np.argwhere(mask).mean(0)[::-1]
