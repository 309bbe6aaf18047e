"""Two methods on the same clips: the difference clip by clip tells more than two means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from mask2iv_ros.evaluation.figures import figure_named
from mask2iv_ros.evaluation.html import Interval
from mask2iv_ros.evaluation.measure import Measured
from mask2iv_ros.evaluation.metrics import interval


@dataclass(frozen=True)
class Difference:
    """One method less another.

    Attributes:
        mean: of the clips' differences, with its 95 % interval.
        better: clips on which the first is strictly better.
        clips: on which both were measured.
        verdict: which is better if the interval leaves zero out.
    """

    mean: Interval
    better: int
    clips: int
    verdict: Literal["", "good", "bad"]


def difference(measured: Sequence[Measured], ours: str, other: str, figure: str) -> Difference | None:
    """Return how much `ours` has more of a figure than `other`; None where no clip has it for both."""
    rows = [one.figures for one in measured]
    pairs = [(row[ours][figure], row[other][figure]) for row in rows if figure in row[ours] and figure in row[other]]
    apart = [a - b for a, b in pairs if not isnan(a - b)]
    if not apart:
        return None
    mean, low, high = interval(apart)
    sign = {"higher": 1, "lower": -1, "": 0}[figure_named(figure).column.better]
    verdict: Literal["", "good", "bad"] = ""
    if len(apart) > 1 and (low > 0 or high < 0):
        verdict = {1: "good", -1: "bad", 0: ""}[sign if low > 0 else -sign]
    return Difference((mean, low, high), sum(sign * one > 0 for one in apart), len(apart), verdict)
