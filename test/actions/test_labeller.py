import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.actions.tiny import FPS, FRAMES, SETTINGS, SIZE, moving_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings
from mask2iv_ros.scene import GOOD, Goal, Rollout, Scene, Trajectory


def as_rollout(seed: int, **changes) -> Rollout:
    clip, _ = moving_clip(seed)
    told = {
        "id": clip.id,
        "scene": Scene(clip.video[0], clip.labels[0]),
        "goal": Goal(clip.goal_mask),
        "trajectory": Trajectory(clip.labels),
        "video": clip.video,
        "fps": clip.fps,
        "seed": seed,
        "checkpoint": "tiny@0",
    }
    return Rollout(**told | changes)


def test_labels_are_in_the_datasets_units_and_say_how_sure_they_are(labeller: Labeller):
    start = np.array([0.1, 0.2], np.float32)
    one, other = labeller.label([as_rollout(50), as_rollout(51)], [None, start])
    assert one.action.shape == (FRAMES, 3)
    assert one.action.dtype == one.state.dtype == np.float32
    assert one.estimate.source == labeller.source
    np.testing.assert_allclose(one.action[:, 2], 0.5)
    assert (one.estimate.action_deviation[:, 2] == 0).all()
    assert (one.estimate.action_deviation[:, :2] > 0).all()
    assert {"uncertainty", "jerk", "excess", "disagreement"} == one.estimate.figures.keys()
    np.testing.assert_array_equal(other.state[0], start)
    assert (other.estimate.state_deviation[0] == 0).all()


def test_labels_go_with_what_was_told(labeller: Labeller):
    seeds = range(60, 72)
    told = labeller.label([as_rollout(seed) for seed in seeds], [None] * len(seeds))
    truth = [moving_clip(seed)[1] for seed in seeds]
    for kind in ("action", "state"):
        estimated, true = (np.array([getattr(one, kind)[:, 0].mean() for one in group]) for group in (told, truth))
        assert np.corrcoef(estimated, true)[0, 1] > 0.5


def test_an_arm_that_does_not_go_with_the_actions_is_doubtful(labeller: Labeller):
    clip, _ = moving_clip(52)
    frozen = np.repeat(clip.labels[:1] * 0, FRAMES, 0)
    (told,) = labeller.label([as_rollout(52, trajectory=Trajectory(frozen))], [None])
    assert told.estimate.verdict != GOOD
    assert "no arm is seen that the actions could move" in told.estimate.verdict


@pytest.mark.parametrize(
    ("settings", "fps", "size", "words"),
    [
        (ExportSettings("wrist"), FPS, SIZE, "has the camera wrist; labeller .* expects front"),
        (ExportSettings("front", ("x",)), FPS, SIZE, "has columns of observation.state x; .* expects x, y"),
        (ExportSettings("front", (), ("a", "b", "c")), FPS, SIZE, "has columns of action a, b, c"),
        (SETTINGS, 30, SIZE, "has fps 30; labeller .* expects 10"),
        (SETTINGS, FPS, (64, 64), r"has frames of \(height, width\) 64, 64; labeller .* expects 32, 64"),
    ],
)
def test_another_robot_or_camera_is_refused_by_name(labeller: Labeller, settings, fps, size, words: str):
    labeller.require_same(SETTINGS, FPS, SIZE, "it")
    with pytest.raises(Refused, match=words):
        labeller.require_same(settings, fps, size, "it")


def test_rollouts_too_short_and_starts_of_another_size_are_refused(labeller: Labeller):
    clip, _ = moving_clip(1)
    short = as_rollout(1, video=clip.video[:2], trajectory=Trajectory(clip.labels[:2]))
    with pytest.raises(Refused, match="has 2 frames; expected more than 2"):
        labeller.label([short], [None])
    with pytest.raises(Refused, match="expected 2 finite numbers, x, y"):
        labeller.label([as_rollout(1)], [np.zeros(3, np.float32)])


def changed(data: bytes, part: str, **values) -> bytes:
    config = json.loads(data)
    return json.dumps(config | {part: config[part] | values}).encode()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("weights.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("weights.safetensors", lambda data: b""),
        ("config.json", lambda data: data[:100]),
        ("config.json", lambda data: json.dumps(json.loads(data) | {"network": {"size": "large"}}).encode()),
        ("config.json", lambda data: json.dumps(json.loads(data) | {"actions": {"mean": 3}}).encode()),
        ("config.json", lambda data: b"[]"),
        ("config.json", lambda data: changed(data, "network", layers=10**9)),
        ("config.json", lambda data: changed(data, "network", widths=[8 * 10**9, 8])),
        ("config.json", lambda data: changed(data, "network", keypoints=10**400)),
        ("config.json", lambda data: changed(data, "actions", mean=[0.0])),
        ("config.json", lambda data: changed(data, "actions", spread=["a", "b", "c"])),
        ("config.json", lambda data: changed(data, "states", widening=[float("nan")] * 2)),
        ("config.json", lambda data: changed(data, "limits", jerk=float("nan"))),
        ("config.json", lambda data: changed(data, "limits", uncertainty="low")),
        ("config.json", lambda data: json.dumps(json.loads(data) | {"low": [0]}).encode()),
        ("config.json", lambda data: json.dumps(json.loads(data) | {"high": [10**400] * 3}).encode()),
    ],
)
def test_a_corrupt_labeller_is_refused(trained: Path, tmp_path: Path, name: str, change):
    folder = shutil.copytree(trained, tmp_path / "copy")
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(Refused, match="it is corrupt: train it again"):
        Labeller.load(folder, "cpu")


def test_what_is_no_labeller_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"has no config.json; expected a labeller"):
        Labeller.load(tmp_path)
    with pytest.raises(Refused, match="device 'tpu' is unknown"):
        Labeller.load(tmp_path, "tpu")
