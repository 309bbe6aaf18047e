"""`mask2iv imagine-dataset`: a dataset in, an imagined one and a report out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.export import ExportSettings, RobotColumns, read_provenance
from mask2iv_ros.generator.tiny import write_tiny_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("source")
    clips = [replace(tiny_clip(seed), fps=8.0) for seed in range(3)]
    robots = [RobotColumns(action=np.zeros((4, 2), np.float32))] * 3
    write_clips(folder / "slide", clips, ExportSettings(action=("push", "lift")), robots)
    checkpoint = write_tiny_checkpoint(folder / "tiny", steps=1)
    return ["imagine-dataset", str(folder / "slide"), "--checkpoint", str(checkpoint)]


def test_a_dataset_and_a_report_are_made(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    more = ["--without-actions", "--keep=all", "--rollouts=2", "--episodes=0-1", "--goals", "moves", "episodes"]
    assert main([*command, "--out", str(tmp_path / "out"), *more]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 rollouts kept" in said
    assert "s of processor time" in said
    assert "cannot be merged" in said
    ids = [one.id for one in read_provenance(tmp_path / "out/train")]
    assert ids == ["slide-0.0.moves0", "slide-0.0.episodes0", "slide-1.0.moves0", "slide-1.0.episodes0"]
    page = (tmp_path / "out/report.html").read_text()
    assert "report/kept.png" in page
    assert {path.name for path in (tmp_path / "out/report").iterdir()} == {"kept.png", "kept.mp4"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ([], "has action and there is no labeller; expected --labeller, or --without-actions"),
        (["--labeller", "nowhere"], "nowhere has no config.json"),
        (["--goals", "dreams"], "goals are 'dreams'"),
        (["--without-actions", "--frames", "9"], "frame is 9 and episode 0 has 4 frames"),
        (["--without-actions", "--workers", "0"], "workers is 0"),
        (["--without-actions", "--device", "tpu"], "device 'tpu' is unknown"),
    ],
)
def test_a_bad_argument_is_one_sentence_and_makes_no_dataset(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], said: str
):
    assert main([*command, "--out", str(tmp_path / "out"), *change]) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith("mask2iv imagine-dataset: ")
    assert said in complaint
    assert not (tmp_path / "out/train").exists()
