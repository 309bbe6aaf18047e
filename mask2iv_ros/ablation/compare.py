"""What the rows say: means, differences, and whether they stand to each other as the paper's do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau

from mask2iv_ros.ablation.resample import Draws, Interval, interval
from mask2iv_ros.ablation.variants import PAPERS, STEPS, VARIANTS, Step
from mask2iv_ros.evaluation.figures import figure_named
from mask2iv_ros.evaluation.frechet import RESAMPLES, around

Verdict = Literal["agrees", "disagrees", "undecided", ""]


@dataclass(frozen=True)
class Row:
    """What was measured of a variant.

    Attributes:
        figures: by name, of every seed and clip; NaN where a clip has none.
        features: of every seed's videos, that a distance between sets is made of; None: not measured.
    """

    figures: Mapping[str, Float[np.ndarray, "s n"]]
    features: Float[np.ndarray, "s n d"] | None = None


@dataclass(frozen=True)
class Compared:
    """A step from one row to the next, in one figure.

    Attributes:
        ours: row after less row before, with its interval.
        paper: the same of the paper's rows; None where it has none.
        verdict: whether both go the same way; "undecided" where our interval has zero in it, "" where the paper
            has no row or goes no way.
    """

    ours: Interval
    paper: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Order:
    """All rows that the paper's ablation has, in one figure, best first.

    Attributes:
        ours: variants.
        paper: the same, by the paper's figures.
        tau: Kendall's rank correlation of both (tau-b), from -1 to 1; NaN for fewer than two rows.
    """

    ours: Sequence[str]
    paper: Sequence[str]
    tau: float


@dataclass(frozen=True)
class Comparison:
    """Everything that is reported.

    Attributes:
        means: by variant and figure, with intervals.
        seeds: the same of every seed alone, without.
        to_full: by variant and figure: the variant less `full`, of the same seeds and clips.
        steps: by step and figure.
        orders: by figure.
    """

    means: Mapping[str, Mapping[str, Interval]]
    seeds: Mapping[str, Mapping[str, Sequence[float]]]
    to_full: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    steps: Mapping[Step, Mapping[str, Compared]] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)


@dataclass(frozen=True)
class _Figure:
    """One figure of one row: of each seed, of all together, and of every draw."""

    seeds: Float[np.ndarray, "s"]
    point: float
    draws: Float[np.ndarray, "r"]
    of_sets: bool = False

    @property
    def mean(self) -> Interval:
        return around(self.point, self.draws, floor=0) if self.of_sets else interval(self.point, self.draws)

    def less(self, other: _Figure) -> Interval:
        about = around if self.of_sets else interval
        return about(self.point - other.point, self.draws - other.draws)


Distance = Callable[[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]], float]


def compare(
    rows: Mapping[str, Row], truth: Float[np.ndarray, "n d"] | None = None, distance: Distance | None = None
) -> Comparison:
    """Compare rows that were measured on the same seeds and clips.

    Args:
        rows: by variant.
        truth: features of the true videos, with rows that have features.
        distance: between two sets of features (FVD).
    """
    seeds, clips = next(iter(next(iter(rows.values())).figures.values())).shape
    draws = Draws.of(seeds, clips)
    measured = {name: _measured(row, draws, truth, distance) for name, row in rows.items()}
    return Comparison(
        means={name: {key: one.mean for key, one in row.items()} for name, row in measured.items()},
        seeds={name: {key: one.seeds.tolist() for key, one in row.items()} for name, row in measured.items()},
        to_full={
            name: {key: one.less(measured["full"][key]) for key, one in row.items()}
            for name, row in measured.items()
            if "full" in measured and name != "full"
        },
        steps={
            step: _step(step, measured[step.before], measured[step.after])
            for step in STEPS
            if {step.before, step.after} <= measured.keys()
        },
        orders=_orders(measured),
    )


def _measured(row: Row, draws: Draws, truth: np.ndarray | None, distance: Distance | None) -> dict[str, _Figure]:
    found = {}
    for name, values in row.figures.items():
        found[name] = _Figure(np.array([_mean(one) for one in values]), _mean(values), draws.means(values))
    if row.features is not None:
        each = np.array([distance(one, truth) for one in row.features])
        of_draws = draws.distances(lambda seed, clips: distance(row.features[seed][clips], truth[clips]), RESAMPLES)
        found["fvd"] = _Figure(each, float(each.mean()), of_draws, of_sets=True)
    return found


def _mean(values: Float[np.ndarray, "..."]) -> float:
    """Return the mean of what was measured."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")


def _step(step: Step, before: Mapping[str, _Figure], after: Mapping[str, _Figure]) -> dict[str, Compared]:
    papers = [VARIANTS[name].paper for name in (step.before, step.after)]
    found = {}
    for name in after.keys() & before.keys():
        ours = after[name].less(before[name])
        paper = None
        if all(paper is not None and name in paper.figures for paper in papers):
            # Rounded as they were published: 0.124 less 0.132 is -0.008.
            paper = round(papers[1].figures[name] - papers[0].figures[name], 6)
        found[name] = Compared(ours, paper, _verdict(ours, paper))
    return found


def _verdict(ours: Interval, paper: float | None) -> Verdict:
    mean, low, high = ours
    if not paper or np.isnan(mean):
        return ""
    if low <= 0 <= high:
        return "undecided"
    return "agrees" if (mean > 0) == (paper > 0) else "disagrees"


def _orders(measured: Mapping[str, Mapping[str, _Figure]]) -> dict[str, Order]:
    """Return the order of the rows of the paper's ablation, by every figure that both have."""
    rows = [name for name in PAPERS if name in measured]
    orders = {}
    for figure in VARIANTS["full"].paper.figures:
        if len(rows) < 2 or any(
            figure not in measured[name] or np.isnan(measured[name][figure].point) for name in rows
        ):
            continue
        sign = -1 if figure_named(figure).column.better == "higher" else 1
        ours, paper = (
            [sign * value for value in values]
            for values in (
                [measured[name][figure].point for name in rows],
                [VARIANTS[name].paper.figures[figure] for name in rows],
            )
        )
        ranked = [[rows[place] for place in np.argsort(values, kind="stable")] for values in (ours, paper)]
        orders[figure] = Order(*ranked, float(kendalltau(ours, paper).statistic))
    return orders
