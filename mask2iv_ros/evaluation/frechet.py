"""The Fréchet distance of two sets of features, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mask2iv_ros.errors import Refused

RESAMPLES = 200


@dataclass(frozen=True)
class Distance:
    """A distance of sets.

    Attributes:
        value: of the sets as they are.
        resampled: of sets drawn from them with replacement. Distances measured with the same seed and as many
            clips drew the same clips, so their differences are paired.
        count: members of each set.
    """

    value: float
    resampled: Float64[np.ndarray, "r"]
    count: int

    @property
    def interval(self) -> tuple[float, float, float]:
        """The value with its 95 % interval."""
        return around(self.value, self.resampled, floor=0)


def around(value: float, resampled: Float64[np.ndarray, "r"], floor: float = -np.inf) -> tuple[float, float, float]:
    """Return a value with the 95 % interval of its bootstrap's standard deviation.

    Sets drawn with replacement hold repeats, and so lie farther from each other than the sets that they
    were drawn from: of this bootstrap only the spread is of use, not where it lies.
    """
    half = 1.96 * float(resampled.std(ddof=1))
    return value, max(floor, value - half), value + half


def frechet_distance(first: Float64[np.ndarray, "n d"], second: Float64[np.ndarray, "m d"]) -> float:
    """Return |mean_1 - mean_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), of unbiased covariances (Heusel et al. 2017).

    With centred features X the last trace is the sum of the singular values of X_1 X_2^T, divided by
    ((n - 1)(m - 1))^(1/2): no matrix root, which is inexact where there are fewer members than features.

    Raises:
        Refused: a set has fewer than two members, or features that are not finite.
    """
    for features in (first, second):
        if len(features) < 2:
            raise Refused(f"a set has {len(features)} members; a Fréchet distance needs at least 2")
        if not np.isfinite(features).all():
            raise Refused("a feature is not finite; expected numbers")
    shift = first.mean(0) - second.mean(0)
    scaled = [(features - features.mean(0)) / np.sqrt(len(features) - 1) for features in (first, second)]
    traces = sum(float((one**2).sum()) for one in scaled)
    # The triangle R of X = QR has the same covariance and no more rows than there are features.
    small = [np.linalg.qr(one, mode="r") if len(one) > one.shape[1] else one for one in scaled]
    root = float(np.linalg.svd(small[0] @ small[1].T, compute_uv=False).sum())
    return max(0.0, float(shift @ shift) + traces - 2 * root)


def paired_distance(made: Float64[np.ndarray, "n d"], true: Float64[np.ndarray, "n d"], seed: int = 0) -> Distance:
    """Return the distance of what was made of n clips and the n clips, member i being of the same clip.

    Raises:
        Refused: as `frechet_distance`.
    """
    value, random = frechet_distance(made, true), np.random.default_rng(seed)
    draws = random.integers(0, len(made), (RESAMPLES, len(made)))
    return Distance(value, np.array([frechet_distance(made[draw], true[draw]) for draw in draws]), len(made))
