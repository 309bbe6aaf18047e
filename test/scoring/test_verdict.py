from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory
from mask2iv_ros.scoring.verdict import BestOf, Thresholds, judge, total

EVERYTHING = {"goal_iou": 0.8, "agreement": 0.7, "smoothness": 0.9, "permanence": 1.0}
HALF = Thresholds(0.5, 0.5, 0.5, 0.5)


def test_a_rollout_above_all_thresholds_is_good():
    assert judge(EVERYTHING, HALF, 16) == "good"
    assert judge(dict.fromkeys(EVERYTHING, 0.5), HALF, 16) == "good"


def test_a_doubtful_one_says_why():
    assert judge(EVERYTHING | {"goal_iou": 0.31}, HALF, 16) == (
        "doubtful: the object does not end in the goal (goal_iou 0.310 is below 0.500)"
    )
    both = judge(EVERYTHING | {"agreement": 0.2, "permanence": 0.25}, HALF, 16)
    assert both.startswith("doubtful: the video does not follow its masks (")
    assert both.endswith("; the object vanishes in 12 of 16 frames (permanence 0.250 is below 0.500)")
    assert "jerks" in judge({"smoothness": 0.1}, HALF, 16)


def test_a_score_that_is_absent_is_not_held_against_a_rollout():
    assert judge({}, HALF, 16) == "good"
    assert judge({"goal_iou": 0.6}, Thresholds(agreement=1.0), 16) == "good"


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "much", None, True])
def test_a_threshold_out_of_range_is_refused(value):
    with pytest.raises(Refused, match=r"threshold agreement is .*; expected 0 to 1"):
        Thresholds(agreement=value)


def rollout(seed: int, verdict: str, **scores: float) -> Rollout:
    image = np.zeros((2, 3, 3), np.uint8)
    labels = np.zeros((2, 3), np.uint8)
    trajectory = Trajectory(np.stack([labels, labels]))
    video = np.stack([image, image])
    return Rollout("r", Scene(image, labels), Goal(labels == 0), trajectory, video, 8.0, seed, "c", scores, verdict)


def test_the_best_is_a_good_one_and_then_the_one_with_the_highest_total():
    doubtful = rollout(0, "doubtful: it jerks", goal_iou=1.0, agreement=1.0)
    better, worse = rollout(1, "good", goal_iou=0.8, agreement=0.6), rollout(2, "good", goal_iou=0.9, agreement=0.3)
    assert total(better.scores) == pytest.approx(0.7)
    for order in ([doubtful, better, worse], [worse, doubtful, better]):
        choosing = BestOf(3)
        assert [choosing.offer(one) for one in order] == [None, None, better]
    equal = replace(better, seed=5)
    choosing = BestOf(2)
    assert [choosing.offer(one) for one in (better, equal)] == [None, better]


def test_every_so_many_are_chosen_among_anew():
    choosing = BestOf(2)
    high, low = rollout(0, "good", goal_iou=0.9), rollout(1, "good", goal_iou=0.1)
    assert [choosing.offer(one) for one in (high, low, low, low)] == [None, high, None, low]
    assert BestOf(1).offer(low) is low
    assert BestOf(2).offer(replace(low, scores={})) is None


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_count_out_of_range_is_refused(count: int):
    with pytest.raises(Refused, match=f"best_of is {count}; expected 1 to 64"):
        BestOf(count)
