"""`mask2iv train` and `mask2iv evaluate` on clips drawn here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.clips import Clip, save_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import Role


def _clip(seed: int, split: str) -> Clip:
    """A square that an arm pushes to the right, as far as the seed says."""
    video = np.full((4, 32, 48, 3), 90, np.uint8)
    labels = np.zeros((4, 32, 48), np.uint8)
    for frame in range(4):
        left = 10 + frame * (2 + seed % 4)
        labels[frame, 12:20, left : left + 8] = Role.OBJECT
        labels[frame, :16, left - 6 : left] = Role.INTERACTOR
    video[labels == Role.OBJECT] = (200, 180, 40)
    video[labels == Role.INTERACTOR] = (180, 20, 30)
    goal = labels[-1] == Role.OBJECT
    return Clip(video, labels, goal, "slide", SPLITS[split].start + seed, "slide the square", 8.0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for split in SPLITS:
        save_clips(folder / f"slide-{split}-000000.safetensors", [_clip(seed, split) for seed in range(4)])
    return folder


def test_train_writes_a_checkpoint_that_evaluate_measures(clips, tmp_path, capsys):
    checkpoint, report = tmp_path / "checkpoint", tmp_path / "report"
    steps = ["--autoencoder-steps", "3", "--trajectory-steps", "2", "--video-steps", "2", "--sampling-steps", "2"]
    folders = ["--clips", str(clips), "--work", str(tmp_path / "work"), "--out", str(checkpoint)]
    assert main(["train", *folders, *steps, "--batch", "2"]) == 0
    assert Imaginer.load(checkpoint).size == (32, 48)
    arguments = ["evaluate", "--clips", str(clips), "--out", str(report), "--checkpoint", str(checkpoint)]
    assert main([*arguments, "--per-task", "2"]) == 0
    figures = json.loads((report / "figures.json").read_text())
    assert figures["clips"] == 2
    assert figures["figures"]["all"]["static masks"]["iou_object_last"][0] < 1
    # Training and test clips are drawn alike here, so the nearest one is the same clip.
    assert figures["figures"]["all"]["nearest training clip, by goal"]["iou_object"][0] == 1
    assert (report / "slide.png").stat().st_size > 1000
    assert "repeat first frame" in capsys.readouterr().out


def test_an_unknown_part_is_refused(clips, tmp_path, capsys):
    folders = ["--clips", str(clips), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert main(["train", *folders, "--only", "everything"]) == 2
    assert "part 'everything' is unknown; accepted are autoencoder, trajectory, video" in capsys.readouterr().err


def test_a_folder_without_clips_is_refused_with_the_command_that_makes_them(tmp_path, capsys):
    assert main(["evaluate", "--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--checkpoint", "nowhere"]) == 2
    assert "checkpoint 'nowhere'" in capsys.readouterr().err
    folders = ["--clips", str(tmp_path), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert main(["train", *folders]) == 2
    assert "mask2iv data metaworld" in capsys.readouterr().err
