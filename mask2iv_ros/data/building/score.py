"""How much happens in a clip: the displacement of interactor and object."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8

from mask2iv_ros.masks import Role


def displacements(labels: UInt8[np.ndarray, "t h w"]) -> Float64[np.ndarray, "t-1 2"]:
    """Return how far the centroids of interactor and object go from frame to frame, as shares of the diagonal.

    A step to or from a frame in which a role is not seen counts as none.
    """
    diagonal = np.hypot(*labels.shape[1:])
    steps = np.zeros((len(labels) - 1, 2))
    for column, role in enumerate((Role.INTERACTOR, Role.OBJECT)):
        centroids = np.array([_centroid(one == role) for one in labels])  # t 2
        moved = np.linalg.norm(np.diff(centroids, axis=0), axis=1) / diagonal
        steps[:, column] = np.nan_to_num(moved)
    return steps


def motion_score(labels: UInt8[np.ndarray, "t h w"]) -> float:
    """Return a clip's motion score: the way of the interactor's centroid and that of the object's, added up.

    The method drops the 5 % of the clips that score lowest, without saying how it measures
    displacement; this way is in shares of the picture's diagonal.
    """
    return float(displacements(labels).sum())


def _centroid(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return (float(rows.mean()), float(columns.mean())) if rows.size else (np.nan, np.nan)
