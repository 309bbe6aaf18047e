"""Where a robot's actions take its arm in the picture, learned from demonstrations: what masks can be held against.

The camera is fixed, so where the arm is seen follows from where it began and what it was told. Features are the
actions summed up, the action itself and the one before, and where the arm was seen first, all with their squares and
products; a ridge regression makes places of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Float32, UInt8

from mask2iv_ros.masks import Role

_TRIM = 5  # per cent of the arm's pixels that are farther out than its edge: masks are ragged
_LEAST_PIXELS = 20  # fewer have no place
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
_FOLDS = 5


@dataclass(frozen=True)
class Motion:
    """A ridge regression from actions to places of the arm, in pixels.

    Attributes:
        centre: of the features.
        size: of the features.
        weights: a row a feature, normalised, and one for 1.
    """

    centre: Float[np.ndarray, "f"]
    size: Float[np.ndarray, "f"]
    weights: Float[np.ndarray, "f2 6"]

    @classmethod
    def fit(
        cls, actions: Sequence[Float32[np.ndarray, "t m"]], labels: Sequence[UInt8[np.ndarray, "t h w"]]
    ) -> Self | None:
        """Return what fits demonstrations best, strength chosen by leaving episodes out; None where none shows an arm.

        Args:
            actions: normalised, of every episode.
            labels: of it.
        """
        pairs = [_pairs(action, places(seen)) for action, seen in zip(actions, labels, strict=True)]
        pairs = [(x, y) for x, y in pairs if len(x) > 1]
        if not pairs:
            return None
        folds = range(min(_FOLDS, len(pairs)))
        errors = {
            strength: sum(
                float(((made.predict(x) - y) ** 2).sum())
                for fold in folds
                for made in [cls._solve([pair for place, pair in enumerate(pairs) if place % _FOLDS != fold], strength)]
                for x, y in pairs[fold::_FOLDS]
            )
            for strength in (_STRENGTHS if len(pairs) > 1 else ())
        }
        return cls._solve(pairs, min(errors, key=errors.get) if errors else _STRENGTHS[-1])

    @classmethod
    def _solve(cls, pairs: Sequence[tuple[np.ndarray, np.ndarray]], strength: float) -> Self:
        x, y = (np.concatenate(one) for one in zip(*pairs, strict=True))
        centre, size = x.mean(0), x.std(0)
        size[size < 1e-9] = 1
        x = np.c_[(x - centre) / size, np.ones(len(x))]
        penalty = strength * np.eye(x.shape[1])
        penalty[-1, -1] = 0
        return cls(centre, size, np.linalg.solve(x.T @ x + penalty, x.T @ y))

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n 6"]:
        """Return the places that features stand for."""
        return np.c_[(features - self.centre) / self.size, np.ones(len(features))] @ self.weights

    def disagreement(self, action: Float32[np.ndarray, "t m"], labels: UInt8[np.ndarray, "t h w"]) -> float:
        """Return how far the arm is from where the actions take it, in pixels; NaN where no arm is seen.

        The root of the mean square over frames, columns and rows of its middle and edges.
        """
        x, y = _pairs(action, places(labels))
        return float(np.sqrt(((self.predict(x) - y) ** 2).mean())) if len(x) else float("nan")


def places(labels: UInt8[np.ndarray, "t h w"]) -> Float[np.ndarray, "t 6"]:
    """Return the arm's middle, and its left, right, top and bottom edge; NaN where hardly any of it is seen."""
    found = np.full((len(labels), 6), np.nan)
    for place, seen in zip(found, labels == Role.INTERACTOR, strict=True):
        rows, columns = np.nonzero(seen)
        if len(rows) >= _LEAST_PIXELS:
            edges = [np.percentile(one, (_TRIM, 100 - _TRIM)) for one in (columns, rows)]
            place[:] = [columns.mean(), rows.mean(), *edges[0], *edges[1]]
    return found


def _pairs(
    action: Float32[np.ndarray, "t m"], seen: Float[np.ndarray, "t 6"]
) -> tuple[Float[np.ndarray, "n f"], Float[np.ndarray, "n 6"]]:
    """Return features and places of all frames after the first in which the arm is seen."""
    known = np.flatnonzero(np.isfinite(seen[:, 0]))
    if not len(known):
        return np.zeros((0, 1)), np.zeros((0, 6))
    first = known[0]
    told = action.astype(np.float64)
    summed = np.cumsum(told, 0) - told  # what was done before each frame
    summed = (summed - summed[first])[known[1:]]
    begin = np.repeat(seen[first][None, :2], len(known) - 1, 0)
    before = told[np.maximum(known[1:] - 1, 0)]
    plain = np.concatenate([summed, before, told[known[1:]], begin], 1)
    core = np.concatenate([summed, begin], 1)
    upper = np.triu_indices(core.shape[1])
    squares = (core[:, :, None] * core[:, None, :])[:, upper[0], upper[1]]
    return np.concatenate([plain, squares], 1), seen[known[1:]]
