"""Units of a dataset and how a network's answers become estimates in them.

A network's estimates are a little too small: what it cannot tell it takes for the mean. On episodes that it did not
learn from, estimates are stretched until they vary as the truth does, and deviations until they hold the truth as
often as they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Float, Float32
from scipy.stats import norm

from mask2iv_ros.actions.demonstrations import constant_columns
from mask2iv_ros.errors import Refused

_STRETCH = (0.8, 1.25)  # a few episodes do not tell more
_SHARES = (0.5, 0.68, 0.8, 0.9, 0.95)  # of the truths that are to lie within their deviations, on average
_LEAST_FACTOR = 0.05


@dataclass(frozen=True)
class Scale:
    """Units of the columns of actions or states.

    Attributes:
        mean: of the demonstrations.
        spread: their standard deviation; 0 in a constant column, whose value the mean is.
        stretch: factor of an estimate's distance from the mean.
        widening: factor of a deviation.
        low: least value of the demonstrations.
        high: greatest.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    stretch: tuple[float, ...]
    widening: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if len(values) != len(self.mean) or not np.isfinite(np.array(values, np.float64)).all():
                raise Refused(f"{name} is {str(values)[:80]}; expected {len(self.mean)} finite numbers")

    @classmethod
    def of(cls, values: Sequence[Float32[np.ndarray, "t m"]]) -> Self:
        """Return the scale of all episodes' values, uncalibrated."""
        everything = np.concatenate(values).astype(np.float64)
        spread = everything.std(0)
        spread[constant_columns(everything)] = 0
        ones = (1.0,) * everything.shape[1]
        told = (tuple(one.tolist()) for one in (everything.min(0), everything.max(0)))
        return cls(tuple(everything.mean(0).tolist()), tuple(spread.tolist()), ones, ones, *told)

    def like(self, other: Scale) -> Self:
        """Return the same limits and constants in the units of another, as far as that knows a column to vary."""
        known = [bool(ours and theirs) for ours, theirs in zip(self.spread, other.spread, strict=True)]
        mean, spread = (
            tuple(theirs if take else ours for ours, theirs, take in zip(*pair, known, strict=True))
            for pair in ((self.mean, other.mean), (self.spread, other.spread))
        )
        return replace(self, mean=mean, spread=spread)

    @property
    def constant(self) -> list[int]:
        """The columns that hold one value."""
        return [column for column, spread in enumerate(self.spread) if not spread]

    def normalise(self, values: Float32[np.ndarray, "t m"]) -> Float32[np.ndarray, "t m"]:
        """Return values in deviations from the mean; constant ones are 0."""
        spread = np.array(self.spread)
        return ((values - self.mean) / np.where(spread, spread, 1) * (spread > 0)).astype(np.float32)

    def normalise_deviation(self, deviation: Float32[np.ndarray, "t m"]) -> Float32[np.ndarray, "t m"]:
        """Return deviations in those of the demonstrations; 0 in constant columns."""
        spread = np.array(self.spread)
        return (deviation / np.where(spread, spread, 1) * (spread > 0)).astype(np.float32)

    def estimate(
        self, mean: Float[np.ndarray, "t m"], deviation: Float[np.ndarray, "t m"]
    ) -> tuple[Float32[np.ndarray, "t m"], Float32[np.ndarray, "t m"]]:
        """Return a network's normalised answers and their deviations in the dataset's units."""
        spread, stretch = np.array(self.spread), np.array(self.stretch)
        values = self.mean + spread * stretch * mean
        return values.astype(np.float32), (spread * stretch * self.widening * deviation).astype(np.float32)

    def limited(self, values: Float32[np.ndarray, "t m"]) -> Float32[np.ndarray, "t m"]:
        """Return values within the demonstrations' limits: what a robot was never told is not worth learning."""
        return np.clip(values, self.low, self.high).astype(np.float32)

    def calibrated(
        self,
        mean: Float[np.ndarray, "t m"],
        deviation: Float[np.ndarray, "t m"],
        truth: Float32[np.ndarray, "t m"],
    ) -> Self:
        """Return the scale with stretch and widening set by a network's answers to what it did not learn from.

        Args:
            mean: normalised.
            deviation: normalised.
            truth: in the dataset's units.
        """
        wanted = self.normalise(truth)
        varies = mean.std(0)
        stretch = np.clip(np.where(varies, wanted.std(0) / np.where(varies, varies, 1), 1), *_STRETCH)
        stretch[wanted.std(0) == 0] = 1
        error = np.abs(wanted - stretch * mean) / (stretch * deviation)
        needed = [np.quantile(error, share, axis=0) / norm.ppf((1 + share) / 2) for share in _SHARES]
        widening = np.maximum(np.mean(needed, 0), _LEAST_FACTOR)
        return replace(self, stretch=tuple(stretch.tolist()), widening=tuple(widening.tolist()))
