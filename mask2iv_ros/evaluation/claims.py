"""What an evaluation is read for, as numbers with intervals: ours against a baseline on the same clips.

No thresholds here: whoever reads decides what is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from mask2iv_ros.evaluation.frechet import Distance, around
from mask2iv_ros.evaluation.measure import CHAINED, GUIDED, Measured
from mask2iv_ros.evaluation.metrics import interval


@dataclass(frozen=True)
class Claim:
    """One statement.

    Attributes:
        text: what is stated, and of what.
        value: with its 95 % interval, or why there is none.
        clips: that it rests on.
    """

    text: str
    value: tuple[float, float, float] | str
    clips: int


def claims(
    measured: Sequence[Measured], distances: dict[str, Distance | str], missing: dict[str, str], seed: int = 0
) -> list[Claim]:
    """Return what is claimed of stage 1, stage 2 and both, against the baselines given the same.

    Args:
        measured: of every clip.
        distances: FVD by method over all clips.
        missing: figures that were not measured, and why.
        seed: of the bootstrap.
    """
    stage1, by_goal, by_masks = "stage 1", "nearest training clip, by goal", "nearest training clip, by true masks"
    still, moved = "repeat first frame", "paste and move, by true masks"

    def less(what: str, ours: str, other: str, figure: str) -> Claim:
        first, second = _pairs(measured, ours, other, figure)
        return Claim(f"{what}: {ours} less {other}", interval(first - second, seed), len(first))

    def alone(what: str, method: str, figure: str) -> Claim:
        values, _ = _pairs(measured, method, method, figure)
        return Claim(f"{what}: {method}", interval(values, seed), len(values))

    found = [
        less("foreground PSNR in dB", GUIDED, by_masks, "psnr_foreground"),
        less("foreground PSNR in dB", GUIDED, moved, "psnr_foreground"),
        less("contact PSNR in dB", GUIDED, by_masks, "psnr_contact"),
        _ratio(measured, GUIDED, still, missing, seed),
        less("object IoU over all frames", stage1, by_goal, "iou_object"),
        alone("object IoU in the last frame", stage1, "iou_object_last"),
        alone("arm IoU over all frames", stage1, "iou_interactor"),
        less("foreground PSNR in dB", CHAINED, still, "psnr_foreground"),
    ]
    for other in (still, by_goal, by_masks, moved):
        found.append(_farther(distances, CHAINED, other, len(measured), missing))
    return found


def _pairs(measured: Sequence[Measured], ours: str, other: str, figure: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a figure of two methods on the clips that have it for both."""
    both = np.array([(one.figures[ours][figure], one.figures[other][figure]) for one in measured])
    kept = both[~np.isnan(both).any(1)]
    return kept[:, 0], kept[:, 1]


def _ratio(measured: Sequence[Measured], ours: str, other: str, missing: dict[str, str], seed: int) -> Claim:
    text = f"LPIPS, ratio of means: {ours} to {other}"
    if "lpips" in missing:
        return Claim(text, missing["lpips"], 0)
    first, second = _pairs(measured, ours, other, "lpips")

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis) / b.mean(axis)

    if len(first) < 2 or not second.mean():
        return Claim(text, "not measured: expected two clips, and a baseline that differs from the truth", len(first))
    drawn = bootstrap(
        (first, second),
        ratio,
        n_resamples=2000,
        method="percentile",
        paired=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Claim(text, (float(ratio(first, second)), float(drawn.low), float(drawn.high)), len(first))


def _farther(distances: dict[str, Distance | str], ours: str, other: str, clips: int, missing: dict[str, str]) -> Claim:
    text = f"FVD: {ours} less {other}"
    if "fvd" in missing:
        return Claim(text, missing["fvd"], 0)
    mine, theirs = distances[ours], distances[other]
    for one in (mine, theirs):
        if isinstance(one, str):
            return Claim(text, one, clips)
    return Claim(text, around(mine.value - theirs.value, mine.resampled - theirs.resampled), clips)
