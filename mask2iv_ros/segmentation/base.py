"""What every segmentation back end takes and gives: prompts, label maps, confidences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

SMALLEST_BOX = 4  # pixels a side: below this no colour model has anything to learn from
LONGEST_WORDS = 200  # characters: a detector's words are a noun phrase, not a story
PROMPTED_ROLES = (Role.INTERACTOR, Role.OBJECT)


class Unusable(Refused):
    """A back end cannot work at all: its weights are not there or do not fit. No other prompt or picture helps."""


@dataclass(frozen=True)
class Prompt:
    """What an operator says about one role in one image: points and a box, or words.

    Attributes:
        role: interactor or object.
        points: clicked pixels (x, y): x from the left, y from the top.
        inside: per point, whether it is on the role (true) or on something else (false).
        box: (x, y, width, height) in pixels that holds the whole role, or None.
        words: what the role looks like ("the red cup"), for back ends that find things by text; "" for none.
    """

    role: Role
    points: Int[np.ndarray, "n 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    inside: Bool[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.bool_))
    box: tuple[int, int, int, int] | None = None
    words: str = ""

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
        if self.words:
            self._check_words()
            return
        if self.box is None and not self.inside.any():
            raise Refused(
                f"prompt has {len(self.points)} points, none of them inside, and no box; expected either, or words"
            )
        both = {tuple(p) for p in self.points[self.inside]} & {tuple(p) for p in self.points[~self.inside]}
        if both:
            x, y = min(both)
            raise Refused(f"point ({x}, {y}) is said to be inside and outside; expected one of the two")
        self._check_box()

    @property
    def kinds(self) -> frozenset[str]:
        """Which of "points", "box" and "words" it is made of."""
        said = {"points": len(self.points) > 0, "box": self.box is not None, "words": bool(self.words)}
        return frozenset(kind for kind, present in said.items() if present)

    def _check_words(self) -> None:
        if len(self.points) or self.box is not None:
            raise Refused(f"prompt has the words {self.words!r} and points or a box; expected one of the two")
        if len(self.words) > LONGEST_WORDS:
            raise Refused(f"prompt has words of {len(self.words)} characters; expected at most {LONGEST_WORDS}")
        if not self.words.strip() or not self.words.isprintable():
            raise Refused(f"prompt has the words {self.words!r}; expected one line of text such as 'the red cup'")

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
        words: str = "",
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
        return Prompt(Role(role), points, flags, tuple(int(v) for v in box) if len(box) else None, words)

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
        note: what else an operator should know, such as that words fit several things; or "".
    """

    labels: UInt8[np.ndarray, "h w"]
    pixels: int
    confidence: float
    note: str = ""


@dataclass(frozen=True)
class Track:
    """Arm and object through a video.

    Attributes:
        labels: one `Role` per pixel and frame.
        confidence: 0 to 1 per frame for interactor and object, in this order; nan where a role was
            not asked for. What it measures is documented at each back end; 0 says that the role is
            believed to be hidden or lost.
    """

    labels: UInt8[np.ndarray, "t h w"]
    confidence: Float[np.ndarray, "t 2"]


@dataclass(frozen=True)
class Box:
    """Something that a text was found to mean.

    Attributes:
        box: (x, y, width, height) in pixels, inside of the image, as in `Prompt.box`.
        score: 0 to 1, the detector's.
        phrase: the part of the words that it answers.
    """

    box: tuple[int, int, int, int]
    score: float
    phrase: str


OnFrame = Callable[[int], None]


class Segmenter(Protocol):
    """A segmentation back end.

    Attributes:
        name: as in the registry.
        needs_prompt: whether `segment` wants a prompt.
        takes: which of "points", "box" and "words" it understands in prompts.
    """

    name: str
    needs_prompt: bool
    takes: frozenset[str]

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

    def track(
        self, video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], on_frame: OnFrame | None = None
    ) -> Track:
        """Segment the first frame by prompts and follow what was found through the video.

        Args:
            video: RGB.
            prompts: for frame 0. Those of one role add up (two arms); of the two roles the later
                prompt wins overlaps.
            on_frame: called with each frame's index when its labels are there.

        Raises:
            Refused: as `segment`, on the first frame.
        """
        ...

    def follow(
        self,
        video: UInt8[np.ndarray, "t h w 3"],
        labels: UInt8[np.ndarray, "h w"],
        on_frame: OnFrame | None = None,
    ) -> Track:
        """Follow a label map that is known for frame 0, corrected by hand perhaps, through the video.

        Args:
            video: RGB.
            labels: arm and object in frame 0; unlabelled pixels are followed as background.
            on_frame: as in `track`.

        Raises:
            Refused: labels of another size or without any role.
        """
        ...

    def close(self) -> None:
        """Give back the memory of weights and image features; the back end may be used again."""
        ...


@runtime_checkable
class Finder(Protocol):
    """A back end that finds things by text."""

    def candidates(self, image: UInt8[np.ndarray, "h w 3"], words: str) -> list[Box]:
        """Return what the words may mean in the image, best score first; none is an empty list.

        Raises:
            Refused: words that `Prompt` refuses.
        """
        ...
