import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.base import Prompt
from mask2iv_ros.segmentation.external import External

IMAGE = np.zeros((4, 6, 3), np.uint8)


def test_labels_pass_and_are_counted():
    labels = np.zeros((4, 6), np.uint8)
    labels[0, :3], labels[1, :2], labels[2] = 1, 2, 255
    found = External().segment(IMAGE, None, labels)
    np.testing.assert_array_equal(found.labels, labels)
    assert (found.pixels, found.confidence) == (5, 1.0)


def test_labels_of_another_size_are_brought_to_the_images_without_new_values():
    labels = np.array([[1, 2, 255], [0, 0, 2]], np.uint8)
    found = External().segment(IMAGE, None, labels)
    np.testing.assert_array_equal(found.labels, labels.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize(
    ("prompt", "labels", "message"),
    [
        (None, None, "'external' got no label map"),
        (Prompt.from_lists(2, [1], [1]), None, "'external' takes no prompts; use 'grabcut'"),
        (None, np.full((4, 6), 3, np.uint8), "label map has the value 3"),
        (None, np.zeros((4, 6, 3), np.uint8), r"label map has shape \(4, 6, 3\); expected one channel"),
        (None, np.zeros((0, 6), np.uint8), r"label map has shape \(0, 6\)"),
        (None, np.zeros((4, 6), np.int32), "label map is int32"),
    ],
)
def test_what_is_no_label_map_is_refused(prompt: Prompt | None, labels: np.ndarray | None, message: str):
    with pytest.raises(Refused, match=message):
        External().segment(IMAGE, prompt, labels)
