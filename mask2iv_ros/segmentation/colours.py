"""How often colours occur in a mask: histograms of CIE Lab, and the odds between two of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = (8, 24, 24)  # in L, a, b: what light and shadow change is told coarsely
_KNEE = 12.0  # a, b: below, bins are equally wide; above, they widen, as hues of saturated colours vary more
_SPAN = 2.8  # asinh(98 / 12): the most saturated colour of sRGB


def binned(lab: Float[np.ndarray, "h w 3"]) -> Int[np.ndarray, "h w"]:
    """Return each pixel's bin."""
    light = lab[..., 0] / 100 * BINS[0]
    hue = (np.arcsinh(lab[..., 1:] / _KNEE) / _SPAN + 1) / 2 * BINS[1]
    index = np.concatenate([light[..., None], hue], axis=2).astype(int)
    index = np.clip(index, 0, np.array(BINS) - 1)
    return np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), BINS)


def histogram(bins: Int[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
    """Return the share of the mask's pixels in each bin, neighbouring bins smoothed: they are nearly one colour."""
    count = np.bincount(bins[where], minlength=int(np.prod(BINS))).astype(np.float32).reshape(BINS)
    for axis in range(3):
        padded = np.pad(count, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        one, two, three = (np.take(padded, np.arange(k, k + BINS[axis]), axis) for k in range(3))
        count = 0.25 * one + 0.5 * two + 0.25 * three
    return count.ravel() / max(count.sum(), 1e-9)


def odds(
    bins: Int[np.ndarray, "h w"],
    inside: Float[np.ndarray, " n"],
    beside: Float[np.ndarray, " n"],
    limit: float = 4.0,
) -> Float[np.ndarray, "h w"]:
    """Return, per pixel, the log odds that its colour is of the first histogram rather than of the second."""
    return np.clip(np.log((inside[bins] + 1e-4) / (beside[bins] + 1e-4)), -limit, limit)
