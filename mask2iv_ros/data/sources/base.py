"""What every source of footage gives: episodes with frames, times, task, and what else it has, to the bit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import check_labels

_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Span(NamedTuple):
    """One action in an episode.

    Attributes:
        start: its first frame.
        stop: the frame after its last.
        task: what happens in it, in words.
    """

    start: int
    stop: int
    task: str


class Missing(NamedTuple):
    """Frames of a recording that its episode lacks, because what belongs to them is not known.

    Attributes:
        frame: the first of them, as the camera counts.
        words: what is not known of them.
    """

    frame: int
    words: str


@dataclass(frozen=True)
class SourceEpisode:
    """One episode as one camera saw it.

    Attributes:
        id: stable and unique in its source; letters, digits, "_", "." and "-".
        frames: RGB.
        times: of the frames in seconds, from 0 on, ascending; not evenly spaced where the source's rate varies.
        task: what happens in it, in words; empty where the source does not say.
        state: of the robot, exactly the source's values; None where it has none.
        action: exactly the source's values; None where it has none.
        state_names: one a column of `state`.
        action_names: one a column of `action`.
        labels: one `Role` per pixel where the source has masks.
        spans: the actions in it where it holds several; None where it is one.
        missing: frames that were recorded and are not among `frames`; no span goes across them.
    """

    id: str
    frames: UInt8[np.ndarray, "t h w 3"]
    times: Float64[np.ndarray, " t"]
    task: str = ""
    state: Float32[np.ndarray, "t n"] | None = None
    action: Float32[np.ndarray, "t m"] | None = None
    state_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    labels: UInt8[np.ndarray, "t h w"] | None = None
    spans: tuple[Span, ...] | None = None
    missing: tuple[Missing, ...] = ()

    def __post_init__(self) -> None:
        check_id(self.id)
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3 or not self.frames.size:
            raise Refused(
                f"episode {self.id}: frames are {self.frames.dtype} {self.frames.shape}; expected uint8 (t, h, w, 3)"
            )
        count = len(self.frames)
        if self.times.dtype != np.float64 or self.times.shape != (count,):
            raise Refused(
                f"episode {self.id}: times are {self.times.dtype} {self.times.shape}; expected float64 ({count},)"
            )
        if not np.isfinite(self.times).all() or np.any(np.diff(self.times) <= 0):
            raise Refused(f"episode {self.id}: its frames' times do not ascend; expected each after the one before")
        for name, values, names in (
            ("state", self.state, self.state_names),
            ("action", self.action, self.action_names),
        ):
            self._check_columns(name, values, names)
        if self.labels is not None:
            check_labels(self.labels, f"episode {self.id}: label maps")
            if self.labels.shape != self.frames.shape[:3]:
                raise Refused(
                    f"episode {self.id}: label maps are {self.labels.shape}; expected the frames' "
                    f"{self.frames.shape[:3]} (t, h, w)"
                )
        for span in self.spans or ():
            if not 0 <= span.start < span.stop <= count:
                raise Refused(
                    f"episode {self.id}: action {span.task!r} is frames {span.start} to {span.stop}; "
                    f"expected some of the {count} that there are"
                )

    def _check_columns(self, name: str, values: np.ndarray | None, names: tuple[str, ...] | None) -> None:
        if values is None:
            if names is not None:
                raise Refused(f"episode {self.id}: names of a {name} that it has not; expected both or none")
            return
        if values.dtype != np.float32 or values.ndim != 2 or len(values) != len(self.frames) or not values.shape[1]:
            raise Refused(
                f"episode {self.id}: {name} is {values.dtype} {values.shape}; expected float32 "
                f"({len(self.frames)}, n), a row a frame"
            )
        if names is not None and len(names) != values.shape[1]:
            raise Refused(f"episode {self.id}: {name} has {values.shape[1]} columns and {len(names)} names")


class Source(Protocol):
    """Where episodes come from.

    A source is opened by a class method from a path, which reads no more than it must to tell its ids and cameras;
    it is pickled into every worker, so it holds no open file.

    Attributes:
        name: of the kind of source: a part of every clip's id.
    """

    name: str

    def cameras(self) -> tuple[str, ...]:
        """Return the names of its cameras, the usual one first."""
        ...

    def ids(self) -> Sequence[str]:
        """Return the ids of its episodes, always in the same order."""
        ...

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Read and decode one episode.

        Raises:
            Refused: the episode is corrupt, or this camera did not see it; others may be whole.
        """
        ...


def check_id(id: str) -> str:  # noqa: A002
    """Return an episode's id if it may stand in file names and columns.

    Raises:
        Refused: it has other characters than letters, digits, "_", "." and "-", or more than 200.
    """
    if not _ID.fullmatch(id):
        raise Refused(f"episode id is {id[:200]!r}; expected 1 to 200 letters, digits, '_', '.' and '-'")
    return id


def require_camera(camera: str, cameras: Sequence[str], where: object) -> str:
    """Return the camera if the source has it.

    Raises:
        Refused: it has not; the sentence names those that it has.
    """
    if camera not in cameras:
        raise Refused(f"{where} has no camera {camera!r}; its cameras are {', '.join(cameras) or 'none'}")
    return camera
