"""How much happens in a clip, and which clips hold the least of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

SHARE = 0.05  # of the clips that the paper leaves out: the 5 % least dynamic ones


def displacements(labels: UInt8[np.ndarray, "t h w"]) -> Float64[np.ndarray, "t-1 2"]:
    """Return how far the centroids of interactor and object go from frame to frame, in diagonals of the picture.

    A step to or from a frame in which a role is not seen counts as none.

    Args:
        labels: one `Role` per pixel.
    """
    steps = [_steps(labels == role) for role in (Role.INTERACTOR, Role.OBJECT)]
    return np.stack(steps, axis=1) / math.hypot(*labels.shape[1:])


def motion_score(labels: UInt8[np.ndarray, "t h w"]) -> float:
    """Return a clip's motion score: the way of the interactor's centroid and that of the object's, added up.

    The paper scores clips by the displacement of hand and object and gives no formula. A way, not the distance
    from first to last frame: a hand that opens and closes a door has moved. Clips have one length, so the sum is fair.
    """
    return float(displacements(labels).sum())


def least_motion(scores: Sequence[float], share: float = SHARE) -> float:
    """Return the score that the lowest `share` of the clips lie below: those are left out, and no other.

    Of n clips, floor(share * n) are left out; where the next score is the same as theirs, fewer.

    Raises:
        Refused: a share that is not in [0, 1), or a score that is no number.
    """
    if not 0 <= share < 1:
        raise Refused(f"the share of least dynamic clips is {share}; expected 0 to below 1")
    ordered = np.sort(np.asarray(scores, np.float64))
    if not np.isfinite(ordered).all():
        raise Refused(f"a motion score is {ordered[~np.isfinite(ordered)][0]}; expected finite numbers")
    # 0.29 * 100 is below 29 in floating point.
    return float(ordered[math.floor(share * len(ordered) + 1e-6)]) if len(ordered) else 0.0


def _steps(mask: Bool[np.ndarray, "t h w"]) -> Float64[np.ndarray, "t-1"]:
    """Return the distances in pixels between the centroids of neighbouring frames."""
    count = mask.sum((1, 2))
    rows = (mask.sum(2) @ np.arange(mask.shape[1])) / np.maximum(count, 1)
    columns = (mask.sum(1) @ np.arange(mask.shape[2])) / np.maximum(count, 1)
    both = (count[1:] > 0) & (count[:-1] > 0)
    return np.where(both, np.hypot(np.diff(rows), np.diff(columns)), 0.0)
