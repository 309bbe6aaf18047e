"""Means over training seeds and scenes, and differences between arms on the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mask2iv_ros.evaluation.html import Column, Interval
from mask2iv_ros.policy.benchmark.plan import REAL
from mask2iv_ros.policy.benchmark.results import Result

PLACED_M = 0.05

FIGURES: dict[str, Column] = {
    "success": Column(
        "success",
        "%",
        "higher",
        1,
        "Share of the scenes in which the object was at the goal at any time, by Meta-World's own measure.",
    ),
    "placed": Column(
        "placed",
        "%",
        "higher",
        1,
        f"Share of the scenes in which the object ends within {100 * PLACED_M:.0f} cm of where the expert leaves it; "
        "what is pushed through the goal and beyond is a success, and is not placed.",
    ),
    "distance_m": Column(
        "final distance", "cm", "lower", 1, "From the object's place after the last step to where the expert leaves it."
    ),
    "goal_iou": Column("goal IoU", "", "higher", 2, "Of the object's mask after the last step and the goal mask."),
}
_SHOWN_AS = {"success": 100.0, "placed": 100.0, "distance_m": 100.0, "goal_iou": 1.0}
_RESAMPLED = 5000

Table = Float64[np.ndarray, "seeds scenes"]


@dataclass(frozen=True)
class Difference:
    """An arm less the arm `real`, on the same scenes with the same training seeds.

    Attributes:
        mean: with its 95 % interval, in the figure's unit.
        better: pairs in which the arm is strictly better.
        worse: pairs in which it is strictly worse.
        pairs: in all.
    """

    mean: Interval
    better: int
    worse: int
    pairs: int

    @property
    def decided(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.mean[1] > 0 or self.mean[2] < 0


def bootstrapped(tables: Sequence[Table], seed: int = 0) -> Interval:
    """Return the mean over tasks of the mean of their tables, and its 95 % percentile interval.

    Training seeds and scenes are both drawn with replacement, independently, within every task: another training
    could have begun elsewhere, and another lab has other scenes. With few seeds the interval is a rough one.
    """
    rng = np.random.default_rng(seed)
    mean = float(np.mean([table.mean() for table in tables]))
    drawn = np.zeros(_RESAMPLED)
    for table in tables:
        seeds, scenes = table.shape
        # A drawn table's mean is that of the table weighted by how often each row and column was drawn.
        rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), _RESAMPLED) / seeds
        columns = rng.multinomial(scenes, np.full(scenes, 1 / scenes), _RESAMPLED) / scenes
        drawn += np.einsum("ns,sc,nc->n", rows, table, columns, optimize=True) / len(tables)
    # Rounded, as weights that cancel each other leave dust that would push an end at zero over zero.
    low, high = np.percentile(drawn.round(9), [2.5, 97.5])
    return mean, float(low), float(high)


def summary(results: Sequence[Result], arm: str, tasks: Sequence[str], figure: str) -> Interval | None:
    """Return a figure of an arm with its interval; None unless every task has a result."""
    tables = [_table([one for one in results if (one.run.arm, one.run.task) == (arm, task)], figure) for task in tasks]
    return None if any(table is None for table in tables) else bootstrapped(tables)


def difference(results: Sequence[Result], arm: str, tasks: Sequence[str], figure: str) -> Difference | None:
    """Return how much more of a figure an arm has than `real`; None unless every task has a seed that both have."""
    apart = []
    for task in tasks:
        by_arm = {
            name: {one.run.seed: one for one in results if (one.run.arm, one.run.task) == (name, task)}
            for name in (arm, REAL)
        }
        both = sorted(by_arm[arm].keys() & by_arm[REAL].keys())
        if not both:
            return None
        ours, theirs = (_table([by_arm[name][seed] for seed in both], figure) for name in (arm, REAL))
        apart.append(ours - theirs)
    sign = -1 if FIGURES[figure].better == "lower" else 1
    flat = sign * np.concatenate([table.ravel() for table in apart])
    return Difference(bootstrapped(apart), int((flat > 0).sum()), int((flat < 0).sum()), flat.size)


def _values(result: Result, figure: str) -> dict[int, float]:
    if figure == "placed":
        return {seed: float(distance <= PLACED_M) for seed, distance in result.values("distance_m").items()}
    return result.values(figure)


def _table(results: Sequence[Result], figure: str) -> Table | None:
    rows = [[value for _, value in sorted(_values(one, figure).items())] for one in results]
    return _SHOWN_AS[figure] * np.array(rows) if rows else None
