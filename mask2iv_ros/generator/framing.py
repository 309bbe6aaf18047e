"""Brings a camera's scene to the generator's size: the largest centred crop of its shape, resized."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, resize_labels
from mask2iv_ros.scene import Goal, Scene


@dataclass(frozen=True)
class Framing:
    """How frames of one size become frames of another.

    Attributes:
        source: (height, width) of the camera's frames.
        target: (height, width) of the generator's.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def crop(self) -> tuple[slice, slice]:
        """The rows and columns of the source that are seen."""
        height, width = self.source
        wanted = self.target[1] / self.target[0]
        seen_height = min(height, max(1, round(width / wanted)))
        seen_width = min(width, max(1, round(height * wanted)))
        top, left = (height - seen_height) // 2, (width - seen_width) // 2
        return slice(top, top + seen_height), slice(left, left + seen_width)

    def image(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        """Return the image seen, averaged down or interpolated up."""
        seen = image[self.crop]
        finer = seen.shape[0] > self.target[0]
        return cv2.resize(seen, self.target[::-1], interpolation=cv2.INTER_AREA if finer else cv2.INTER_LINEAR)

    def labels(self, labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h2 w2"]:
        """Return the label map or mask seen, by nearest neighbour."""
        return resize_labels(np.ascontiguousarray(labels[self.crop]), self.target)


def frame_scene(scene: Scene, goal: Goal, size: tuple[int, int]) -> tuple[Scene, Goal]:
    """Return scene and goal as the generator sees them.

    Raises:
        Refused: sizes differ, or object, interactor or goal mask lie outside of the crop or
            vanish at this size.
    """
    scene.require_roles()
    framing = Framing(scene.image.shape[:2], size)
    framed = Scene(framing.image(scene.image), framing.labels(scene.labels), scene.stamp_ns, scene.frame_id)
    for role in (Role.OBJECT, Role.INTERACTOR):
        if not framed.mask(role).any():
            raise Refused(_lost(f"the {role.name.lower()}", framing))
    if goal.mask is None:
        return framed, goal
    if goal.mask.shape != scene.labels.shape:
        raise Refused(
            f"goal mask is {goal.mask.shape[1]} x {goal.mask.shape[0]} pixels; expected the scene's "
            f"{scene.labels.shape[1]} x {scene.labels.shape[0]}"
        )
    mask = framing.labels(goal.mask.astype(np.uint8)) > 0
    if not mask.any():
        raise Refused(_lost("the goal mask", framing))
    return framed, Goal(mask, goal.instruction)


def _lost(what: str, framing: Framing) -> str:
    rows, columns = framing.crop
    return (
        f"{what} has no pixel left at the generator's {framing.target[1]} x {framing.target[0]}; expected it larger "
        f"and within columns {columns.start} to {columns.stop - 1} and rows {rows.start} to {rows.stop - 1}"
    )
