"""When things in a bag happened, and which state and command belong to a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mask2iv_ros.data.sources.bag_vectors import Numbers
from mask2iv_ros.errors import Refused

_APART = 1.0  # seconds: clocks that are farther apart are not the same clock
_LATE = 1.5  # periods of a topic after which its next message is overdue


@dataclass
class Heard:
    """What came on one topic, in the order in which it was received.

    Attributes:
        received: ns by the recorder's clock.
        stamped: ns by the messages' headers; 0 where they have none.
        numbers: what the messages say, of topics of numbers.
    """

    received: list[int] = field(default_factory=list)
    stamped: list[int] = field(default_factory=list)
    numbers: list[Numbers] = field(default_factory=list)


def choose_times(heard: Mapping[str, Heard]) -> tuple[dict[str, Int64[np.ndarray, " n"]], str]:
    """Return when the messages of each topic happened, in ns, and by which clock, in words.

    A header says when something was measured, the recorder's clock when it was written down, later by what
    transport and decoding took. Headers are used of each topic that has them in all messages, ascending; but only
    if all topics then tell of the same time: where a camera counts from its own start, or some topics have
    simulated time and others no header, everything goes by the recorder's clock.
    """
    received = {topic: np.array(one.received, np.int64) for topic, one in heard.items()}
    stamped = {topic: np.array(one.stamped, np.int64) for topic, one in heard.items()}
    # Two images of one moment are no frames; two messages of one may each tell of some joints.
    good = {
        topic: bool((one > 0).all() and (np.diff(one) >= (0 if heard[topic].numbers else 1)).all())
        for topic, one in stamped.items()
    }
    late = {topic: float(np.median(received[topic] - stamped[topic])) / 1e9 if good[topic] else 0.0 for topic in heard}
    if not any(good.values()):
        return received, f"times of {_listed(heard)} are those of reception: none has stamps that ascend"
    if max(late.values()) - min(late.values()) > _APART:
        return received, (
            f"times of {_listed(heard)} are those of reception: their stamps are of clocks "
            f"{max(late.values()) - min(late.values()):.1f} s apart"
        )
    told = f"times of {_listed(topic for topic in heard if good[topic])} are their headers'"
    if others := [topic for topic in heard if not good[topic]]:
        told += f", of {_listed(others)} those of reception: no stamps that ascend"
    return {topic: stamped[topic] if good[topic] else received[topic] for topic in heard}, told


@dataclass(frozen=True)
class Aligned:
    """A state or a command for every frame.

    Attributes:
        names: of the columns.
        values: nan where nothing is known.
        known: which values are.
        named: whether the messages name the values; else the names are numbers.
    """

    names: tuple[str, ...]
    values: Float64[np.ndarray, "t n"]
    known: Bool[np.ndarray, "t n"]
    named: bool


def align(
    times: Int64[np.ndarray, " m"],
    numbers: Sequence[Numbers],
    frames: Int64[np.ndarray, " t"],
    stale: float,
    commands: bool,
    order: Sequence[str] = (),
) -> Aligned:
    """Return what a topic says at each frame.

    A state is the latest at or before the frame: what a policy would know, too. A command is the first from the
    frame on and before the next frame: what was commanded upon seeing it, as LeRobot's recorder pairs them (it
    observes, then commands), where the latest before would be the one upon the frame before; if none comes, the
    one before still holds. Nothing is interpolated, so values are those of messages to the bit.

    Joints are found by name, each for itself: messages may differ in their joints and in their order.

    Args:
        times: of the messages, in ns, ascending.
        numbers: what they say.
        frames: times of the frames, in ns, ascending.
        stale: seconds for which a message holds; after a topic's last one, only until the next would be overdue.
        commands: not states.
        order: of the columns, as far as they have these names; others follow as they come.

    Raises:
        Refused: values without names change in number.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, one in enumerate(numbers):
        groups.setdefault(one.names or tuple(str(column) for column in range(len(one.values))), []).append(index)
    named = all(one.names is not None for one in numbers)
    if not named and len(groups) > 1:
        lengths = ", ".join(str(len(names)) for names in groups)
        raise Refused(f"its messages have {lengths} values without names; expected the same number in all")
    seen = dict.fromkeys(name for names in groups for name in names)
    columns = tuple(dict.fromkeys([*(name for name in order if name in seen), *seen]))
    values = np.full((len(frames), len(columns)), np.nan)
    when = np.full(values.shape, np.iinfo(np.int64).min)
    until = np.zeros(values.shape, np.int64)
    place = {name: column for column, name in enumerate(columns)}
    for names, indices in groups.items():
        own = times[indices]
        found = _commanded(own, frames) if commands else np.searchsorted(own, frames, "right") - 1
        rows = np.array([numbers[index].values for index in indices])
        target = [place[name] for name in names]
        happened = np.where(found >= 0, own[found], np.iinfo(np.int64).min)[:, None]
        newer = happened > when[:, target]
        values[:, target] = np.where(newer, rows[found], values[:, target])
        until[:, target] = np.where(newer, _hold(own, stale)[found][:, None], until[:, target])
        when[:, target] = np.where(newer, happened, when[:, target])
    known = ~np.isnan(values) & (frames[:, None] <= until)
    return Aligned(columns, values, known, named)


def period(times: Int64[np.ndarray, " n"]) -> float:
    """Return the median time from message to message in ns; infinite where there are fewer than three."""
    return float(np.median(np.diff(times))) if len(times) > 2 else np.inf


def _commanded(times: Int64[np.ndarray, " m"], frames: Int64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
    """Return the index of each frame's command; -1 where there is none."""
    # After the last frame, and where frames are missing, the next one would have come a period later.
    due = frames + round(min(_LATE * period(frames), 1e9))
    following = np.minimum(np.append(frames[1:], np.iinfo(np.int64).max), due)
    first = np.searchsorted(times, frames, "left")
    within = (first < len(times)) & (times[np.minimum(first, len(times) - 1)] < following)
    return np.where(within, first, first - 1)


def _hold(times: Int64[np.ndarray, " m"], stale: float) -> Int64[np.ndarray, " m"]:
    """Return until when each message holds."""
    until = times + round(stale * 1e9)
    until[-1] = times[-1] + round(min(stale * 1e9, _LATE * period(times)))
    return until


def _listed(topics: object) -> str:
    return ", ".join(topics)
