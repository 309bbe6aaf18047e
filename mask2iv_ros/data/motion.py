"""How much happens in a clip, and which clips hold the least of it."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

SHARE = 0.05  # of the clips that the paper drops: "the 5 % least dynamic"


def motion_score(labels: UInt8[np.ndarray, "t h w"]) -> float:
    """Return how far interactor and object move from frame to frame, in diagonals of the picture.

    The paper scores clips by the displacement of hand and object and gives no formula. Here it is, of each, the mean
    distance between the centroids of its mask in neighbouring frames that both show it (0 if none do), and the sum
    of the two: a hand that waves and an object that is carried both count, and a longer clip scores no more for it.

    Args:
        labels: one `Role` per pixel.
    """
    diagonal = math.hypot(*labels.shape[1:])
    return sum(_displacement(labels == role) for role in (Role.INTERACTOR, Role.OBJECT)) / diagonal


def least_dynamic(scores: Float[np.ndarray, " n"], share: float = SHARE) -> Bool[np.ndarray, " n"]:
    """Tell which clips have the lowest scores: `share` of them, rounded down; of equal ones the first.

    Raises:
        Refused: a share that is not in [0, 1), or a score that is no number.
    """
    if not 0 <= share < 1:
        raise Refused(f"the share of least dynamic clips is {share}; expected 0 to below 1")
    if not np.isfinite(scores).all():
        raise Refused(f"a motion score is {scores[~np.isfinite(scores)][0]}; expected finite numbers")
    lowest = np.zeros(len(scores), bool)
    # A hundredth of a clip more, or 0.29 of 100 clips would be 28.
    lowest[np.argsort(scores, kind="stable")[: math.floor(share * len(scores) + 0.01)]] = True
    return lowest


def _displacement(mask: Bool[np.ndarray, "t h w"]) -> float:
    """Return the mean distance in pixels between centroids in neighbouring frames."""
    count = mask.sum((1, 2))
    seen = count > 0
    rows = (mask.sum(2) @ np.arange(mask.shape[1])) / np.maximum(count, 1)
    columns = (mask.sum(1) @ np.arange(mask.shape[2])) / np.maximum(count, 1)
    both = seen[1:] & seen[:-1]
    return float(np.hypot(np.diff(rows), np.diff(columns))[both].mean()) if both.any() else 0.0
