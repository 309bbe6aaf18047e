import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import load_clips, require_training_clips, write_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, read_provenance


@pytest.fixture
def folder(tmp_path: Path, tiny_root: Path) -> Path:
    shutil.copytree(tiny_root, tmp_path / "train")
    return tmp_path


def test_clips_come_back_as_they_were(folder: Path):
    loaded = load_clips(folder, "train")
    assert len(loaded) == 4
    for before, after in zip(map(tiny_clip, range(4)), loaded, strict=True):
        for name in ("task", "seed", "instruction", "fps"):
            assert getattr(after, name) == getattr(before, name)
            assert type(getattr(after, name)) is type(getattr(before, name))
        np.testing.assert_array_equal(after.labels, before.labels)
        np.testing.assert_array_equal(after.goal_mask, before.goal_mask)
        # Visually lossless, and the frames in their order: the square moves by pixels from one to the next.
        assert np.mean((after.video.astype(float) - before.video) ** 2) < 10


def test_a_split_is_loaded_task_by_task_and_seed_by_seed(tmp_path: Path):
    first = SPLITS["test"].seeds.start
    order = [("push", 9), ("coffee-push", 1), ("push", 10), ("coffee-push", 0)]
    write_clips(tmp_path / "test", [replace(tiny_clip(first + seed), task=task) for task, seed in order])
    assert [(one.task, one.seed - first) for one in load_clips(tmp_path, "test")] == [
        ("coffee-push", 0),
        ("coffee-push", 1),
        ("push", 9),
        ("push", 10),
    ]
    limited = load_clips(tmp_path, "test", 1)
    assert [(one.task, one.seed - first) for one in limited] == [("coffee-push", 0), ("push", 9)]
    with pytest.raises(Refused, match=r"no validation clips.*mask2iv data"):
        load_clips(tmp_path, "validation")
    with pytest.raises(Refused, match="split is 'exam'; accepted are train, validation"):
        load_clips(tmp_path, "exam")


def test_clips_of_another_split_are_refused(tmp_path: Path):
    write_clips(tmp_path / "test", [replace(tiny_clip(4), task="push")])
    with pytest.raises(Refused, match="scene push-4 is not of the split 'test'; expected seeds 2000000 to"):
        load_clips(tmp_path, "test")


def test_training_on_held_out_clips_is_refused(tmp_path: Path):
    held_out = SPLITS["validation"].seeds.start
    write_clips(tmp_path / "held_out", [replace(tiny_clip(held_out), task="push")])
    with pytest.raises(Refused, match=rf"scene push-{held_out} is not of the split 'train'"):
        require_training_clips(tmp_path / "held_out")
    write_clips(tmp_path / "own", [replace(tiny_clip(held_out), task="own-robot"), replace(tiny_clip(4), task="push")])
    require_training_clips(tmp_path / "own")


def test_clips_say_that_nobody_imagined_them(tiny_root: Path):
    assert read_provenance(tiny_root) == []
    known = read_provenance(tiny_root, imagined_only=False)
    assert [(one.id, one.seed, one.imagined) for one in known] == [(f"slide-{n}", n, False) for n in range(4)]


def test_lerobot_reads_them(tiny_root: Path):
    from lerobot.datasets import LeRobotDataset

    dataset = LeRobotDataset("mask2iv/clips", root=tiny_root, video_backend="pyav")
    assert (dataset.num_episodes, len(dataset), dataset.fps) == (4, 16, 10)
    item = dataset[5]
    assert item["task"] == "push the square a little to the left"
    assert not item["imagined"]
    np.testing.assert_allclose(item["observation.images.front"].permute(1, 2, 0) * 255, tiny_clip(1).video[1], atol=20)


def test_a_rate_that_is_no_whole_number_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"a clip has 12\.5 fps; LeRobot datasets hold whole numbers only"):
        write_clips(tmp_path / "train", [replace(tiny_clip(0), fps=12.5)])
    assert not list(tmp_path.iterdir())


def test_a_dataset_without_ids_is_refused(folder: Path):
    path = folder / "train/meta/info.json"
    info = json.loads(path.read_text())
    del info["features"]["mask2iv.id"]
    path.write_text(json.dumps(info))
    with pytest.raises(Refused, match="train has 4 episodes and ids of 0; expected one of each"):
        load_clips(folder, "train")


def test_clips_of_several_lengths_are_not_loaded_together(folder: Path):
    write_clips(folder / "longer", [tiny_clip(8, frames=6)])
    with DatasetWriter(folder / "train") as writer:
        writer.adopt(folder / "longer")
    with pytest.raises(Refused, match=r"episode 4 of .*train has 6 frames .*as many frames as the episodes before it"):
        load_clips(folder, "train")
