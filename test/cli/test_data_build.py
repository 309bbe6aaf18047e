from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import write_tiny_dataset

LOOSE = ["--quality-consistency", "0", "--quality-swap", "0", "--quality-camera", "1", "--workers", "1"]


def test_a_lerobot_dataset_becomes_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write_tiny_dataset(tmp_path / "source", 3, frames=6)
    command = ["data", "lerobot", str(source), "--out", str(tmp_path / "out"), "--frames", "4", "--fps", "10", *LOOSE]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "3 clips at 10 fps (as asked for)" in told
    assert f"train: 3 clips in {tmp_path / 'out/train'}" in told
    assert f"look at: {tmp_path / 'out/report.html'}" in told
    built, truth = LabelledDataset.open(tmp_path / "out/train"), LabelledDataset.open(source)
    np.testing.assert_array_equal(built.read(0).labels, truth.read(0).labels[2:])
    assert main([*command, "--size", "16", "16"]) == 2
    assert "was begun with size null and [16, 16] is wanted" in capsys.readouterr().err


def test_another_source_is_not_taken_for_the_one_that_was_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Episodes of LeRobot datasets have the same ids in all of them."""
    command = ["data", "lerobot", "--out", str(tmp_path / "out"), "--frames", "4", "--fps", "10", *LOOSE]
    one, other = (str(write_tiny_dataset(tmp_path / name, 1, frames=4)) for name in ("one", "other"))
    assert main([*command, one]) == 0
    assert main([*command, one]) == 0
    assert main([*command, other]) == 2
    assert f'was begun with source "{one}" and "{other}" is wanted' in capsys.readouterr().err


def test_nothing_kept_is_told_by_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write_tiny_dataset(tmp_path / "source", 1, frames=6)
    assert main(["data", "lerobot", str(source), "--out", str(tmp_path / "out"), *LOOSE]) == 1
    assert "left out, shorter than a clip: 1" in capsys.readouterr().out
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["video", "nowhere.mp4"], "nowhere.mp4 holds no video"),
        (["lerobot", "no dataset"], "'no dataset' does not exist; expected a folder, or an id of the hub"),
        (["bridge", "nowhere"], "nowhere is no folder"),
        (["hoi4d", "nowhere"], "cannot be read"),
        (["video", "{video}", "--prompts", "a.yaml", "--object", "1,2"], "prompts are told twice"),
        (["video", "{video}", "--object", "1,2"], "nothing is said of the interactor of 'all'; expected clicks"),
        (["video", "{video}", "--interactor", "1,2"], "--object is ''; expected words, clicks"),
        (["video", "{video}", "--motion", "--interactor", "1,2", "--object", "3,4"], "motion finds the interactor"),
        (["video", "{video}", "--segmenter-set", "weights"], "expected KEY=VALUE"),
        (["video", "{video}", "--motion", "--segmenter-set", "a=1"], "has no setting 'a'"),
        (["video", "{video}", "--motion", "--segmenter-set", "iterations=two"], "is 'two'; expected a whole number"),
        (["video", "{video}", "--motion", "--segmenter-set", "radii=0.1"], "is 0.1; expected a list of numbers"),
        (["video", "{video}", "--quality-jump", "0.5"], "quality.jump is 0.5"),
        (["video", "{video}", "--prompts", "nowhere.yaml"], "nowhere.yaml cannot be read as YAML"),
        (["video", "{video}", "--sample", "-1"], "--sample is -1"),
        (["video", "{video}", "--cameras", "left"], "has no camera 'left'; its cameras are video"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    from mask2iv_ros.evaluation.video import write_mp4

    write_mp4(tmp_path / "a.mp4", np.zeros((20, 32, 32, 3), np.uint8), 10)
    arguments = [one.format(video=tmp_path / "a.mp4") for one in arguments]
    assert main(["data", *arguments, "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out/train").exists()


def test_missing_weights_end_the_build_with_the_command_that_fetches_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    pytest.importorskip("sam2", reason="the extra sam2 is not installed")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    source = write_tiny_dataset(tmp_path / "source", 2, frames=6)
    command = ["data", "lerobot", str(source), "--out", str(tmp_path / "out"), "--frames", "4", "--fps", "10", *LOOSE]
    asked = ["--interactor", "3,3", "--object", "20,20", "--segmenter", "sam2"]
    assert main([*command, *asked]) == 2
    assert "hf download facebook/sam2.1-hiera-small" in capsys.readouterr().err
    assert not list((tmp_path / "out/.build/done").iterdir()), "no episode is to blame"
