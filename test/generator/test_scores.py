import numpy as np
import pytest

from mask2iv_ros.generator.scores import score
from mask2iv_ros.scene import Goal, Trajectory


def test_scores_are_the_last_masks_overlap_and_how_long_the_object_is_seen():
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[0, :2, :2] = labels[1, :2, :2] = labels[3, 2:4, 2:6] = 2
    labels[:, 5] = 1
    mask = np.zeros((6, 8), np.bool_)
    mask[2:4, 4:8] = True
    assert score(Trajectory(labels), Goal(mask)) == {"object_kept": 0.75, "goal_iou": pytest.approx(4 / 12)}


def test_a_goal_without_a_mask_has_no_overlap():
    assert score(Trajectory(np.zeros((2, 3, 3), np.uint8)), Goal(None, "push it")) == {"object_kept": 0.0}
