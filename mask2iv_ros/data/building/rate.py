"""Frames a second of the clips: a stride by motion, one for a whole dataset.

A LeRobot dataset has one rate. Clips of different strides in it would lie about time, so the stride follows from
how fast things move in the source as a whole: where they move slowly, frames are left out until a
step shows as much as `STEP` of the picture's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.data.building.cutting import divisors
from mask2iv_ros.data.sources.base import SourceEpisode
from mask2iv_ros.errors import Refused

STEP = 0.03  # of the width, from frame to frame: 4 pixels of 128, 15 of 512
SLOWEST = 2  # frames a second: below, contact falls between two frames
_SIDE = 128  # pixels: the longer side on which speed is measured
_MOVING = 95  # percentile: an arm fills about a twentieth of the picture
_PAIRS = 24  # pairs of frames of an episode that are looked at


class Pace(NamedTuple):
    """How fast an episode is.

    Attributes:
        rate: frames a second.
        speed: widths a second, of the fastest twentieth of the picture.
        lasts: seconds of its actions, the median.
    """

    rate: float
    speed: float
    lasts: float


def pace(episode: SourceEpisode) -> Pace | None:
    """Measure an episode; None if it is a single frame."""
    times = episode.times
    if len(times) < 2:
        return None
    lasts = [times[span.stop - 1] - times[span.start] for span in episode.spans or ()] or [times[-1]]
    return Pace(1 / float(np.median(np.diff(times))), speed(episode.frames, times), float(np.median(lasts)))


def clip_rate(paces: Sequence[Pace], frames: int) -> tuple[int, str]:
    """Return the rate at which clips of such episodes are cut, and why, in words.

    It is the source's rate divided by a whole stride: that at which the median episode moves nearest to `STEP` a
    frame, but fast enough that half of the episodes last a clip, and at least `SLOWEST`.

    Args:
        paces: of some of the source's episodes.
        frames: of a clip.

    Raises:
        Refused: no episode has two frames, or the source has less than one frame a second.
    """
    if not paces:
        raise Refused("no episode of the source has two frames; expected videos")
    rates, speeds, lengths = zip(*paces, strict=True)
    # One of the source's own rates: a mean of two would divide neither.
    rate, moving, length = median_low(rates), float(np.median(speeds)), float(np.median(lengths))
    possible = [one for one in divisors(rate) if one >= min(SLOWEST, int(rate))]
    fitting = [one for one in possible if (frames - 1) / one <= length * (1 + 1e-6)] or possible[:1]
    chosen = min(fitting, key=lambda one: abs(np.log(one / max(moving / STEP, 1e-6))))
    words = (
        f"{rate:.4g} frames a second, every {rate / chosen:.3g} taken: half of the episodes move at most "
        f"{moving:.3f} widths a second, which is {moving / chosen:.3f} a step"
    )
    return chosen, words


def speed(video: UInt8[np.ndarray, "t h w 3"], times: np.ndarray) -> float:
    """Return how fast the fastest twentieth of the picture moves, in widths a second, mean over some steps."""
    factor = _SIDE / max(video.shape[1:3])
    size = max(16, round(video.shape[2] * factor)), max(16, round(video.shape[1] * factor))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    found = []
    for step in np.unique(np.linspace(0, len(video) - 2, min(_PAIRS, len(video) - 1)).round().astype(int)):
        pair = [
            cv2.cvtColor(cv2.resize(video[at], size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            for at in (step, step + 1)
        ]
        moved = np.linalg.norm(flow.calc(*pair, None), axis=2)
        found.append(np.percentile(moved, _MOVING) / size[0] / (times[step + 1] - times[step]))
    return float(np.mean(found))
