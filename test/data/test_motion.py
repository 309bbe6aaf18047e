import numpy as np
import pytest

from mask2iv_ros.data.motion import SHARE, least_dynamic, motion_score
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

HAND, OBJECT = Role.INTERACTOR, Role.OBJECT


def clip(frames: int = 3) -> np.ndarray:
    """30 x 40 pixels: the diagonal is 50."""
    return np.zeros((frames, 30, 40), np.uint8)


def test_distances_of_centroids_by_hand():
    labels = clip()
    labels[0, 10, 10] = labels[1, 13, 14] = labels[2, 13, 14] = HAND  # 5 pixels, then none: 2.5 a frame
    for frame, left in enumerate((20, 21, 23)):  # 1, then 2: 1.5 a frame
        labels[frame, 5:9, left : left + 6] = OBJECT
    assert motion_score(labels) == pytest.approx((2.5 + 1.5) / 50)


def test_a_mask_that_grows_moves_its_centroid():
    labels = clip(2)
    labels[0, 0, 0:2] = OBJECT  # centroid 0.5
    labels[1, 0, 0:4] = OBJECT  # centroid 1.5
    assert motion_score(labels) == pytest.approx(1 / 50)


def test_frames_that_do_not_show_it_are_left_out():
    labels = clip(6)
    for frame, column in ((0, 0), (1, 4), (4, 30), (5, 32)):  # 4 and 2; nothing is known of 1 to 4
        labels[frame, 0, column] = HAND
    assert motion_score(labels) == pytest.approx(3 / 50)
    labels[3, 9, 9] = OBJECT  # seen once: no displacement
    labels[2] = Role.UNLABELLED
    assert motion_score(labels) == pytest.approx(3 / 50)


def test_nothing_moves_nothing():
    labels = clip()
    assert motion_score(labels) == 0
    labels[:, 3:9, 4:8], labels[:, 10:12, 4:8] = HAND, OBJECT
    assert motion_score(labels) == 0
    assert motion_score(labels[:1]) == 0


def test_longer_clips_score_no_more():
    labels = clip(9)
    for frame in range(9):
        labels[frame, 2 * frame : 2 * frame + 3, 7] = OBJECT
    assert motion_score(labels) == pytest.approx(motion_score(labels[:4])) == pytest.approx(2 / 50)


def test_the_lowest_twentieth_is_dropped():
    scores = np.arange(40)[::-1] / 40
    assert SHARE == 0.05
    assert np.flatnonzero(least_dynamic(scores)).tolist() == [38, 39]
    assert not least_dynamic(scores[:19]).any()  # 0.95 of a clip
    assert np.flatnonzero(least_dynamic(np.zeros(40))).tolist() == [0, 1]
    assert least_dynamic(np.zeros(100), 0.29).sum() == 29
    assert least_dynamic(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_are_none(share: float):
    with pytest.raises(Refused, match="expected 0 to below 1"):
        least_dynamic(np.ones(3), share)


def test_scores_that_are_none():
    with pytest.raises(Refused, match="a motion score is nan; expected finite numbers"):
        least_dynamic(np.array([1, np.nan]))
