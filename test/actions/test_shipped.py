from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.actions.labeller import SHIPPED, Labeller
from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.data.splits import TRIALS
from mask2iv_ros.errors import Refused
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory


@pytest.mark.skipif(find_spec("metaworld") is None, reason="the scene needs the extra 'demo'")
def test_the_packages_own_labeller_tells_actions_of_a_scene_it_has_not_seen():
    from mask2iv_ros.cameras.metaworld import MetaWorldCamera
    from mask2iv_ros.data.metaworld import render_demonstration

    labeller = Labeller.load(SHIPPED, "cpu")
    with MetaWorldCamera(("coffee-push",), (192, 256), rig=Rig(looks=7)) as camera:
        clip, robot = render_demonstration(camera, "coffee-push", TRIALS.start + 500, (96, 128), 16, 5)
    rollout = Rollout(
        "one",
        Scene(clip.video[0], clip.labels[0]),
        Goal(clip.goal_mask, clip.instruction),
        Trajectory(clip.labels),
        clip.video,
        clip.fps,
        0,
        "",
    )
    told = labeller.label([rollout], [robot.state[0]])[0]
    error = ((told.action - robot.action)[:-1] ** 2).mean(0)
    assert (error < 0.35 * robot.action[:-1].var(0)).all()
    way = np.linalg.norm(robot.state[-1, :3] - robot.state[0, :3])
    assert np.linalg.norm(told.state[-1, :3] - robot.state[-1, :3]) < 0.3 * way


def test_a_name_that_is_no_labeller_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=rf"has no config.json; expected a labeller .* or {SHIPPED}"):
        Labeller.load(tmp_path / "none")
