"""Intervals of means over seeds and clips, both drawn anew: a row is a few trainings, each measured on the same clips.

A crossed bootstrap (Owen 2007, arXiv 0712.1111): every draw takes seeds with replacement and clips with replacement,
and all rows take the same, so the difference of two rows is of the same seeds and clips. Of three seeds there are
few draws: intervals are rather too narrow than too wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Interval = tuple[float, float, float]  # mean, low, high


@dataclass(frozen=True)
class Draws:
    """What every draw takes.

    Attributes:
        seeds: how often a draw takes each seed.
        clips: how often a draw takes each clip.
    """

    seeds: Int[np.ndarray, "r s"]
    clips: Int[np.ndarray, "r n"]

    @classmethod
    def of(cls, seeds: int, clips: int, count: int = 2000, seed: int = 0) -> Draws:
        """Draw `count` times out of so many seeds and clips."""
        rng = np.random.default_rng(seed)
        return cls(
            rng.multinomial(seeds, np.full(seeds, 1 / seeds), count),
            rng.multinomial(clips, np.full(clips, 1 / clips), count),
        )

    def means(self, values: Float[np.ndarray, "s n"]) -> Float[np.ndarray, "r"]:
        """Return the mean of every draw; what is NaN was not measured and counts for nothing."""
        there = ~np.isnan(values)
        total, weight = (
            ((self.seeds @ one) * self.clips).sum(1) for one in (np.where(there, values, 0.0), there.astype(float))
        )
        return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)

    def distances(self, distance: Callable[[int, Int[np.ndarray, "n"]], float], count: int) -> Float[np.ndarray, "r"]:
        """Return, for the first `count` draws, the mean over seeds of a distance between sets.

        Args:
            distance: of a seed's clips with these numbers, which may be there several times.
            count: of draws.
        """
        found = np.full(count, np.nan)
        for draw, (seeds, clips) in enumerate(zip(self.seeds[:count], self.clips[:count], strict=True)):
            chosen = np.repeat(np.arange(len(clips)), clips)
            taken = seeds.nonzero()[0]
            found[draw] = np.average([distance(int(seed), chosen) for seed in taken], weights=seeds[taken])
        return found


def interval(point: float, draws: Float[np.ndarray, "r"]) -> Interval:
    """Return a figure with the 95 % percentile interval of its draws; what is NaN is left out."""
    kept = draws[~np.isnan(draws)]
    if not kept.size or np.isnan(point):
        return point, point, point
    low, high = np.percentile(kept, [2.5, 97.5])
    return point, float(low), float(high)
