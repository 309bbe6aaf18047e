import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation.base import Prompt
from mask2iv_ros.segmentation.checks import (
    check_followed,
    check_mask,
    check_prompts,
    check_request,
    pieces,
    replace_role,
)

IMAGE = np.zeros((30, 40, 3), np.uint8)


@pytest.mark.parametrize(("x", "y"), [(40, 0), (0, 30), (-1, 0), (0, -1)])
def test_a_point_outside_of_the_image_is_refused(x: int, y: int):
    with pytest.raises(Refused, match=rf"point \({x}, {y}\) lies outside of the 40 x 30 image"):
        check_request(IMAGE, Prompt.from_lists(2, [x], [y]), None)


@pytest.mark.parametrize("box", [(-1, 0, 9, 9), (0, -1, 9, 9), (32, 0, 9, 9), (0, 22, 9, 9)])
def test_a_box_that_leaves_the_image_is_refused(box: tuple[int, ...]):
    with pytest.raises(Refused, match="does not lie inside of the 40 x 30 image"):
        check_request(IMAGE, Prompt.from_lists(2, box=box), None)


def test_the_last_pixel_and_the_whole_image_are_inside():
    prompt = Prompt.from_lists(2, [39], [29], [True], [0, 0, 40, 30])
    assert check_request(IMAGE, prompt, None) is prompt


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (IMAGE[..., 0], None, "expected uint8 RGB"),
        (IMAGE.astype(np.float32), None, "image is float32"),
        (IMAGE, np.zeros((30, 41), np.uint8), r"label map has shape \(30, 41\); expected the image's \(30, 40\)"),
        (IMAGE, np.full((30, 40), 9, np.uint8), "label map has the value 9"),
    ],
)
def test_image_and_labels_are_checked(image: np.ndarray, labels: np.ndarray | None, message: str):
    with pytest.raises(Refused, match=message):
        check_request(image, Prompt.from_lists(2, [1], [1]), labels)


def test_no_prompt_is_refused():
    with pytest.raises(Refused, match="no prompt was given; expected clicked points or a box"):
        check_request(IMAGE, None, None)


def test_the_newest_prompt_wins_and_the_other_role_is_kept():
    labels = np.array([[1, 1, 2, 2, 255, 0]], np.uint8)
    mask = np.array([[False, True, True, False, False, True]])
    updated = replace_role(labels, Role.OBJECT, mask)
    assert updated.tolist() == [[1, 2, 2, 0, 255, 2]]
    assert labels.tolist() == [[1, 1, 2, 2, 255, 0]]
    assert replace_role(None, Role.INTERACTOR, mask).tolist() == [[0, 1, 1, 0, 0, 1]]


VIDEO = np.zeros((3, 30, 40, 3), np.uint8)
CLICK = Prompt.from_lists(2, [1], [1])


def test_a_prompt_of_a_kind_that_is_not_taken_is_refused():
    words = Prompt.from_lists(2, words="a cup")
    assert check_request(IMAGE, words, None, frozenset({"words"})) is words
    with pytest.raises(Refused, match="made of words; this segmentation back end takes clicked points or a box"):
        check_request(IMAGE, words, None)
    with pytest.raises(Refused, match="made of points; this segmentation back end takes words"):
        check_request(IMAGE, CLICK, None, frozenset({"words"}))


@pytest.mark.parametrize(
    ("video", "prompts", "message"),
    [
        (VIDEO[:0], [CLICK], r"video has shape \(0, 30, 40, 3\)"),
        (VIDEO[0], [CLICK], r"video has shape \(30, 40, 3\)"),
        (VIDEO.astype(np.float32), [CLICK], "image is float32"),
        (VIDEO, [], "no prompt was given for the video's first frame"),
        (VIDEO, [CLICK, Prompt.from_lists(1, [40], [1])], r"point \(40, 1\) lies outside of the 40 x 30 image"),
    ],
)
def test_what_cannot_be_tracked_is_refused(video: np.ndarray, prompts: list, message: str):
    with pytest.raises(Refused, match=message):
        check_prompts(video, prompts, frozenset({"points", "box"}))


def test_labels_to_follow_are_checked():
    labels = np.zeros((30, 40), np.uint8)
    with pytest.raises(Refused, match="shows neither interactor nor object"):
        check_followed(VIDEO, labels)
    with pytest.raises(Refused, match=r"label map has shape \(30, 41\); expected the video's \(30, 40\)"):
        check_followed(VIDEO, np.zeros((30, 41), np.uint8))
    labels[3] = 7
    with pytest.raises(Refused, match="label map has the value 7"):
        check_followed(VIDEO, labels)
    labels[3], labels[4] = 255, 2
    assert check_followed(VIDEO, labels) == (Role.OBJECT,)


def test_masks_of_nothing_and_of_everything_are_refused():
    mask = np.zeros((30, 40), np.bool_)
    with pytest.raises(Refused, match="the object found has 0 pixels"):
        check_mask(mask, Role.OBJECT)
    mask[0, 0] = True
    assert check_mask(mask, Role.OBJECT) is mask
    with pytest.raises(Refused, match="the interactor found is 100 % of the image; expected at most 95 %"):
        check_mask(~mask, Role.INTERACTOR)


def test_two_arms_are_two_pieces_and_a_speck_belongs_to_the_nearer():
    mask = np.zeros((30, 40), np.bool_)
    mask[5:25, 2:8] = mask[5:25, 30:38] = mask[10, 10] = True
    left, right = sorted(pieces(mask), key=lambda piece: np.nonzero(piece)[1].mean())
    assert left[10, 10]
    assert left.sum() == 20 * 6 + 1
    assert right.sum() == 20 * 8
    assert len(pieces(left)) == 1
