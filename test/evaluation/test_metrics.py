import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.metrics import (
    PSNR_CEILING,
    contact_region,
    foreground,
    frame_figures,
    interval,
    mask_figures,
    mean_iou,
    psnr,
    regions,
    ssim,
)
from mask2iv_ros.masks import Role


def grey(value: int) -> np.ndarray:
    return np.full((3, 8, 9, 3), value, np.uint8)


def test_a_constant_offset_has_a_known_psnr():
    assert psnr(grey(110), grey(100)) == pytest.approx(28.1308, abs=1e-4)
    assert psnr(grey(100), grey(110)) == pytest.approx(28.1308, abs=1e-4)
    assert psnr(grey(0), grey(255)) == pytest.approx(0)


def test_identical_videos_have_the_ceiling():
    assert psnr(grey(7), grey(7)) == PSNR_CEILING


@pytest.mark.parametrize("sigma", [2, 8, 20])
def test_noise_of_a_known_level_has_a_known_psnr(sigma: float):
    truth = np.full((4, 64, 64, 3), 127, np.uint8)
    noisy = (truth + np.random.default_rng(0).normal(0, sigma, truth.shape)).round().astype(np.uint8)
    # Rounding adds the variance of a uniform number between -1/2 and 1/2.
    assert psnr(noisy, truth) == pytest.approx(10 * math.log10(255**2 / (sigma**2 + 1 / 12)), abs=0.1)


def smooth(phase: float) -> np.ndarray:
    t, y, x = np.mgrid[:3, :40, :48]
    return (127 + 90 * np.stack([np.sin(x / 5 + phase), np.cos(y / 4 + t), np.sin((x + y) / 6)], -1)).astype(np.uint8)


def test_ssim_of_identical_videos_is_one_and_falls_with_noise():
    truth, random = smooth(0), np.random.default_rng(0)
    noisy = [np.clip(truth + random.normal(0, sigma, truth.shape), 0, 255).astype(np.uint8) for sigma in (3, 10, 40)]
    found = [ssim(one, truth) for one in (truth, *noisy)]
    assert found[0] == pytest.approx(1)
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.6


def test_ssim_of_constant_images_has_a_closed_form():
    # Without variance only the luminance's term is left.
    a, b, c = 100.0, 140.0, (0.01 * 255) ** 2
    flat = [np.full((1, 16, 16, 3), value, np.uint8) for value in (a, b)]
    assert ssim(*flat) == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-3)


def test_ssim_is_the_mean_over_frames():
    truth, other = smooth(0), smooth(1.3)
    images = [torch.from_numpy(one).permute(0, 3, 1, 2).float() for one in (other, truth)]
    expected = structural_similarity_index_measure(*images, data_range=255.0, reduction="none").mean()
    assert ssim(other, truth) == pytest.approx(float(expected), abs=1e-5)


def test_contact_is_where_arm_and_object_touch():
    labels = np.zeros((2, 9, 20), np.uint8)
    labels[:, 3:6, :8], labels[0, 3:6, 8:12], labels[1, 3:6, 14:18] = 1, 2, 2
    found = contact_region(labels)
    assert found[0].any()
    assert not found[0, :, 11:].any()
    assert not found[1].any()


@pytest.mark.filterwarnings("error")
def test_frames_are_measured_but_for_the_first(clip: Clip):
    video = clip.video.copy()
    video[0] = 255 - video[0]
    figures = frame_figures(video, clip.video, regions(clip.labels))
    assert figures["psnr"] == figures["psnr_foreground"] == PSNR_CEILING
    assert figures["ssim"] == pytest.approx(1)
    assert math.isnan(figures["psnr_contact"])  # its arm never reaches the thing
    video[3] = 255 - video[3]
    assert frame_figures(video, clip.video, regions(clip.labels))["psnr"] < 20


def test_masks_are_measured_by_role_and_against_the_goal(clip: Clip):
    labels = clip.labels.copy()
    labels[3] = clip.labels[2]
    figures = mask_figures(labels, clip.labels, clip.goal_mask)
    last = (6 - 4) / (6 + 4)  # a thing 6 wide, 4 off
    assert figures["iou_object_last"] == figures["goal_iou"] == pytest.approx(last)
    assert figures["iou_object"] == pytest.approx((1 + 1 + last) / 3)
    assert figures["iou_interactor"] == figures["iou_interactor_last"] == 1
    labels[0] = 0
    assert mask_figures(labels, clip.labels, clip.goal_mask) == figures


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
