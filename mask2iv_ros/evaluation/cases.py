"""Which clips a report shows: by rank and by chance, never by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import isnan

import numpy as np

from mask2iv_ros.evaluation.measure import CHAINED, Measured

RANKED_BY = "psnr_foreground"


@dataclass(frozen=True)
class Case:
    """A clip among those of its task.

    Attributes:
        one: the clip and what was made of it.
        rank: from 1, the best; None where there was nothing to rank it by.
        of: clips of the task that have a rank.
        name: why it is shown: "best", "median", "worst" or "random".
    """

    one: Measured
    rank: int | None
    of: int
    name: str = ""


def rank(measured: Sequence[Measured]) -> list[Case]:
    """Return all clips, tasks by name, the best of each first, by the foreground PSNR of both stages chained.

    Equal ones keep their order; those without it come last.
    """
    cases = []
    for _, members in groupby(sorted(measured, key=_order), key=lambda one: one.clip.task):
        clips = list(members)
        ranked = sum(not isnan(_value(one)) for one in clips)
        cases += [Case(one, place if place <= ranked else None, ranked) for place, one in enumerate(clips, start=1)]
    return cases


def by_rank(cases: Sequence[Case]) -> list[Case]:
    """Return the best, the median and the worst case of every task; fewer where it has fewer than three."""
    chosen = []
    for case in cases:
        names = {case.of // 2 + 1: "median", case.of: "worst", 1: "best"}
        if case.rank in names:
            chosen.append(replace(case, name=names[case.rank]))
    return chosen


def by_chance(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Return cases drawn without replacement from all tasks together, all of them if there are fewer."""
    drawn = np.random.default_rng(seed).permutation(len(cases))[:count]
    return [replace(cases[index], name="random") for index in drawn]


def _value(one: Measured) -> float:
    return one.figures[CHAINED][RANKED_BY]


def _order(one: Measured) -> tuple[str, bool, float]:
    value = _value(one)
    return one.clip.task, isnan(value), 0.0 if isnan(value) else -value
