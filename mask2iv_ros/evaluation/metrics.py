"""Figures about imagined masks and frames, each against the truth of the same clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.stats import bootstrap

from mask2iv_ros.masks import Role, iou
from mask2iv_ros.training.contact import RegionWeights, contact_map

Row = dict[str, float]
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


def ssim(video: UInt8[np.ndarray, "t h w 3"], truth: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Return the mean structural similarity of corresponding frames (Wang et al. 2004), by torchmetrics.

    Gaussian window of 11 pixels and sigma 1.5, reflected borders, the mean of the three channels.
    """
    # Imported here: torchmetrics costs seconds.
    from torchmetrics.functional.image import structural_similarity_index_measure

    # Frames and channels together as the channels of one image: the same mean, three times as fast.
    first, second = (torch.from_numpy(one).permute(0, 3, 1, 2).flatten(0, 1)[None].float() for one in (video, truth))
    with torch.inference_mode():
        return float(structural_similarity_index_measure(first, second, data_range=255.0))


def contact_region(labels: UInt8[np.ndarray, "t h w"]) -> Bool[np.ndarray, "t h w"]:
    """Return where arm and object touch, as the training's loss has it."""
    return np.stack([contact_map(frame, RegionWeights().reach) for frame in labels])


def regions(labels: UInt8[np.ndarray, "t h w"]) -> dict[str, Bool[np.ndarray, "t h w"]]:
    """Return where PSNR is measured apart, by the figure's name, from true labels."""
    return {"psnr_foreground": foreground(labels), "psnr_contact": contact_region(labels)}


def frame_figures(
    video: UInt8[np.ndarray, "t h w 3"],
    truth: UInt8[np.ndarray, "t h w 3"],
    where: Mapping[str, Bool[np.ndarray, "t h w"]],
) -> Row:
    """Return what pixels alone tell about a video, frame 0 left out, which is given.

    Args:
        video: as made.
        truth: as it was.
        where: its `regions`.
    """
    made, true = video[1:], truth[1:]
    apart = {name: psnr(made, true, region[1:]) for name, region in where.items()}
    return {"psnr": psnr(made, true)} | apart | {"ssim": ssim(made, true)}


def mask_figures(
    labels: UInt8[np.ndarray, "t h w"], truth: UInt8[np.ndarray, "t h w"], goal: Bool[np.ndarray, "h w"]
) -> Row:
    """Return the IoU of both roles over all frames but the first and in the last one, and that of object and goal.

    Args:
        labels: as made.
        truth: as they were.
        goal: what was asked for, the object as if nothing were in its way.
    """
    row: Row = {}
    for role in (Role.INTERACTOR, Role.OBJECT):
        name = f"iou_{role.name.lower()}"
        row[name] = mean_iou(labels[1:], truth[1:], role)
        row[f"{name}_last"] = mean_iou(labels[-1:], truth[-1:], role)
    return row | {"goal_iou": iou(labels[-1] == Role.OBJECT, goal)}


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
