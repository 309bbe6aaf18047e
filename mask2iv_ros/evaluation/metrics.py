"""Figures about imagined masks and frames, each against the truth of the same clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.stats import bootstrap

from mask2iv_ros.masks import Role, iou

PSNR_CEILING = 99.0  # of identical images, whose error has no logarithm


def psnr(
    video: UInt8[np.ndarray, "t h w 3"],
    truth: UInt8[np.ndarray, "t h w 3"],
    where: Bool[np.ndarray, "t h w"] | None = None,
) -> float:
    """Return the peak signal-to-noise ratio in dB over all pixels, or over those in `where`; NaN over none."""
    error = (video.astype(np.float32) - truth.astype(np.float32)) ** 2
    if where is not None:
        error = error[where]
    if not error.size:
        return float("nan")
    mean = float(error.mean())
    return PSNR_CEILING if mean == 0 else min(PSNR_CEILING, 10 * float(np.log10(255**2 / mean)))


def foreground(labels: UInt8[np.ndarray, "t h w"]) -> Bool[np.ndarray, "t h w"]:
    """Return where arm or object are, or were in frame 0: there a video has something to get right."""
    moving = np.isin(labels, (Role.INTERACTOR, Role.OBJECT))
    return moving | moving[:1]


def mean_iou(labels: UInt8[np.ndarray, "t h w"], truth: UInt8[np.ndarray, "t h w"], role: Role) -> float:
    """Return the mean IoU of a role over the frames in which either side shows it; NaN if none does."""
    values = [
        iou(a == role, b == role) for a, b in zip(labels, truth, strict=True) if (a == role).any() or (b == role).any()
    ]
    return float(np.mean(values)) if values else float("nan")


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean and its 95 % percentile bootstrap interval; NaNs are left out."""
    kept: Float[np.ndarray, "n"] = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    mean = float(kept.mean()) if kept.size else float("nan")
    if kept.size < 2 or np.ptp(kept) == 0:
        return mean, mean, mean
    found = bootstrap(
        (kept,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return mean, float(found.low), float(found.high)
