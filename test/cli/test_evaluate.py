"""`mask2iv evaluate` as a user runs it, with what it says where weights are missing."""

import json
from pathlib import Path

import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.tiny import write_tiny_dataset
from mask2iv_ros.evaluation.measure import CHAINED
from mask2iv_ros.generator.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for split in ("train", "unseen_tasks"):
        write_tiny_dataset(folder / split, clips=3)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), steps=1)


def test_figures_claims_and_what_was_not_measured_are_printed_and_written(
    clips: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["evaluate", "--clips", str(clips), "--checkpoint", str(checkpoint), "--device", "cpu", "--random", "0"]
    command += ["--split", "unseen_tasks", "--per-task", "2", "--weights", str(tmp_path / "none")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "all, 2 unseen_tasks clips" in said
    assert "slide, 2 unseen_tasks clips" in said
    missing = "not measured: weights missing; get them by: mask2iv weights fetch"
    assert f"  lpips: {missing}\n" in said
    assert f"  fvd: {missing}\n" in said
    assert "  text_similarity: not measured: weights missing; give a folder of CLIP's by --clip\n" in said
    figures = json.loads((tmp_path / "out/figures.json").read_text())
    assert (figures["split"], figures["clips"], figures["FVD"]) == ("unseen_tasks", 2, missing)
    chain = figures["figures"]["all"][CHAINED]
    assert chain["lpips"] == chain["fvd"] == missing
    mean, low, high = chain["ssim"]
    assert low <= mean <= high
    claimed = figures["claims"]["foreground PSNR in dB: stage 2, stage 1's masks less repeat first frame"]
    assert claimed[1] <= claimed[0] <= claimed[2]
    assert "foreground PSNR in dB: stage 2, stage 1's masks less repeat first frame" in said
    assert figures["claims"]["LPIPS, ratio of means: stage 2, true masks to repeat first frame"] == missing
    assert (tmp_path / "out/report.html").is_file()


def test_splits_that_are_not_held_out_or_not_there_are_refused(
    clips: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["evaluate", "--clips", str(clips), "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--split"]
    assert main([*command, "test"]) == 2
    assert "has no test clips" in capsys.readouterr().err
    assert main([*command, "unseen_tasks", "--per-task", "0"]) == 2
    assert "--per-task is 0; expected at least 1 clip" in capsys.readouterr().err
    assert main([*command, "unseen_tasks", "--random", "-1"]) == 2
    assert "--random is -1; expected 0 or more rollouts" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "train"])
    assert "invalid choice: 'train'" in capsys.readouterr().err
