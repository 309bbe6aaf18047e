import numpy as np
import pytest

from mask2iv_ros.actions.gate import make_gate
from mask2iv_ros.actions.motion import Motion, places
from mask2iv_ros.actions.settings import GateSettings
from mask2iv_ros.actions.tiny import moving_clip
from mask2iv_ros.scene import GOOD


@pytest.fixture(scope="module")
def episodes():
    found = [moving_clip(seed) for seed in range(20)]
    return [(robot.action[:, :2], clip.labels) for clip, robot in found]


@pytest.fixture(scope="module")
def gate(episodes):
    unseen = [(action, np.full_like(action, 0.1), labels) for action, labels in episodes[15:]]
    return make_gate(GateSettings(), episodes[:15], unseen)


def test_where_actions_take_the_arm_is_learned_from_demonstrations(episodes):
    motion = Motion.fit(*zip(*episodes[:15], strict=True))
    action, labels = episodes[16]
    assert motion.disagreement(action, labels) < 1.5
    assert motion.disagreement(-action, labels) > 2 * motion.disagreement(action, labels)


def test_edges_of_the_arm_are_its_places(episodes):
    labels = np.zeros((2, 32, 64), np.uint8)
    labels[0, 10:20, 30:50] = 1
    first, hidden = places(labels)
    np.testing.assert_allclose(first[:2], [39.5, 14.5])
    assert np.isnan(hidden).all()


def test_good_actions_are_good_and_bad_ones_are_named(gate, episodes):
    action, labels = episodes[16]
    sure = np.full_like(action, 0.1)
    judged = {
        "good": gate.judge(gate.figures(action, sure, labels)),
        "uncertain": gate.judge(gate.figures(action, 9 * sure, labels)),
        "limits": gate.judge(gate.figures(2 * action, sure, labels)),
        "elsewhere": gate.judge(gate.figures(-action, sure, labels)),
        "jerk": gate.judge(gate.figures(9 * (-1.0) ** np.arange(8)[:, None] * np.ones((1, 2)), sure, labels)),
    }
    assert judged["good"] == GOOD
    assert "the actions are uncertain (uncertainty 0.900 is above" in judged["uncertain"]
    assert "the actions leave the demonstrations' limits" in judged["limits"]
    assert "the arm is not where the actions take it (disagreement" in judged["elsewhere"]
    assert "the actions jerk" in judged["jerk"]


def test_a_camera_that_shows_no_arm_has_no_motion_to_disagree_with(episodes):
    hidden = [(action, labels * 0) for action, labels in episodes]
    gate = make_gate(GateSettings(), hidden[:15], [(a, np.full_like(a, 0.1), seen) for a, seen in hidden[15:]])
    assert gate.motion is None
    assert gate.judge(gate.figures(hidden[16][0], np.full_like(hidden[16][0], 0.1), hidden[16][1])) == GOOD
