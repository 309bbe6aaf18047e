import numpy as np

from mask2iv_ros.data.building.enlarging import enlarge, enlarge_prompts, factor, reduce_labels
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import Prompt


def test_small_pictures_are_enlarged_and_labels_come_back():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 255, (2, 48, 64, 3), np.uint8)
    times = factor(video)
    assert (times, factor(np.zeros((1, 200, 300, 3), np.uint8)), factor(np.zeros((1, 90, 100, 3), np.uint8))) == (
        4,
        1,
        3,
    )
    assert enlarge(video, times).shape == (2, 192, 256, 3)
    assert enlarge(video, 1) is video
    labels = rng.integers(0, 3, (2, 48, 64), np.uint8)
    np.testing.assert_array_equal(reduce_labels(labels.repeat(4, 1).repeat(4, 2), 4), labels)


def test_prompts_stay_where_they_point():
    click, box, words = enlarge_prompts(
        [Prompt.from_lists(2, [3, 0], [5, 7], [True, False]), Prompt.from_lists(1, box=[2, 4, 6, 8]),
         Prompt(Role.OBJECT, words="cup")], 4,
    )  # fmt: skip
    np.testing.assert_array_equal(click.points, [[14, 22], [2, 30]])
    np.testing.assert_array_equal(click.inside, [True, False])
    assert box.box == (8, 16, 24, 32)
    assert words.words == "cup"
