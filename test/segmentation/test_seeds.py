import numpy as np

from mask2iv_ros.segmentation import seeds
from mask2iv_ros.segmentation.contour import to_lab


def test_seeds_grow_over_connected_pixels_of_similar_colour():
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:15, 3:10] = image[5:15, 20:27] = 200  # two patches alike, of which one is clicked
    image[5:15, 10:13] = 170
    near, far = seeds.grown(to_lab(image), np.array([[5, 10]]), (5.0, 20.0))
    patch = np.zeros((20, 30), np.bool_)
    patch[5:15, 3:10] = True
    np.testing.assert_array_equal(near, patch)
    patch[5:15, 10:13] = True
    np.testing.assert_array_equal(far, patch)


def test_discs_have_the_area_of_discs_and_are_united():
    (one,) = seeds.discs((100, 200), np.array([[60, 50]]), (0.1,))
    (two,) = seeds.discs((100, 200), np.array([[60, 50], [150, 50]]), (0.1,))
    assert abs(one.sum() - np.pi * 20**2) < 0.05 * np.pi * 20**2
    assert two.sum() == 2 * one.sum()


def test_boxed_seeds_stay_in_the_box_and_differ():
    box = np.array([10.0, 5.0, 20.0, 12.0])
    whole, *inner = found = [*seeds.boxed((30, 40), box)]
    assert whole.sum() == 240
    assert whole[5:17, 10:30].all()
    assert len({int(seed.sum()) for seed in found}) == 4
    assert all(seed.any() and not (seed & ~whole).any() for seed in inner)


def test_nearer_splits_the_image_half_way():
    left = seeds.nearer((4, 11), np.array([[1, 2]]), np.array([[9, 2]]))
    assert left[2].tolist() == [True] * 5 + [False] * 6
