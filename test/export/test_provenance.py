import json
from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, read_provenance
from mask2iv_ros.export.provenance import digest


def test_digest_tells_pixels_apart_and_nothing_else(make_rollout):
    assert digest(make_rollout(1)) == digest(make_rollout(1, instruction="other words"))
    assert digest(make_rollout(1)) != digest(make_rollout(2))
    assert digest(make_rollout(1)) != digest(make_rollout(1, with_mask=False, instruction="no mask"))


def test_written_provenance_is_read_back(tmp_path, make_rollout):
    with DatasetWriter(tmp_path / "dataset") as writer:
        writer.append(
            [replace(make_rollout(1), verdict="doubtful: it jerks"), make_rollout(2, instruction="push the cube")]
        )
    first, second = read_provenance(tmp_path / "dataset")
    assert (first.episode, first.id, first.seed, first.frames) == (0, "rollout-1", 1, 8)
    assert (first.task, second.task) == ("bring the object to the goal", "push the cube")
    assert first.checkpoint == "default@1a2b3c4d"
    assert first.scores == {"goal_iou": 0.5 + 1 / 4096, "permanence": 0.25}
    assert first.verdict == "doubtful: it jerks"
    assert second.verdict == ""
    assert (first.trajectory_edited, second.trajectory_edited) == (True, False)
    assert (first.source_stamp_ns, first.source_frame_id) == (1_700_000_000_123_456_790, "optical")
    assert first.digest == digest(make_rollout(1))


def test_dataset_of_real_episodes_has_no_imagined_ones(tmp_path):
    from lerobot.datasets import LeRobotDataset

    state = {"observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}}
    dataset = LeRobotDataset.create("mask2iv/real", fps=10, features=state, root=tmp_path / "real", use_videos=False)
    for _ in range(2):
        dataset.add_frame({"observation.state": np.zeros(2, np.float32), "task": "wait"})
    dataset.save_episode()
    dataset.finalize()
    assert read_provenance(tmp_path / "real") == []


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(Refused, match="expected a folder with a LeRobot v3 dataset"):
        read_provenance(tmp_path / "absent")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{")
    with pytest.raises(Refused, match="expected a folder with a LeRobot v3 dataset"):
        read_provenance(tmp_path)
    (tmp_path / "meta/info.json").write_text(json.dumps({"total_episodes": 1, "features": {}}))
    with pytest.raises(Refused, match="expected a folder with a LeRobot v3 dataset"):
        read_provenance(tmp_path)
