import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Trajectory
from mask2iv_ros.scoring.scores import SCORES, agreement, permanence, score, smoothness

BACKGROUND, ARM, THING = Role.BACKGROUND, Role.INTERACTOR, Role.OBJECT


def scene(thing: list[tuple[int, int]], arm: list[tuple[int, int]] | None = None) -> np.ndarray:
    """A thing of 6 x 6 and an arm of 10 x 4 pixels with these upper left corners, the arm before it."""
    labels = np.zeros((len(thing), 40, 60), np.uint8)
    for frame, place in enumerate(thing):
        for role, size, at in ((THING, (6, 6), place), (ARM, (10, 4), arm[frame] if arm else None)):
            if at is not None:
                labels[frame, at[0] : at[0] + size[0], at[1] : at[1] + size[1]] = role
    return labels


GLIDING = [(10, 10 + 3 * step) for step in range(8)]


def test_a_rollout_has_the_scores_that_can_be_known():
    labels = scene(GLIDING, [(20, 5)] * 8)
    goal = np.zeros((40, 60), np.bool_)
    goal[10:16, 33:39] = True
    without_video = score(Trajectory(labels), Goal(goal))
    assert without_video == {"goal_iou": 0.5, "smoothness": pytest.approx(1, abs=0.03), "permanence": 1.0}
    assert list(score(Trajectory(labels), Goal(goal), labels)) == list(SCORES)
    assert "goal_iou" not in score(Trajectory(labels), Goal(None, "push it"))


def test_agreement_is_the_mean_overlap_of_roles_in_all_frames_but_the_first():
    labels = scene([(10, 10)] * 3, [(20, 30)] * 3)
    found = labels.copy()
    found[0] = BACKGROUND  # given, so it does not count
    assert agreement(labels, found) == 1
    found[1][labels[1] == ARM] = BACKGROUND
    assert agreement(labels, found) == pytest.approx(3 / 4)
    found[2, 10:16, 10:13] = BACKGROUND
    assert agreement(labels, found) == pytest.approx((0 + 1 + 1 + 0.5) / 4)


def test_a_role_that_neither_side_shows_does_not_count():
    labels = scene([(10, 10)] * 3)
    assert agreement(labels, labels) == 1
    found = labels.copy()
    found[2, 30:, 50:] = ARM  # where the trajectory has none
    assert agreement(labels, found) == pytest.approx(2 / 3)
    assert agreement(np.zeros_like(labels), np.zeros_like(labels)) is None


def test_even_motion_is_smooth_and_trembling_is_not():
    still, even = scene([(10, 10)] * 8), scene(GLIDING)
    trembling = scene([(10, 10 + 6 * (step % 2)) for step in range(8)])
    pushed = scene([(10, 10)] * 3 + [(10, 10 + 4 * step) for step in range(1, 6)])
    assert smoothness(still) == smoothness(even) == 1
    assert smoothness(trembling) < 0.2
    assert 0.85 < smoothness(pushed) < 1
    jumping = even.copy()
    jumping[4] = scene([(30, 10)])[0]
    assert smoothness(jumping) < smoothness(pushed) - 0.1


def test_a_resting_things_rounding_is_no_tremble():
    nudged = scene([(10, 10)] * 8)
    nudged[3, 10, 10] = BACKGROUND
    assert smoothness(nudged) > 0.8


def test_smoothness_is_the_mean_of_both_roles_and_unknown_without_any():
    even, trembling = GLIDING, [(10 + 6 * (step % 2), 20) for step in range(8)]
    alone = smoothness(scene(even))
    both = smoothness(scene(even, [(row + 15, column) for row, column in trembling]))
    assert both == pytest.approx((alone + smoothness(scene(trembling))) / 2, abs=0.05)
    assert smoothness(np.zeros((8, 40, 60), np.uint8)) is None
    assert smoothness(scene(GLIDING)[:2]) is None


def test_an_object_is_permanent_while_it_is_seen():
    assert permanence(scene(GLIDING)) == 1
    gone = scene(GLIDING)
    gone[5:] = BACKGROUND
    assert permanence(gone) == 5 / 8
    crumb = scene(GLIDING)
    crumb[3][11:16, 19:25] = BACKGROUND  # a row of six is left, of 36 pixels
    assert permanence(crumb) == 7 / 8


def test_an_object_behind_the_arm_has_not_vanished():
    arm = [None, None, (8, 15), (8, 18), (8, 21), None, None, None]
    assert permanence(scene(GLIDING, arm)) == 1
    hidden = scene(GLIDING)
    hidden[3:5][hidden[3:5] == THING] = BACKGROUND
    assert permanence(hidden) == 6 / 8
    # Nothing of it is seen, and the arm is where it must have been.
    hidden[3:5, 8:20, 16:32] = ARM
    assert permanence(hidden) == 1
    elsewhere = scene(GLIDING)
    elsewhere[3:5][elsewhere[3:5] == THING] = BACKGROUND
    elsewhere[3:5, 25:37, 16:32] = ARM
    assert permanence(elsewhere) == 6 / 8


def test_a_trajectory_without_an_object_has_no_permanence():
    assert permanence(np.zeros((4, 8, 8), np.uint8)) == 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (5, 6, 7), elements=st.sampled_from([0, 1, 2])), st.integers(0, 3))
def test_every_score_is_between_zero_and_one(labels, shift):
    scores = score(Trajectory(labels), Goal(np.eye(6, 7, dtype=bool)), np.roll(labels, shift, axis=2))
    assert set(scores) <= set(SCORES)
    assert all(0 <= value <= 1 for value in scores.values())
