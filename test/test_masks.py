import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import (
    COLOURS,
    Role,
    check_labels,
    decode_colours,
    encode_colours,
    iou,
    move_mask,
    outline,
    overlay,
    resize_labels,
)

shapes = arrays.array_shapes(min_dims=2, max_dims=3, max_side=12)
label_maps = shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2])))


def rectangle(top: int, left: int, height: int, width: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


@settings(max_examples=50, deadline=None)
@given(label_maps, st.integers(0, 2**32 - 1))
def test_decoding_undoes_encoding_also_under_noise(labels: np.ndarray, seed: int):
    colours = encode_colours(labels)
    assert colours.shape == (*labels.shape, 3)
    np.testing.assert_array_equal(decode_colours(colours), labels)
    noise = np.random.default_rng(seed).integers(-84, 85, colours.shape)
    noisy = np.clip(colours.astype(int) + noise, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(decode_colours(noisy), labels)


def test_colours_are_those_of_the_roles_and_unlabelled_is_painted_as_background():
    painted = encode_colours(np.array([[0, 1, 2, 255]], np.uint8))
    assert painted.tolist() == [[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 0]]]


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_any_image_decodes_to_a_nearest_colour(image: np.ndarray):
    palette = np.array(list(COLOURS.values()), int)
    distance = ((image[..., None, :].astype(int) - palette) ** 2).sum(axis=-1)
    chosen = np.take_along_axis(distance, decode_colours(image)[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_array_equal(chosen, distance.min(axis=-1))


def test_labels_that_are_roles_pass_unchanged():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    assert check_labels(labels) is labels
    assert check_labels(labels[None]).ndim == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 2), np.int32), r"label map is int32 of shape \(2, 2\); expected uint8 with axes \(h, w\)"),
        (np.zeros((2, 2), np.bool_), "label map is bool"),
        (np.zeros(4, np.uint8), r"label map is uint8 of shape \(4,\)"),
        (np.array([[0, 128]], np.uint8), "label map has the value 128; accepted are 0 background, 1 interactor"),
    ],
)
def test_labels_that_are_none_are_refused(labels: np.ndarray, message: str):
    with pytest.raises(Refused, match=message):
        check_labels(labels)


def test_the_refusal_names_what_was_checked():
    with pytest.raises(Refused, match="edited trajectory has the value 7"):
        check_labels(np.full((1, 2, 2), 7, np.uint8), "edited trajectory")


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 5))
def test_enlarging_repeats_pixels_and_reducing_again_gives_them_back(labels: np.ndarray, factor: int):
    height, width = labels.shape
    large = resize_labels(labels, (factor * height, factor * width))
    np.testing.assert_array_equal(large, labels.repeat(factor, axis=0).repeat(factor, axis=1))
    np.testing.assert_array_equal(resize_labels(large, (height, width)), labels)


def test_resizing_to_the_same_size_copies_nothing():
    labels = np.ones((3, 4), np.uint8)
    assert resize_labels(labels, (3, 4)) is labels


@settings(max_examples=40, deadline=None)
@given(st.integers(-19, 19), st.integers(-19, 19))
def test_a_shift_is_a_roll(dx: int, dy: int):
    mask = rectangle(20, 20, 15, 30)
    np.testing.assert_array_equal(move_mask(mask, dx, dy), np.roll(mask, (dy, dx), axis=(0, 1)))


def test_not_moving_changes_nothing():
    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    np.testing.assert_array_equal(move_mask(mask), mask)


def test_a_quarter_turn_swaps_width_and_height_about_the_centroid():
    mask = rectangle(20, 20, 11, 31)
    turned = move_mask(mask, rotation=np.pi / 2)
    np.testing.assert_array_equal(turned, rectangle(10, 30, 31, 11))


def test_a_positive_rotation_is_clockwise_on_the_image():
    corner = rectangle(20, 20, 3, 21) | rectangle(20, 20, 21, 3)  # an L whose corner is at the top left
    turned = move_mask(corner, rotation=np.pi / 2)
    rows, columns = np.nonzero(turned)
    bounds = turned[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert bounds[0].all()
    assert bounds[:, -1].all()  # now at the top right
    assert not bounds[-1, 0]


def test_four_quarter_turns_are_none():
    mask = rectangle(20, 25, 11, 21)
    turned = mask
    for _ in range(4):
        turned = move_mask(turned, rotation=np.pi / 2)
    np.testing.assert_array_equal(turned, mask)


@pytest.mark.parametrize(("scale", "side"), [(2.0, 42), (0.5, 10.5), (1 / 3, 7)])
def test_scale_changes_each_side_and_keeps_the_centroid(scale: float, side: float):
    mask = rectangle(20, 30, 21, 21)
    rows, columns = np.nonzero(move_mask(mask, scale=scale))
    assert abs(np.ptp(rows) + 1 - side) <= 1
    assert abs(np.ptp(columns) + 1 - side) <= 1
    assert (abs(rows.mean() - 30), abs(columns.mean() - 40)) <= (0.51, 0.51)


def test_what_leaves_the_image_is_cut_and_does_not_come_back_on_the_other_side():
    moved = move_mask(rectangle(20, 20, 10, 10), dx=-25)
    np.testing.assert_array_equal(moved, rectangle(20, 0, 10, 5))


@pytest.mark.parametrize(("dx", "dy"), [(-40, 0), (90, 0), (0, -40), (0, 1e6)])
def test_leaving_the_image_altogether_is_refused(dx: float, dy: float):
    with pytest.raises(Refused, match=r"moved by dx=.*, dy=.* pixels leaves the 80 x 60 image"):
        move_mask(rectangle(20, 20, 10, 10), dx, dy)


@pytest.mark.parametrize("name", ["dx", "dy", "rotation", "scale"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(name: str, value: float):
    with pytest.raises(Refused, match=f"{name} is {value}; expected a finite number"):
        move_mask(rectangle(1, 1, 2, 2), **{name: value})


@pytest.mark.parametrize("scale", [0.0, -1.0, 0.09, 10.1])
def test_a_scale_out_of_range_is_refused(scale: float):
    with pytest.raises(Refused, match=rf"scale is {scale}; expected 0\.1 to 10"):
        move_mask(rectangle(1, 1, 2, 2), scale=scale)


def test_an_empty_mask_cannot_be_moved():
    with pytest.raises(Refused, match="the mask to move is empty"):
        move_mask(np.zeros((5, 5), np.bool_))


@pytest.mark.parametrize("scale", [0.1, 0.3])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_small_mask_is_not_lost_when_it_shrinks(side: int, scale: float):
    assert move_mask(rectangle(20, 20, side, side), scale=scale).any()


def test_iou_of_known_overlaps():
    a, b = rectangle(0, 0, 10, 10), rectangle(0, 5, 10, 10)
    assert iou(a, b) == pytest.approx(1 / 3)
    assert iou(a, a) == 1
    assert iou(a, ~a) == 0
    assert iou(a & ~a, b & ~b) == 1


def test_overlay_tints_roles_and_leaves_the_rest():
    image = np.full((1, 4, 3), 100, np.uint8)
    shown = overlay(image, np.array([[0, 1, 2, 255]], np.uint8), opacity=0.5)
    assert shown[0, 0].tolist() == shown[0, 3].tolist() == [100, 100, 100]
    np.testing.assert_allclose(shown[0, 1], (177.5, 50, 50), atol=1)
    np.testing.assert_allclose(shown[0, 2], (50, 177.5, 50), atol=1)
    assert (image == 100).all()
    assert shown.dtype == np.uint8


def test_outline_draws_the_border_of_the_mask_on_a_copy():
    image = np.zeros((60, 80, 3), np.uint8)
    mask = rectangle(20, 20, 10, 10)
    shown = outline(image, mask, (1, 2, 3))
    drawn = (shown == (1, 2, 3)).all(axis=-1)
    np.testing.assert_array_equal(drawn, mask & ~rectangle(21, 21, 8, 8))
    assert not image.any()
    assert shown[~drawn].sum() == 0


def test_outline_takes_views_that_are_not_contiguous():
    image = np.zeros((60, 80, 6), np.uint8)[..., ::2]
    assert outline(image, rectangle(5, 5, 3, 3)).any()


def test_roles_are_the_values_of_the_messages():
    assert [int(role) for role in (Role.BACKGROUND, Role.INTERACTOR, Role.OBJECT, Role.UNLABELLED)] == [0, 1, 2, 255]
