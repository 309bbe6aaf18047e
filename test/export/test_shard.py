"""What LeRobot makes of what was written: its own command and a fresh process have the word."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.export import DatasetWriter, goal_from_frame, labels_from_frame, read_provenance
from mask2iv_ros.export.provenance import digest

MIN_PSNR = 38.0

DUMP = """
import sys
import numpy as np
from lerobot.datasets import LeRobotDataset

for root in sys.argv[1:]:
    dataset = LeRobotDataset("mask2iv/fresh", root=root, video_backend="pyav")
    items = [dataset[i] for i in range(len(dataset))]
    np.savez(root + ".npz", **{key: np.stack([np.asarray(item[key]) for item in items]) for key in items[0]})
"""


@pytest.fixture(scope="module")
def numbers():
    return {"a": [1, 2, 3], "b": [4, 5]}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, make_rollout, numbers):
    """Two datasets written here, their merge by LeRobot's command, and the merge as a fresh process reads it."""
    folder = tmp_path_factory.mktemp("shard")
    environment = os.environ | {"HF_DATASETS_CACHE": str(folder / "cache")}
    for name, own in numbers.items():
        with DatasetWriter(folder / name) as writer:
            writer.append([make_rollout(own[0])])
            writer.append([make_rollout(number, instruction=f"task of {name}") for number in own[1:]])
    merge = [
        Path(sys.executable).with_name("lerobot-edit-dataset"),
        "--operation.type=merge",
        "--operation.repo_ids=['mask2iv/a', 'mask2iv/b']",
        f"--operation.roots=['{folder}/a', '{folder}/b']",
        "--new_repo_id=mask2iv/merged",
        f"--new_root={folder}/merged",
    ]
    done = subprocess.run(merge, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    subprocess.run([sys.executable, "-c", DUMP, folder / "a", folder / "merged"], env=environment, check=True)
    return folder


@pytest.fixture(scope="module")
def expected(make_rollout, numbers):
    tasks = {1: "", 2: "task of a", 3: "task of a", 4: "", 5: "task of b"}
    return {
        "a": [make_rollout(number, instruction=tasks[number]) for number in numbers["a"]],
        "merged": [make_rollout(number, instruction=tasks[number]) for number in tasks],
    }


@pytest.mark.parametrize("name", ["a", "merged"])
def test_fresh_process_reads_what_was_generated(datasets, expected, name):
    found, rollouts = np.load(datasets / f"{name}.npz"), expected[name]
    labels = np.concatenate([rollout.trajectory.labels for rollout in rollouts])
    np.testing.assert_array_equal(labels_from_frame(found["observation.labels.front"]), labels)
    video = np.concatenate([rollout.video for rollout in rollouts]).astype(float)
    error = found["observation.images.front"].transpose(0, 2, 3, 1) * 255.0 - video
    psnr = 10 * np.log10(255**2 / np.mean(error**2, axis=(1, 2, 3)))
    assert psnr.min() > MIN_PSNR
    for frame in found["observation.goal_mask.front"]:
        np.testing.assert_array_equal(goal_from_frame(frame), rollouts[0].goal.mask)
    frames = len(rollouts[0].video)
    assert found["episode_index"].tolist() == np.repeat(range(len(rollouts)), frames).tolist()
    assert found["index"].tolist() == list(range(frames * len(rollouts)))
    assert found["imagined"].all()
    assert found["mask2iv.source_stamp_ns"][::frames].tolist() == [one.scene.stamp_ns for one in rollouts]
    assert found["task"][::frames].tolist() == [
        one.goal.instruction or "bring the object to the goal" for one in rollouts
    ]


@pytest.mark.parametrize("name", ["a", "merged"])
def test_provenance_survives_the_merge(datasets, expected, name):
    found = read_provenance(datasets / name)
    assert [one.episode for one in found] == list(range(len(expected[name])))
    assert [one.id for one in found] == [rollout.id for rollout in expected[name]]
    assert [one.digest for one in found] == [digest(rollout) for rollout in expected[name]]
    assert [one.scores for one in found] == [rollout.scores for rollout in expected[name]]
    assert [one.seed for one in found] == [rollout.seed for rollout in expected[name]]


def test_merged_dataset_is_appended_to(datasets, expected, make_rollout, load):
    with DatasetWriter(datasets / "merged") as writer:
        assert writer.episodes == 5
        assert writer.append([make_rollout(3), make_rollout(9)]) == [2, 5]
    dataset = load(datasets / "merged")
    last = dataset[len(dataset) - 1]
    assert last["mask2iv.id"] == "rollout-9"
    np.testing.assert_array_equal(
        labels_from_frame(last["observation.labels.front"]), make_rollout(9).trajectory.labels[-1]
    )
