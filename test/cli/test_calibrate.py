"""`mask2iv calibrate`: thresholds into the checkpoint, figures printed and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.generator.checkpoint import read_config
from mask2iv_ros.generator.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for split in ("validation", "test"):
        write_clips(folder / split, [tiny_clip(seed) for seed in range(4)])
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "tiny", steps=1, segmenter=True)


def calibrate(clips: Path, checkpoint: Path, *more: str) -> int:
    return main(["calibrate", "--clips", str(clips), "--checkpoint", str(checkpoint), "--seeds", "2", *more])


def test_thresholds_are_chosen_on_validation_and_measured_on_test(clips, checkpoint, tmp_path, capsys):
    assert calibrate(clips, checkpoint, "--out", str(tmp_path / "out/validation.json")) == 0
    thresholds = read_config(checkpoint).thresholds
    told = json.loads((tmp_path / "out/validation.json").read_text())
    assert told["thresholds"]["agreement"] == thresholds.agreement
    assert len(told["rollouts"]) == 8
    shown = capsys.readouterr().out
    assert "best of all seeds" in shown
    assert "thresholds of one half of the clips on the other" in shown
    assert f"thresholds written into {checkpoint}" in shown
    assert calibrate(clips, checkpoint, "--split", "test") == 0
    shown = capsys.readouterr().out
    assert f"agreement {thresholds.agreement:.3f}" in shown
    assert "written" not in shown
    assert read_config(checkpoint).thresholds == thresholds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--seeds", "1"], "seeds is 1; expected 2 to 64"),
        (["--per-task", "3"], "there are rollouts of 3 clips; expected at least 4"),
        (["--split", "unseen_camera"], "has no unseen_camera clips"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_and_changes_nothing(clips, checkpoint, capsys, change, said):
    assert calibrate(clips, checkpoint, *change) == 2
    assert said in capsys.readouterr().err
    assert read_config(checkpoint).thresholds is None
