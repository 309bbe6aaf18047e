from collections.abc import Callable
from dataclasses import replace
from math import nan

import pytest

from mask2iv_ros.evaluation.measure import CHAINED, Measured
from mask2iv_ros.evaluation.paired import difference

OTHER = "repeat first frame"
Make = Callable[..., Measured]


def pairs(make: Make, figure: str, *values: tuple[float, float]) -> list[Measured]:
    one = make("push", 0, 1.0)
    return [replace(one, figures={CHAINED: {figure: a}, OTHER: {figure: b}}) for a, b in values]


def test_a_small_steady_difference_shows_through_large_ones_between_clips(measured_with: Make):
    clips = pairs(measured_with, "psnr", *((10 * n + 1.0 + 0.1 * (n % 2), 10.0 * n) for n in range(12)), (nan, 3.0))
    found = difference(clips, CHAINED, OTHER, "psnr")
    mean, low, high = found.mean
    assert mean == pytest.approx(1.05)
    assert 0.99 < low < mean < high < 1.11
    assert (found.better, found.clips, found.verdict) == (12, 12, "good")
    assert difference(clips, OTHER, CHAINED, "psnr").verdict == "bad"


def test_less_is_better_where_the_figure_says_so(measured_with: Make):
    found = difference(pairs(measured_with, "lpips", (0.1, 0.3), (0.2, 0.35), (0.3, 0.28)), CHAINED, OTHER, "lpips")
    assert (found.better, found.verdict) == (2, "")
    clear = difference(pairs(measured_with, "lpips", (0.1, 0.3), (0.2, 0.35)), CHAINED, OTHER, "lpips")
    assert (clear.better, clear.verdict) == (2, "good")


def test_one_clip_decides_nothing_and_none_has_no_difference(measured_with: Make):
    assert difference(pairs(measured_with, "psnr", (9.0, 1.0)), CHAINED, OTHER, "psnr").verdict == ""
    assert difference(pairs(measured_with, "psnr", (nan, 1.0)), CHAINED, OTHER, "psnr") is None
    assert difference(pairs(measured_with, "psnr", (2.0, 1.0)), CHAINED, OTHER, "ssim") is None
