"""What every segmentation back end takes and gives: a prompt, a label map, a confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, check_labels
from mask2iv_ros.scene import check_image

SMALLEST_BOX = 4  # pixels a side: below this no colour model has anything to learn from
PROMPTED_ROLES = (Role.INTERACTOR, Role.OBJECT)


@dataclass(frozen=True)
class Prompt:
    """What an operator says about one role in one image.

    Attributes:
        role: interactor or object.
        points: clicked pixels (x, y): x from the left, y from the top.
        inside: per point, whether it is on the role (true) or on something else (false).
        box: (x, y, width, height) in pixels that holds the whole role, or None.
    """

    role: Role
    points: Int[np.ndarray, "n 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    inside: Bool[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.bool_))
    box: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.role not in PROMPTED_ROLES:
            raise Refused(f"prompt for role {int(self.role)}; accepted are 1 interactor, 2 object")
        if self.points.ndim != 2 or self.points.shape[1] != 2 or not np.issubdtype(self.points.dtype, np.integer):
            raise Refused(f"points are {self.points.dtype} of shape {self.points.shape}; expected integers (n, 2)")
        if self.inside.shape != (len(self.points),) or self.inside.dtype != np.bool_:
            raise Refused(
                f"inside is {self.inside.dtype} of shape {self.inside.shape}; "
                f"expected one bool for each of the {len(self.points)} points"
            )
        if self.box is None and not self.inside.any():
            raise Refused(f"prompt has {len(self.points)} points, none of them inside, and no box; expected either")
        both = {tuple(p) for p in self.points[self.inside]} & {tuple(p) for p in self.points[~self.inside]}
        if both:
            x, y = min(both)
            raise Refused(f"point ({x}, {y}) is said to be inside and outside; expected one of the two")
        self._check_box()

    def _check_box(self) -> None:
        if self.box is None:
            return
        if len(self.box) != 4:
            raise Refused(f"box has {len(self.box)} numbers; expected x, y, width, height")
        x, y, width, height = self.box
        if min(width, height) < SMALLEST_BOX:
            raise Refused(f"box is {width} x {height} pixels; expected at least {SMALLEST_BOX} x {SMALLEST_BOX}")
        for px, py in self.points[self.inside]:
            if not (x <= px < x + width and y <= py < y + height):
                raise Refused(f"inside point ({px}, {py}) lies outside of the box {tuple(self.box)}")

    @staticmethod
    def from_lists(
        role: int,
        x: Sequence[int] = (),
        y: Sequence[int] = (),
        inside: Sequence[bool] = (),
        box: Sequence[int] = (),
    ) -> Prompt:
        """Make a prompt from the fields of a `Segment` request or of a command line.

        An empty `inside` means that every point is inside; an empty `box` means none.

        Raises:
            Refused: lists of different lengths, or anything that `Prompt` refuses.
        """
        if role not in [int(r) for r in PROMPTED_ROLES]:
            raise Refused(f"prompt for role {role}; accepted are 1 interactor, 2 object")
        if len(x) != len(y):
            raise Refused(f"prompt has {len(x)} x and {len(y)} y coordinates; expected as many of each")
        if len(inside) not in (0, len(x)):
            raise Refused(f"prompt has {len(inside)} inside flags for {len(x)} points; expected one each, or none")
        if len(box) not in (0, 4):
            raise Refused(f"box has {len(box)} numbers; expected x, y, width, height, or none")
        flags = np.array(inside, np.bool_) if len(inside) else np.ones(len(x), np.bool_)
        points = np.stack([np.array(x, np.int64), np.array(y, np.int64)], axis=1)  # [n, 2]
        return Prompt(Role(role), points, flags, tuple(int(v) for v in box) if len(box) else None)

    def check_inside_image(self, height: int, width: int) -> None:
        """Raise `Refused` unless every point and the whole box lie in a width x height image."""
        for x, y in self.points:
            if not (0 <= x < width and 0 <= y < height):
                raise Refused(f"point ({x}, {y}) lies outside of the {width} x {height} image")
        if self.box is not None:
            x, y, w, h = self.box
            if x < 0 or y < 0 or x + w > width or y + h > height:
                raise Refused(f"box {tuple(self.box)} does not lie inside of the {width} x {height} image")


@dataclass(frozen=True)
class Segmentation:
    """A back end's answer.

    Attributes:
        labels: one `Role` per pixel, of the image's size.
        pixels: how many of them the back end has given to the asked role.
        confidence: 0 to 1; what it measures is documented at each back end.
    """

    labels: UInt8[np.ndarray, "h w"]
    pixels: int
    confidence: float


class Segmenter(Protocol):
    """A segmentation back end."""

    name: str
    needs_prompt: bool

    def segment(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h w"] | None
    ) -> Segmentation:
        """Segment an RGB image.

        Args:
            image: RGB.
            prompt: what to look for; None only where `needs_prompt` is false.
            labels: the label map known so far, or None. The prompt's role is replaced in it.

        Raises:
            Refused: the prompt does not fit the image, or nothing sensible was found.
        """
        ...

    def close(self) -> None:
        """Give back the memory of weights and image features; the back end may be used again."""
        ...


def check_request(
    image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h w"] | None
) -> Prompt:
    """Return the prompt if it, the image and the labels fit each other: for back ends that need a prompt.

    Raises:
        Refused: no prompt, a prompt that leaves the image, a bad image, or labels of another size.
    """
    check_image(image)
    if prompt is None:
        raise Refused("no prompt was given; expected clicked points or a box")
    prompt.check_inside_image(*image.shape[:2])
    if labels is not None:
        check_labels(labels)
        if labels.shape != image.shape[:2]:
            raise Refused(f"label map has shape {labels.shape}; expected the image's {image.shape[:2]}")
    return prompt


def replace_role(
    labels: UInt8[np.ndarray, "h w"] | None, role: Role, mask: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """Return the label map with `role` exactly where `mask` is true; the newest prompt wins overlaps.

    Pixels that the role had before and has no more become background; no label map means all background.
    """
    updated = np.zeros(mask.shape, np.uint8) if labels is None else labels.copy()
    updated[updated == role] = Role.BACKGROUND
    updated[mask] = role
    return updated
