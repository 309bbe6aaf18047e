"""Clips on an even grid of time: which frames of an episode they take, and where they begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from mask2iv_ros.errors import Refused

_ROUNDED = 0.01  # of a rate: nearer to a whole number it is that one, as 29.97 is 30


@dataclass(frozen=True)
class Grid:
    """Frames of an episode that are nearest to evenly spaced moments.

    Attributes:
        frames: index of the frame nearest to each moment.
        off: seconds between that frame and its moment.
        fps: moments per second.
    """

    frames: Int64[np.ndarray, " n"]
    off: Float64[np.ndarray, " n"]
    fps: float

    def every(self, step: int) -> Grid:
        """Return every so-manieth moment."""
        return Grid(self.frames[::step], self.off[::step], self.fps / step)


def even_grid(times: Float64[np.ndarray, " t"], start: int, stop: int, fps: float) -> Grid:
    """Return the grid of a piece of an episode: its first moment is that of frame `start`.

    Args:
        times: of the episode's frames, in seconds, ascending.
        start: the piece's first frame.
        stop: the frame after its last.
        fps: moments per second.
    """
    piece = times[start:stop]
    # Times are rounded where they were written: a quarter of a frame is no frame missing.
    slack = 0.25 * float(np.median(np.diff(piece))) if len(piece) > 1 else 0.0
    count = 1 + int((piece[-1] - piece[0] + slack) * fps)
    moments = piece[0] + np.arange(count) / fps
    after = np.clip(np.searchsorted(piece, moments), 1, max(1, len(piece) - 1))
    before = after - 1
    if len(piece) == 1:
        after = before
    nearest = np.where(piece[after] - moments < moments - piece[before], after, before)
    return Grid(start + nearest, np.abs(piece[nearest] - moments), fps)


def find_gap(grid: Grid, begin: int, frames: int) -> str:
    """Return what is wrong with the times of a clip's frames: empty, or a moment without a frame of its own."""
    chosen, off = grid.frames[begin : begin + frames], grid.off[begin : begin + frames]
    same = np.flatnonzero(np.diff(chosen) == 0)
    if same.size:
        return f"two moments, {1 / grid.fps:.3f} s apart, have only frame {chosen[same[0]]}"
    worst = int(off.argmax())
    # A clip's own frame is never half a period off; a source of half the rate or less is caught above.
    if off[worst] > 0.5 / grid.fps:
        return f"frame {chosen[worst]} is {off[worst]:.3f} s off its moment, more than half of {1 / grid.fps:.3f} s"
    return ""


def is_uneven(grid: Grid, begin: int, frames: int) -> bool:
    """Return whether a clip's frames are not all equally far apart in the source."""
    return np.unique(np.diff(grid.frames[begin : begin + frames])).size > 1


def windows(count: int, frames: int, overlap: float, merit: Float64[np.ndarray, " s"]) -> list[int]:
    """Return where clips begin on a grid: spread evenly from its first moment to its last.

    Where one clip fits, it is placed where the most happens.

    Args:
        count: moments of the grid.
        frames: of a clip.
        overlap: largest share of its frames that a clip has in common with the one before, below 1.
        merit: of beginning at each of the possible places, as many as fit; minus infinity where none can.
    """
    if count < frames:
        return []
    hop = max(1, int(np.ceil(frames * (1 - overlap))))
    fitting = 1 + (count - frames) // hop
    if fitting == 1:
        return [int(np.argmax(merit))] if np.isfinite(merit).any() else [0]
    return np.linspace(0, count - frames, fitting).round().astype(int).tolist()


def divisors(rate: float) -> list[int]:
    """Return the whole rates that a source of this rate gives by leaving frames out, highest first.

    A rate that is not whole has no divisors: what it gives is rounded down, as at a higher rate moments would soon
    have no frame of their own.

    Raises:
        Refused: the source has less than one frame a second.
    """
    whole = round(rate)
    if whole >= 1 and abs(rate - whole) <= _ROUNDED * rate:
        return [whole // step for step in range(1, whole + 1) if whole % step == 0]
    if rate < 1:
        raise Refused(f"the source has {rate:.3g} frames a second; expected at least 1")
    return sorted({int(rate / step) for step in range(1, int(rate) + 1)}, reverse=True)
