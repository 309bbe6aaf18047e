"""What everything speaks of: a scene, a goal, a trajectory and a rollout.

All four are immutable and checked once, when they are made. They hold numpy arrays, know
nothing of ROS or torch, and their message says what is wrong with a bad one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, check_labels, resize_labels

GOOD, DOUBTFUL = "good", "doubtful"


@dataclass(frozen=True)
class Scene:
    """One camera frame with its arm and object segmented.

    Attributes:
        image: RGB.
        labels: one `Role` per pixel, of the image's size.
        stamp_ns: the frame's time stamp in nanoseconds of the camera's clock.
        frame_id: the camera's optical frame.
    """

    image: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    stamp_ns: int = 0
    frame_id: str = ""

    def __post_init__(self) -> None:
        check_image(self.image)
        check_labels(self.labels)
        if self.labels.shape != self.image.shape[:2]:
            raise Refused(f"label map is {_size(self.labels)}; expected the image's {_size(self.image)}")

    def mask(self, role: Role) -> Bool[np.ndarray, "h w"]:
        """Return where the scene shows this role."""
        return self.labels == role

    def require_roles(self) -> Scene:
        """Return the scene if it shows an object to bring somewhere and an arm that could.

        Raises:
            Refused: the object or the interactor is missing.
        """
        for role in (Role.OBJECT, Role.INTERACTOR):
            if not (self.labels == role).any():
                raise Refused(
                    f"the scene shows no {role.name.lower()}: its label map has 0 pixels of value {int(role)}; "
                    "expected at least one"
                )
        return self


@dataclass(frozen=True)
class Goal:
    """Where the object should end up: a mask, a text, or both.

    Attributes:
        mask: the object's goal region, of the scene's size.
        instruction: free text; needed by text-conditioned checkpoints, kept as the task otherwise.
    """

    mask: Bool[np.ndarray, "h w"] | None = None
    instruction: str = ""

    def __post_init__(self) -> None:
        if self.mask is None and not self.instruction.strip():
            raise Refused("the goal has neither a mask nor an instruction; expected one of them")
        if self.mask is not None:
            if self.mask.dtype != np.bool_ or self.mask.ndim != 2:
                raise Refused(
                    f"goal mask is {self.mask.dtype} of shape {self.mask.shape}; expected bool with axes (h, w)"
                )
            if not self.mask.any():
                raise Refused("goal mask is all zero; expected at least one non-zero pixel where the object should be")

    @staticmethod
    def from_image(mask: UInt8[np.ndarray, "h w"], size: tuple[int, int], instruction: str = "") -> Goal:
        """Make a goal from a mask image of any size; non-zero is the goal region.

        The mask is resized by nearest neighbour to `size` (height, width), the scene's.

        Raises:
            Refused: no pixels, more than one channel, all zero, or too thin to survive the resize.
        """
        if mask.ndim != 2 or not mask.size:
            raise Refused(f"goal mask has shape {mask.shape}; expected one channel (h, w) with pixels")
        resized = resize_labels((mask != 0).astype(np.uint8), size) > 0
        if mask.any() and not resized.any():
            raise Refused(
                f"goal mask has {np.count_nonzero(mask)} non-zero pixels of {_size(mask)}, and none is left at the "
                f"scene's {size[1]} x {size[0]} pixels; expected a larger region"
            )
        return Goal(resized, instruction)


@dataclass(frozen=True)
class Trajectory:
    """The masks of arm and object through time, frame 0 being the scene's own.

    Attributes:
        labels: one `Role` per pixel and frame.
        source: "predicted" by stage 1, or "edited" by a person or a planner.
    """

    labels: UInt8[np.ndarray, "t h w"]
    source: Literal["predicted", "edited"] = "predicted"

    def __post_init__(self) -> None:
        check_labels(self.labels, "trajectory")
        if self.labels.ndim != 3:
            raise Refused(f"trajectory has shape {self.labels.shape}; expected axes (t, h, w)")


@dataclass(frozen=True)
class Rollout:
    """One imagined video, with all that made it.

    Attributes:
        id: unique in a run and a valid file name.
        scene: the source frame, at the rollout's own resolution.
        goal: what was asked for, at the rollout's own resolution.
        trajectory: the masks that the video follows.
        video: RGB, frame 0 imagining the source frame itself.
        fps: frames per second of the imagined time.
        seed: reproduces this rollout with this checkpoint.
        checkpoint: name and hash of the weights.
        scores: figures between 0 and 1, by name.
        verdict: "good", "doubtful: " and why, or empty where nothing judged it.
    """

    id: str
    scene: Scene
    goal: Goal
    trajectory: Trajectory
    video: UInt8[np.ndarray, "t h w 3"]
    fps: float
    seed: int
    checkpoint: str
    scores: dict[str, float] = field(default_factory=dict)
    verdict: str = ""

    def __post_init__(self) -> None:
        if self.video.dtype != np.uint8 or self.video.ndim != 4 or self.video.shape[-1] != 3:
            raise Refused(f"video is {self.video.dtype} of shape {self.video.shape}; expected uint8 (t, h, w, 3)")
        if self.video.shape[:3] != self.trajectory.labels.shape:
            raise Refused(
                f"video has shape {self.video.shape[:3]} and its trajectory {self.trajectory.labels.shape}; "
                "expected the same (t, h, w)"
            )
        if self.video.shape[1:3] != self.scene.image.shape[:2]:
            raise Refused(f"video frames are {_size(self.video[0])}; expected the scene's {_size(self.scene.image)}")
        if not np.isfinite(self.fps) or self.fps <= 0:
            raise Refused(f"fps is {self.fps}; expected a positive number")
        if "verdict" in self.scores:
            raise Refused(f"rollout {self.id} has a score named 'verdict'; expected a name that is not taken")
        if self.verdict and not re.fullmatch(rf"{GOOD}|{DOUBTFUL}: \S.*", self.verdict):
            raise Refused(
                f"verdict of rollout {self.id} is {self.verdict[:80]!r}; expected {GOOD!r}, '{DOUBTFUL}: ' and why, "
                "or nothing"
            )


def new_batch() -> str:
    """Return the beginning of the ids of rollouts made together: unique across runs, in order of time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid4().hex[:8]}"


def check_image(image: np.ndarray) -> None:
    """Raise `Refused` unless the image is uint8 RGB with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise Refused(f"image is {image.dtype} of shape {image.shape}; expected uint8 RGB (h, w, 3)")


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]} pixels"
