import numpy as np
import pytest

from mask2iv_ros.data.motion import SHARE, displacements, least_motion, motion_score
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

HAND, OBJECT = Role.INTERACTOR, Role.OBJECT


def clip(frames: int = 3) -> np.ndarray:
    """30 x 40 pixels: the diagonal is 50."""
    return np.zeros((frames, 30, 40), np.uint8)


def test_distances_of_centroids_by_hand():
    labels = clip()
    labels[0, 10, 10] = labels[1, 13, 14] = labels[2, 13, 14] = HAND  # 3 down and 4 right are 5, then 0
    for frame, left in enumerate((20, 21, 23)):  # 1, then 2
        labels[frame, 5:9, left : left + 6] = OBJECT
    np.testing.assert_allclose(displacements(labels), [[5 / 50, 1 / 50], [0, 2 / 50]])
    assert motion_score(labels) == pytest.approx(8 / 50)


def test_there_and_back_is_a_way():
    labels = clip()
    labels[0, 4, 4] = labels[1, 4, 9] = labels[2, 4, 4] = OBJECT
    assert motion_score(labels) == pytest.approx(10 / 50)


def test_a_mask_that_grows_moves_its_centroid():
    labels = clip(2)
    labels[0, 0, 0:2] = OBJECT  # centroid 0.5
    labels[1, 0, 0:4] = OBJECT  # centroid 1.5
    assert motion_score(labels) == pytest.approx(1 / 50)


def test_steps_that_are_not_seen_count_as_none():
    labels = clip(6)
    for frame, column in ((0, 0), (1, 4), (4, 30), (5, 32)):  # 4 and 2; nothing is known of 1 to 4
        labels[frame, 0, column] = HAND
    assert motion_score(labels) == pytest.approx(6 / 50)
    labels[3, 9, 9] = OBJECT  # seen once
    labels[2] = Role.UNLABELLED
    assert motion_score(labels) == pytest.approx(6 / 50)


def test_nothing_moves_nothing():
    labels = clip()
    assert motion_score(labels) == 0
    labels[:, 3:9, 4:8], labels[:, 10:12, 4:8] = HAND, OBJECT
    assert motion_score(labels) == 0
    assert displacements(labels[:1]).shape == (0, 2)


def below(scores: np.ndarray, share: float = SHARE) -> list[int]:
    return np.flatnonzero(np.asarray(scores) < least_motion(scores, share)).tolist()


def test_the_lowest_twentieth_is_left_out():
    scores = np.arange(1, 41)[::-1] / 40
    assert SHARE == 0.05
    assert least_motion(scores) == 3 / 40
    assert below(scores) == [38, 39]
    assert below(scores[:19]) == []  # 0.95 of a clip
    assert below(np.array([5, 5, 5, 1, 1, 2.0]), 0.5) == [3, 4, 5]
    assert below(np.array([5, 5, 5, 1, 1, 2.0]), 0.2) == []  # of two equals neither
    assert len(below(np.arange(100), 0.29)) == 29
    assert least_motion([]) == 0


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_are_none(share: float):
    with pytest.raises(Refused, match="expected 0 to below 1"):
        least_motion([1.0], share)


def test_scores_that_are_none():
    with pytest.raises(Refused, match="a motion score is nan; expected finite numbers"):
        least_motion([1, float("nan")])
