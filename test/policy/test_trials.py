import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.cameras.metaworld import MetaWorldCamera
from mask2iv_ros.data.metaworld import FINER, render_demonstration
from mask2iv_ros.data.splits import TRIALS
from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.configuration_metaworld import Mask2IvMetaWorld
from mask2iv_ros.policy.trials import APART, Trials

pytestmark = pytest.mark.skipif(find_spec("metaworld") is None, reason="trials need the extra 'demo'")
SIZE = (48, 64)


def test_a_policy_sees_what_demonstrations_show_and_its_actions_do_the_same(tmp_path: Path):
    records = tmp_path / "episodes.jsonl"
    fine = (FINER * SIZE[0], FINER * SIZE[1])
    with MetaWorldCamera(("coffee-push",), fine, rig=Rig()) as camera:
        clip, robot = render_demonstration(camera, "coffee-push", TRIALS.start + 3, SIZE, 16, 5)
    trials = Trials("coffee-push", SIZE, episode_length=16, records=records)
    seen, told = trials.reset(seed=3)
    assert told == {"is_success": False, "scene": TRIALS.start + 3}
    assert trials.observation_space.contains(seen)
    goal = seen["goal_mask.front"]
    assert set(np.unique(goal)) == {0, 1}
    np.testing.assert_array_equal(goal[0] > 0, clip.goal_mask)
    rewards = []
    for frame, action in enumerate(robot.action):
        np.testing.assert_allclose(seen["agent_pos"][:3], robot.state[frame, :3], atol=0.02)
        if frame == 0:
            np.testing.assert_array_equal(seen["pixels"]["front"], clip.video[0])
        seen, reward, terminated, truncated, told = trials.step(action)
        rewards.append(reward)
        assert not terminated
        assert truncated == (frame == 15)
    assert told["is_success"]
    assert sum(rewards) == 1
    film = trials.render()
    assert film.shape == (4 * SIZE[0], 4 * SIZE[1], 3)
    assert (film[0] == film[0, 0]).all(), "a bar tells that the goal was reached"
    (row,) = [json.loads(line) for line in records.read_text().splitlines()]
    assert (row["seed"], row["scene"], row["success"]) == (3, TRIALS.start + 3, True)
    assert row["distance_m"] < 0.05
    assert row["goal_iou"] > 0.3
    trials.close()


def test_standing_still_does_not_succeed_and_the_next_scene_is_another():
    trials = Trials("coffee-push", SIZE, episode_length=1)
    first = trials.reset(seed=0)[0]["pixels"]["front"]
    assert trials.step(np.zeros(4, np.float32))[3:] == (True, {"is_success": False, "scene": TRIALS.start})
    second, told = trials.reset()
    assert told["scene"] == TRIALS.start + 1
    assert (second["pixels"]["front"] != first).any()
    np.testing.assert_array_equal(trials.reset(seed=0)[0]["pixels"]["front"], first)
    with pytest.raises(Refused, match="seed is 50000; expected 0 to 49999"):
        trials.reset(seed=APART)
    trials.close()


def test_another_scene_takes_the_place_of_one_that_the_expert_fails():
    failed = TRIALS.start + 1
    with MetaWorldCamera(("push-back",), SIZE, rig=Rig()) as camera:
        camera.reset("push-back", failed)
        camera.step(80)
        assert not camera.success
    trials = Trials("push-back", SIZE)
    scene = trials.reset(seed=1)[1]["scene"]
    assert scene > failed
    assert (scene - failed) % APART == 0
    trials.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "juggle"}, "task 'juggle' is unknown"),
        ({"fps": 30}, "fps is 30; expected a divisor of 80"),
        ({"height": 50}, r"size \(50, 128\) cannot be rendered"),
        ({"episode_length": 0}, "episode_length is 0"),
        ({"camera": "a b"}, "camera name is 'a b'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, said: str):
    with pytest.raises(Refused, match=said):
        Mask2IvMetaWorld(**settings)
