import numpy as np
import pytest

from mask2iv_ros.segmentation.contour import clearness, contrast, to_lab


def square(inside: int, outside: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, 10:30] = True
    return to_lab(np.where(mask[..., None], inside, outside).astype(np.uint8).repeat(3, axis=2)), mask


def test_contrast_is_the_distance_of_the_two_colours():
    lab, mask = square(255, 0)
    found = contrast(lab, mask)
    assert found.size == 4 * 20 - 4
    np.testing.assert_allclose(found, 100, atol=0.1)  # white against black in L


def test_clearness_rises_with_contrast_from_nothing_to_one():
    values = [clearness(*square(100 + step, 100)) for step in (0, 10, 30, 150)]
    assert values[0] == pytest.approx(0, abs=1e-3)
    assert values == sorted(values)
    assert values[1] < values[2] < values[3] == pytest.approx(1)


def test_half_a_contour_in_the_open_is_half_as_clear():
    lab, mask = square(255, 0)
    mask[10:30, 20:30] = False
    assert 0.5 < clearness(lab, mask) < 0.9  # three of its four sides are on the edge


def test_the_images_border_is_no_contour():
    lab, _ = square(255, 0)
    assert clearness(lab, np.ones((40, 40), np.bool_)) == 0
    assert contrast(lab, np.zeros((40, 40), np.bool_)).size == 0
    left = np.zeros((40, 40), np.bool_)
    left[:, :5] = True
    assert contrast(lab, left).size == 40


def test_a_line_one_pixel_wide_has_a_contour():
    lab, mask = square(0, 0)
    line = np.zeros_like(mask)
    line[20, 5:35] = True
    lab[20, 5:35] = 100
    assert clearness(lab, line) == 1
