"""What a checkpoint has beside its stages to score with: a segmenter, and thresholds."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.checkpoint import add_segmenter, add_stage, derive, load, read_config, set_thresholds
from mask2iv_ros.generator.parts import hash_part
from mask2iv_ros.scoring.segmenter import Segmenter
from mask2iv_ros.scoring.verdict import Thresholds

CPU = torch.device("cpu")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    about = json.loads((folder / "config.json").read_text())
    change(about)
    (folder / "config.json").write_text(json.dumps(about))


def rewrite_hash(folder: Path, part: str) -> None:
    edit(folder, lambda about: about["parts"][part].update(sha256=hash_part(folder / part)))


def replace_video(folder: Path) -> None:
    video = load(folder, CPU, stages=("video",)).stages["video"]
    torch.nn.init.normal_(video.denoiser.leave[-1].bias)
    add_stage(folder, "video", video, read_config(folder).stages["video"], torch.float16)


def small_segmenter(*widths: int) -> Segmenter:
    torch.manual_seed(3)
    return Segmenter(widths=widths or (8, 16), head_width=8)


def test_a_segmenter_is_loaded_beside_the_video_stage(tiny: Path, copy: Path):
    assert load(tiny, CPU).segmenter is None
    segmenter = small_segmenter()
    add_segmenter(copy, segmenter, torch.float16)
    loaded = load(copy, CPU)
    assert not loaded.segmenter.training
    for one, other in zip(segmenter.state_dict().values(), loaded.segmenter.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=2**-11, atol=2**-25)
    assert load(copy, CPU, stages=("trajectory",)).segmenter is None
    assert load(copy, CPU).sha256 != load(tiny, CPU).sha256


def test_a_derived_checkpoint_has_no_segmenter_of_another_dataset(copy: Path, tmp_path: Path):
    add_segmenter(copy, small_segmenter(), torch.float16)
    derive(tmp_path / "mine", copy, replace(read_config(copy), stages={}))
    assert not (tmp_path / "mine" / "segmenter").exists()


def test_a_segmenter_that_does_not_fit_is_refused(copy: Path):
    add_segmenter(copy, small_segmenter(8, 8, 8, 8, 8), torch.float16)
    with pytest.raises(Refused, match=r"size \(32, 48\) cannot be segmented by .*; expected multiples of 32"):
        load(copy, CPU)
    add_segmenter(copy, small_segmenter(), torch.float16)
    shutil.rmtree(copy / "segmenter")
    shutil.copytree(copy / "video", copy / "segmenter")
    rewrite_hash(copy, "segmenter")
    edit(copy, lambda about: about["parts"]["segmenter"].update({"class": "SpaceTimeUNet"}))
    with pytest.raises(Refused, match="segmenter is a 'SpaceTimeUNet'; expected a 'Segmenter'"):
        load(copy, CPU)


def test_thresholds_come_back_and_go_when_what_they_were_calibrated_for_changes(copy: Path):
    assert read_config(copy).thresholds is None
    thresholds = Thresholds(0.4, 0.6, 0.7, 0.9)
    for change in (
        lambda: replace_video(copy),
        lambda: add_segmenter(copy, small_segmenter(), torch.float16),
    ):
        set_thresholds(copy, thresholds, load(copy, CPU).sha256)
        assert load(copy, CPU).config.thresholds == thresholds
        change()
        assert read_config(copy).thresholds is None


def test_thresholds_for_what_a_checkpoint_no_longer_is_are_refused(copy: Path):
    before = load(copy, CPU).sha256
    replace_video(copy)
    with pytest.raises(Refused, match=rf"the thresholds are for {before[:8]}; calibrate it again"):
        set_thresholds(copy, Thresholds(), before)
    assert read_config(copy).thresholds is None
    assert sorted(path.name for path in copy.parent.iterdir()) == [".copy.lock", "copy"]


@pytest.mark.parametrize("told", [{"goal_iou": 2}, {"goal_iou": "x"}, {"joy": 1}, [1], "high", 3])
def test_altered_thresholds_are_refused(copy: Path, told: object):
    edit(copy, lambda about: about.update(thresholds=told))
    with pytest.raises(Refused, match=r"config.json (cannot be used|does not describe a checkpoint)"):
        load(copy, CPU)
