"""The pieces of a recording in which every frame has its state, its command and its label map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int64

from mask2iv_ros.data.sources.bag_times import Aligned
from mask2iv_ros.data.sources.base import Missing, Span
from mask2iv_ros.errors import Refused


def labelled_frames(frames: Sequence[int], labels: Sequence[int]) -> dict[int, int]:
    """Return the label image of each frame that has one, by their stamps; of several the last."""
    by_stamp = {stamp: index for index, stamp in enumerate(labels) if stamp}
    return {frame: by_stamp[stamp] for frame, stamp in enumerate(frames) if stamp in by_stamp}


def usable_frames(columns: Mapping[str, Aligned], count: int) -> Bool[np.ndarray, " t"]:
    """Return which of the frames have every value of every topic."""
    return np.all([np.ones(count, bool), *(one.known.all(1) for one in columns.values())], axis=0)


def missing_frames(
    usable: Bool[np.ndarray, " t"],
    seen: Int64[np.ndarray, " t"],
    moments: Int64[np.ndarray, " t"],
    columns: Mapping[str, Aligned],
    stale: float,
) -> tuple[Missing, ...]:
    """Return the holes in an episode that are worth telling: those amid it, and long ones where it begins or ends.

    Args:
        usable: which frames have all values.
        seen: the frames' numbers, as the camera counts.
        moments: of the frames, in ns.
        columns: what topics say at the frames.
        stale: seconds for which a message holds; topics may begin and end as far apart without a word.

    Raises:
        Refused: no frame is usable.
    """
    told = []
    for start, stop in _runs(usable):
        if usable[start]:
            continue
        words = _words(start, stop, seen, moments, columns, stale)
        if stop - start == len(usable):
            raise Refused(f"no frame can be used: {words}")
        amid = start > 0 and stop < len(usable)
        if amid or moments[stop - 1] - moments[start] > stale * 1e9:
            told.append(Missing(int(seen[start]), words))
    return tuple(told)


def pieces_of(usable: Bool[np.ndarray, " t"], texts: Sequence[str]) -> tuple[Span, ...]:
    """Return the pieces, counted in usable frames: a new one after a hole, and where the text changes.

    Args:
        usable: which frames are.
        texts: of all frames, what happens.
    """
    spans: list[Span] = []
    for before, (start, stop) in zip(_usable_before(usable), _runs(usable), strict=True):
        if not usable[start]:
            continue
        edges = [start, *(at for at in range(start + 1, stop) if texts[at] != texts[at - 1]), stop]
        spans += [Span(before + a - start, before + b - start, texts[a]) for a, b in pairwise(edges)]
    return tuple(spans)


def _usable_before(usable: Bool[np.ndarray, " t"]) -> Iterator[int]:
    """Yield how many usable frames there are before each run."""
    return (int(usable[:start].sum()) for start, _ in _runs(usable))


def _runs(usable: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """Return where runs of equal values begin and end."""
    return list(pairwise([0, *(1 + np.flatnonzero(np.diff(usable))).tolist(), len(usable)]))


def _words(
    start: int,
    stop: int,
    seen: Int64[np.ndarray, " t"],
    moments: Int64[np.ndarray, " t"],
    columns: Mapping[str, Aligned],
    stale: float,
) -> str:
    topic = next(topic for topic, one in columns.items() if not one.known[start].all())
    found = columns[topic]
    name = found.names[int(np.flatnonzero(~found.known[start])[0])]
    frames = f"frames {seen[start]} to {seen[stop - 1]}" if stop - start > 1 else f"frame {seen[start]}"
    return (
        f"{topic} does not tell {name if found.named else f'value {name}'} at {frames}, from "
        f"{(moments[start] - moments[0]) / 1e9:.2f} s on; expected messages at most {stale:g} s old, and frames no "
        "later than the last of them"
    )
