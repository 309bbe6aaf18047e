from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.cameras.metaworld import ACTION_NAMES, STATE_NAMES, MetaWorldCamera
from mask2iv_ros.data.clips import require_training_clips
from mask2iv_ros.data.demonstrations import Demonstrations, demonstrate
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.splits import DEMONSTRATIONS, TRIALS
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import read_provenance

pytestmark = pytest.mark.skipif(find_spec("metaworld") is None, reason="demonstrations need the extra 'demo'")
SIZE = (48, 64)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demonstrations") / "coffee-push"
    assert demonstrate(Demonstrations(out, "coffee-push", 2, first=7, size=SIZE)) == 2
    return out


def test_an_episode_has_states_and_actions_and_reaches_its_goal(shown: Path):
    dataset = LabelledDataset.open(shown)
    assert dataset.settings.columns == {"observation.state": STATE_NAMES, "action": ACTION_NAMES}
    assert dataset.fps == 16
    robot = dataset.robot(0)
    assert robot.state.shape == robot.action.shape == (16, 4)
    assert np.abs(robot.action).max() <= 1
    # What the hand is told is where it goes: 5 control steps of at most 1 cm.
    moved = np.diff(robot.state[:, :3], axis=0).ravel()
    assert np.corrcoef(moved, robot.action[:-1, :3].ravel())[0, 1] > 0.8
    assert require_training_clips(shown) is None


def test_actions_repeated_take_the_arm_to_where_the_expert_took_it(shown: Path):
    dataset, seed = LabelledDataset.open(shown), read_provenance(shown, imagined_only=False)[0].seed
    assert seed == DEMONSTRATIONS.start + 7
    robot = dataset.robot(0)
    with MetaWorldCamera(("coffee-push",), SIZE, rig=Rig()) as camera:
        camera.reset("coffee-push", seed)
        assert not camera.success
        for state, action in zip(robot.state, robot.action, strict=True):
            np.testing.assert_allclose(camera.state[:3], state[:3], atol=0.02)
            camera.act(action, 5)
        assert camera.success


def test_more_episodes_go_on_from_those_that_are_there(shown: Path):
    before = [one.id for one in read_provenance(shown, imagined_only=False)]
    assert demonstrate(Demonstrations(shown, "coffee-push", 2, first=7, size=SIZE)) == 0
    assert demonstrate(Demonstrations(shown, "coffee-push", 3, first=7, size=SIZE)) == 1
    after = [one.id for one in read_provenance(shown, imagined_only=False)]
    assert after[:2] == before
    assert len(set(after)) == 3


def test_in_play_the_hand_moves_about_in_scenes_of_its_own(tmp_path: Path):
    assert demonstrate(Demonstrations(tmp_path / "play", "coffee-push", 2, size=SIZE, play=True)) == 2
    dataset = LabelledDataset.open(tmp_path / "play")
    seeds = [one.seed for one in read_provenance(dataset.root, imagined_only=False)]
    assert min(seeds) >= DEMONSTRATIONS.start + 500_000
    assert dataset.episodes[0].task == "move about"
    robots = [dataset.robot(index) for index in (0, 1)]
    assert all(np.ptp(robot.state[:, :3], axis=0).max() > 0.1 for robot in robots)
    assert np.abs(robots[0].action - robots[1].action).max() > 0.5
    assert LabelledDataset.open(tmp_path / "play").settings.columns.keys() == {"observation.state", "action"}
    # Beside them the expert's keep their own numbers: other scenes would be those of another dataset.
    assert demonstrate(Demonstrations(tmp_path / "play", "coffee-push", 1, size=SIZE)) == 1
    assert read_provenance(dataset.root, imagined_only=False)[2].seed < DEMONSTRATIONS.start + 500_000


def test_no_scene_is_of_another_kind(tmp_path: Path):
    settings = Demonstrations(tmp_path / "play", "coffee-push", 2, first=499_999, size=SIZE, play=True)
    with pytest.raises(Refused, match="1 episodes too few; expected a lower first"):
        demonstrate(settings)
    assert not {one.seed for one in read_provenance(tmp_path / "play", imagined_only=False)} & set(TRIALS)


def test_one_rig_has_one_look_and_one_view():
    with MetaWorldCamera(("push",), SIZE, rig=Rig()) as camera:
        images = []
        for seed in (5_000_000, 5_000_001):
            camera.reset("push", seed)
            images.append(camera.render()[0].astype(int))
        camera.act(np.array([1.0, 0, 0, 0]), 10)
        moved = camera.state
    assert np.median(np.abs(images[0] - images[1])) <= 1
    assert moved.shape == (4,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "juggle"}, "'juggle' is unknown"),
        ({"episodes": 0}, "episodes is 0"),
        ({"first": -1}, "first is -1"),
        ({"size": (50, 64)}, "multiples of 8"),
        ({"stride": 7}, "divisor of 80"),
        ({"rig": Rig(looks=-1)}, "looks is -1"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, change: dict, words: str):
    with pytest.raises(Refused, match=words):
        Demonstrations(**{"out": tmp_path / "d", "task": "push"} | change)
