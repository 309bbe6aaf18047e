import math

import numpy as np
import pytest

from mask2iv_ros.evaluation.metrics import PSNR_CEILING, foreground, interval, mean_iou, psnr
from mask2iv_ros.masks import Role


def grey(value: int) -> np.ndarray:
    return np.full((3, 8, 9, 3), value, np.uint8)


def test_a_constant_offset_has_a_known_psnr():
    assert psnr(grey(110), grey(100)) == pytest.approx(28.1308, abs=1e-4)
    assert psnr(grey(100), grey(110)) == pytest.approx(28.1308, abs=1e-4)
    assert psnr(grey(0), grey(255)) == pytest.approx(0)


def test_identical_videos_have_the_ceiling():
    assert psnr(grey(7), grey(7)) == PSNR_CEILING


def test_psnr_can_look_at_some_pixels_alone():
    video, where = grey(100), np.zeros((3, 8, 9), np.bool_)
    where[1, 2:4] = True
    video[where] = 120
    assert psnr(video, grey(100), where) == pytest.approx(20 * math.log10(255 / 20))
    assert psnr(video, grey(100), ~where) == PSNR_CEILING


@pytest.mark.filterwarnings("error")
def test_psnr_of_no_pixels_is_no_number():
    assert math.isnan(psnr(grey(1), grey(2), np.zeros((3, 8, 9), np.bool_)))


def test_the_foreground_is_where_something_is_or_was_at_first():
    labels = np.zeros((3, 1, 5), np.uint8)
    labels[0, 0, 0], labels[1, 0, 1], labels[2, 0, 2], labels[2, 0, 4] = 2, 1, 2, 255
    expected = [[[1, 0, 0, 0, 0]], [[1, 1, 0, 0, 0]], [[1, 0, 1, 0, 0]]]
    np.testing.assert_array_equal(foreground(labels), np.array(expected, np.bool_))


def test_iou_is_the_mean_over_the_frames_that_show_the_role():
    labels, truth = (np.zeros((4, 2, 4), np.uint8) for _ in range(2))
    labels[0, 0, :2] = truth[0, 0, 1:3] = 2  # a third
    labels[1] = truth[1] = 2  # all
    truth[2, 0, 0] = 2  # missed
    labels[3, 0] = truth[3, 1] = 1  # another role's
    assert mean_iou(labels, truth, Role.OBJECT) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert mean_iou(labels, truth, Role.INTERACTOR) == 0


def test_iou_of_a_role_that_nobody_shows_is_no_number():
    empty = np.zeros((2, 3, 3), np.uint8)
    assert math.isnan(mean_iou(empty, empty, Role.OBJECT))


def test_the_interval_contains_the_mean_and_narrows_with_more_values():
    values = np.random.default_rng(0).normal(5, 2, 400)
    few, many = interval(values[:20]), interval(values)
    for mean, low, high in (few, many):
        assert low < mean < high
    assert many[0] == pytest.approx(values.mean())
    # The standard error tells about how wide a bootstrap of so many is.
    assert many[2] - many[1] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert few[2] - few[1] > 2 * (many[2] - many[1])
    assert interval(values) == many


@pytest.mark.filterwarnings("error")
def test_an_interval_leaves_out_what_is_no_number():
    nan = float("nan")
    assert interval([1.0, nan, 2.0, 4.0]) == interval([1.0, 2.0, 4.0])
    assert interval([3.0, nan]) == (3.0, 3.0, 3.0)
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    assert all(math.isnan(value) for value in interval([nan, nan]))
