"""`mask2iv imagine`: files in, files and a dataset out."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from mask2iv_ros.cli.main import main
from mask2iv_ros.export.provenance import read_provenance
from mask2iv_ros.generator.checkpoint import load, set_thresholds
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.masks import Role
from mask2iv_ros.scoring.verdict import Thresholds


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    labels = np.zeros((64, 96), np.uint8)
    labels[:30, 40:50] = Role.INTERACTOR
    labels[40:52, 20:32] = Role.OBJECT
    goal = np.zeros((64, 96), np.uint8)
    goal[40:52, 60:72] = 255
    images = {"image": rng.integers(0, 255, (64, 96, 3), np.uint8), "labels": labels, "goal": goal}
    for name, image in images.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    return {name: tmp_path / f"{name}.png" for name in images} | {"out": tmp_path / "out"}


def _arguments(files: dict[str, Path], checkpoint: Path, *more: str) -> list[str]:
    return [
        "imagine", "--image", str(files["image"]), "--labels", str(files["labels"]),
        "--out", str(files["out"]), "--checkpoint", str(checkpoint), *more,
    ]  # fmt: skip


def test_goal_mask_becomes_trajectory_video_and_dataset(files, checkpoint, capsys):
    assert main(_arguments(files, checkpoint, "--goal", str(files["goal"]), "--rollouts", "2", "--seed", "5")) == 0
    episodes = read_provenance(files["out"] / "dataset")
    assert [episode.seed for episode in episodes] == [5, 6]
    for episode in episodes:
        frames = sorted((files["out"] / episode.id / "trajectory").glob("*.png"))
        assert len(frames) == 4
        assert set(np.unique(cv2.imread(str(frames[-1]), cv2.IMREAD_GRAYSCALE))) <= {0, 1, 2}
        with av.open(str(files["out"] / episode.id / "video.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == 4
    assert "contact sheet" in capsys.readouterr().out


def test_rollouts_go_through_in_batches(files, checkpoint):
    goal = ("--goal", str(files["goal"]))
    assert main(_arguments(files, checkpoint, *goal, "--rollouts", "3", "--batch", "2", "--sampler", "unipc")) == 0
    assert [episode.seed for episode in read_provenance(files["out"] / "dataset")] == [0, 1, 2]


def test_each_rollout_can_be_the_best_of_some(files, checkpoint, capsys):
    goal = ("--goal", str(files["goal"]))
    assert main(_arguments(files, checkpoint, *goal, "--rollouts", "2", "--best-of", "3", "--batch", "4")) == 0
    first, second = read_provenance(files["out"] / "dataset")
    assert first.seed in (0, 1, 2)
    assert second.seed in (3, 4, 5)
    assert sorted(path.name for path in files["out"].glob("*-0[0-9]")) == [first.id, second.id]
    assert f"{second.id}: seed {second.seed}, {second.verdict} (" in capsys.readouterr().out


def test_the_dataset_can_take_good_ones_alone(files, checkpoint, tmp_path, capsys):
    strict, lenient = (shutil.copytree(checkpoint, tmp_path / name) for name in ("strict", "lenient"))
    for folder, thresholds in ((strict, Thresholds(goal_iou=1.0)), (lenient, Thresholds(0, 0, 0, 0))):
        set_thresholds(folder, thresholds, load(folder, torch.device("cpu")).sha256)
    goal = ("--goal", str(files["goal"]), "--accept", "good")
    assert main(_arguments(files, strict, *goal)) == 0
    shown = capsys.readouterr().out
    assert "doubtful: the object does not end in the goal" in shown
    assert "not in the dataset" in shown
    assert "unchanged, as no rollout is good" in shown
    assert not (files["out"] / "dataset").exists()
    assert main(_arguments(files, lenient, *goal)) == 0
    assert [one.verdict for one in read_provenance(files["out"] / "dataset")] == ["good"]


def test_an_instruction_alone_is_a_goal(files, tmp_path):
    reader = write_tiny_checkpoint(tmp_path / "reader", conditions=("text",))
    assert main(_arguments(files, reader, "--instruction", "push it to the left")) == 0
    episodes = read_provenance(files["out"] / "dataset")
    assert [episode.task for episode in episodes] == ["push it to the left"]


def test_an_edited_trajectory_is_followed(files, checkpoint):
    assert main(_arguments(files, checkpoint, "--offset", "10", "0", "--trajectory-only")) == 0
    made = next(files["out"].glob("*/trajectory"))
    assert not (files["out"] / "dataset").exists()
    assert main(_arguments(files, checkpoint, "--offset", "10", "0", "--trajectory", str(made))) == 0
    assert read_provenance(files["out"] / "dataset")[0].trajectory_edited


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--goal", "missing.png"], "missing.png is not there"),
        (["--offset", "500", "0"], "leaves the 96 x 64 image"),
        (["--offset", "nan", "0"], "dx is nan"),
        (["--offset", "1", "0", "--rollouts", "0"], "rollouts is 0; expected 1 to 64"),
        (["--offset", "1", "0", "--seed", "-3"], "seed is -3"),
        (["--offset", "1", "0", "--steps", "0"], "steps is 0"),
        (["--offset", "1", "0", "--best-of", "65"], "best_of is 65; expected 1 to 64"),
        (["--offset", "1", "0", "--best-of", "2", "--trajectory-only"], "best-of is 2 with --trajectory-only"),
        (["--offset", "1", "0", "--best-of", "2", "--batch", "3"], "batch is 3; expected 1 to the number of rollouts"),
        (["--offset", "1", "0", "--device", "tpu"], "device 'tpu' is unknown"),
        (["--offset", "1", "0", "--checkpoint", "nowhere"], "checkpoint 'nowhere'"),
    ],
)
def test_a_bad_argument_is_one_sentence_and_writes_no_dataset(files, checkpoint, capsys, change, said):
    assert main(_arguments(files, checkpoint, *change)) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith("mask2iv imagine: ")
    assert said in complaint
    assert not (files["out"] / "dataset").exists()


def test_labels_without_an_object_are_refused(files, checkpoint, capsys):
    cv2.imwrite(str(files["labels"]), np.ones((64, 96), np.uint8))
    assert main(_arguments(files, checkpoint, "--goal", str(files["goal"]))) == 2
    assert "shows no object" in capsys.readouterr().err


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in ("demo", "up", "imagine", "data", "train", "evaluate"))
