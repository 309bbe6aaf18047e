from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.actions.gate import Gate, Limits
from mask2iv_ros.actions.label import label_dataset
from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.actions.tiny import SETTINGS, moving_clip, write_moving
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, ExportSettings, read_provenance
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

STRICT, LENIENT = Limits(0.0, 0.0, 0.0, 0.0), Limits(1e9, 1e9, 1e9, 1e9)


def limited(labeller: Labeller, limits: Limits) -> Labeller:
    gate = labeller.gate
    return replace(labeller, gate=Gate(limits, gate.low, gate.high, gate.motion))


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rollouts as the export node writes them: imagined, without states and actions."""
    root = tmp_path_factory.mktemp("rollouts") / "rollouts"
    made = []
    for seed in (70, 71):
        clip, _ = moving_clip(seed)
        made.append(
            Rollout(
                id=f"rollout-{seed}",
                scene=Scene(clip.video[0], clip.labels[0], 1234, "camera"),
                goal=Goal(clip.goal_mask, "wander about"),
                trajectory=Trajectory(clip.labels, "edited"),
                video=clip.video,
                fps=clip.fps,
                seed=seed,
                checkpoint="tiny@0",
                scores={"smoothness": 0.5},
                verdict="good",
            )
        )
    with DatasetWriter(root) as writer:
        writer.append(made)
    return root


def test_imagined_rollouts_get_actions_and_states_and_keep_where_they_come_from(labeller, rollouts, tmp_path):
    out = tmp_path / "labelled"
    done = label_dataset(limited(labeller, LENIENT), rollouts, out)
    assert (done.written, done.there, done.dropped, done.doubtful) == (2, 0, {}, {})
    before, after = read_provenance(rollouts)[1], read_provenance(out)[1]
    assert after.imagined
    assert after.estimate.source == labeller.source
    assert after.estimate.action_deviation.shape == (8, 3)
    assert after.estimate.state_deviation.shape == (8, 2)
    for name in ("id", "seed", "checkpoint", "scores", "verdict", "trajectory_edited", "source_stamp_ns", "task"):
        assert getattr(before, name) == getattr(after, name)
    dataset = LabelledDataset.open(out)
    assert dataset.settings == SETTINGS
    np.testing.assert_array_equal(dataset.read(1).labels, moving_clip(71)[0].labels)
    assert np.isfinite(dataset.robot(1).action).all()


def test_a_run_goes_on_where_it_ended(labeller, rollouts, tmp_path):
    out = tmp_path / "labelled"
    label_dataset(labeller, rollouts, out)
    again = label_dataset(labeller, rollouts, out)
    assert (again.written, again.there) == (0, 2)
    assert len(read_provenance(out)) == 2


def test_doubtful_ones_can_be_left_out(labeller, rollouts, tmp_path):
    strict = limited(labeller, STRICT)
    kept = label_dataset(strict, rollouts, tmp_path / "kept")
    assert kept.doubtful.keys() == {"rollout-70", "rollout-71"}
    assert "the actions are uncertain (uncertainty " in kept.doubtful["rollout-70"]
    assert read_provenance(tmp_path / "kept")[0].estimate.verdict == kept.doubtful["rollout-70"]
    dropped = label_dataset(strict, rollouts, tmp_path / "dropped", drop=True)
    assert (dropped.written, len(dropped.dropped)) == (0, 2)
    assert not (tmp_path / "dropped").exists()


def test_what_a_camera_has_seen_stays_so_and_true_states_stay(labeller, tmp_path):
    source = write_moving(tmp_path / "source", range(80, 82))
    label_dataset(labeller, source, tmp_path / "out")
    found = read_provenance(tmp_path / "out", imagined_only=False)
    assert [one.imagined for one in found] == [False, False]
    assert found[0].estimate.state_deviation is None
    before, after = (LabelledDataset.open(root).robot(0) for root in (source, tmp_path / "out"))
    np.testing.assert_array_equal(before.state, after.state)
    assert np.abs(before.action - after.action).max() > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out", "source"]


def test_states_that_nobody_knows_are_refused(labeller, rollouts, tmp_path):
    with pytest.raises(Refused, match=r"has no observation.state and labeller .* trained with --state"):
        label_dataset(replace(labeller, states=None), rollouts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_robot_and_the_same_folder_are_refused(labeller, rollouts, tmp_path):
    other = write_moving(tmp_path / "other", range(2), ExportSettings("wrist"))
    with pytest.raises(Refused, match="has the camera wrist"):
        label_dataset(labeller, other, tmp_path / "out")
    with pytest.raises(Refused, match="the dataset to label; expected another folder"):
        label_dataset(labeller, rollouts, rollouts)
