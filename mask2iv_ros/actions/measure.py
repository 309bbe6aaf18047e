"""How far estimated actions are from recorded ones, and what knows less about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.stats import norm

from mask2iv_ros.evaluation.metrics import interval

Interval = tuple[float, float, float]
NOMINAL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Measured:
    """Estimates of episodes whose truth is known, an entry an episode.

    Attributes:
        names: of the columns.
        truth: as recorded.
        value: as estimated.
        deviation: as expected.
    """

    names: tuple[str, ...]
    truth: Sequence[Float32[np.ndarray, "t m"]]
    value: Sequence[Float32[np.ndarray, "t m"]]
    deviation: Sequence[Float32[np.ndarray, "t m"]]

    def figures(self) -> dict[str, dict[str, float | Interval]]:
        """Return by column: RMSE, R2, both slopes and the share of truths within one and two deviations.

        `rmse` has an interval, over episodes. `slope` is that of the estimate on the truth: below 1 where
        estimates are too small; `slope_of_truth` that of the truth on the estimate. Those of a constant column,
        and R2, are NaN.
        """
        rows = {}
        for column, name in enumerate(self.names):
            truth, value, deviation = (
                np.concatenate([one[:, column] for one in part]).astype(np.float64)
                for part in (self.truth, self.value, self.deviation)
            )
            error, both = np.abs(value - truth), np.cov(truth, value, ddof=0)
            varies = both[0, 0] > 0 and both[1, 1] > 0
            rows[name] = {
                "rmse": _rmse([v[:, column] - t[:, column] for v, t in zip(self.value, self.truth, strict=True)]),
                "r2": 1 - float((error**2).mean() / both[0, 0]) if both[0, 0] > 0 else float("nan"),
                "slope": float(both[0, 1] / both[0, 0]) if varies else float("nan"),
                "slope_of_truth": float(both[0, 1] / both[1, 1]) if varies else float("nan"),
                "within_1": float((error <= deviation).mean()),
                "within_2": float((error <= 2 * deviation).mean()),
            }
        return rows

    def coverage(self) -> dict[str, list[tuple[float, float]]]:
        """Return by column how often the truth lies within the interval that should hold a share of `NOMINAL`."""
        found = {}
        for column, name in enumerate(self.names):
            error, deviation = (
                np.concatenate([one[:, column] for one in part])
                for part in (
                    [np.abs(v - t) for v, t in zip(self.value, self.truth, strict=True)],
                    self.deviation,
                )
            )
            if deviation.any():
                found[name] = [(p, float((error <= norm.ppf((1 + p) / 2) * deviation).mean())) for p in NOMINAL]
        return found


def baselines(
    truth: Sequence[Float32[np.ndarray, "t m"]], mean: Sequence[float]
) -> Mapping[str, Sequence[Float[np.ndarray, "t m"]]]:
    """Return what can be said without looking, by name.

    "repeat the last" is told the true action of the frame before, which none who only sees can know; in the first
    frame it says the mean.

    Args:
        truth: recorded actions of every episode.
        mean: of the demonstrations learned from.
    """
    known = np.array(mean)
    return {
        "zero": [np.zeros_like(one) for one in truth],
        "mean": [np.broadcast_to(known, one.shape) for one in truth],
        "repeat the last (told the truth)": [np.concatenate([known[None], one[:-1]]) for one in truth],
    }


def _rmse(errors: Sequence[Float[np.ndarray, "t"]]) -> Interval:
    """Return the root of the mean square and its interval, over episodes of like length."""
    return tuple(float(np.sqrt(max(0.0, one))) for one in interval([float((error**2).mean()) for error in errors]))
