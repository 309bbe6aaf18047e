import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation.base import Prompt
from mask2iv_ros.segmentation.checks import check_request, replace_role

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
