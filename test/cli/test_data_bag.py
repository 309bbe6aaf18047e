from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip

LOOSE = ["--quality-consistency", "0", "--quality-swap", "0", "--quality-camera", "1", "--workers", "1"]
CAMERA = "/camera/image_raw"


def record(bags, path: Path, seed: int) -> np.ndarray:
    """A drawn clip as a bag; returns its actions."""
    clip, rng = tiny_clip(seed, frames=6), np.random.default_rng(seed)
    state, action = (rng.standard_normal((6, columns)).astype(np.float32) for columns in (3, 2))
    bags.write(path, bags.demonstration(clip.video, clip.labels, state, action))
    return action


def test_bags_become_clips_and_more_of_them_are_added(tmp_path: Path, bags, capsys: pytest.CaptureFixture[str]):
    actions = [record(bags, tmp_path / f"bags/demo_{seed}", seed) for seed in range(2)]
    command = ["data", "bag", str(tmp_path / "bags"), "--camera", CAMERA, "--labels", "/labels", *LOOSE]
    command += ["--out", str(tmp_path / "out"), "--frames", "6", "--fps", "10", "--task", "push the square"]
    assert main([*command]) == 0
    told = capsys.readouterr().out
    assert f"cameras: {CAMERA}; state: /joint_states; action: /command; labels: /labels" in told
    assert (
        "demo_0: times of /camera/image_raw, /joint_states are their headers', of /command those of reception" in told
    )
    assert "2 clips at 10 fps (as asked for)" in told
    actions.append(record(bags, tmp_path / "bags/demo_2", 2))
    assert main(command) == 0
    built = LabelledDataset.open(tmp_path / "out/train")
    assert [built.robot(number).action.tolist() for number in range(3)] == [one.tolist() for one in actions]
    assert {one.task for one in built.episodes} == {"push the square"}
    assert main([*command, "--action", "none"]) == 2
    assert "was begun with source" in capsys.readouterr().err


def test_what_cannot_be_built_is_one_sentence(tmp_path: Path, bags, capsys: pytest.CaptureFixture[str]):
    record(bags, tmp_path / "demo", 0)
    for told, words in (
        (["nowhere"], "nowhere holds no ROS 2 bag"),
        (["{}"], "has 2 topics that may be the camera: /camera/image_raw (sensor_msgs/msg/Image), /labels"),
        (["{}", "--camera", "/left"], "has no topic '/left'; its topics are /camera/image_raw (sensor_msgs/msg/Image)"),
        (["{}", "--labels", "/labels", "--motion"], "labels are those of /labels; expected no prompts"),
        (["{}", "--camera", CAMERA, "--camera", "/labels", "--labels", "/labels"], "labels are of one camera"),
        (["{}", "--camera", CAMERA, "--stale", "0"], "stale is 0.0; expected more than 0"),
    ):
        arguments = [one.format(tmp_path / "demo") for one in told]
        assert main(["data", "bag", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
