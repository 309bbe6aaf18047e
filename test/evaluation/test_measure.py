from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import i3d, lpips
from mask2iv_ros.evaluation.measure import Measured, distances, measure, summarise
from mask2iv_ros.evaluation.networks import Networks
from mask2iv_ros.evaluation.video_distance import VideoFeatures
from mask2iv_ros.evaluation.weights import MISSING
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.tiny import write_tiny_checkpoint


@pytest.fixture(scope="module")
def imaginer(tmp_path_factory: pytest.TempPathFactory) -> Imaginer:
    return Imaginer.load(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), steps=1), "cpu")


@pytest.fixture
def measured(imaginer: Imaginer, clip: Clip) -> list[Measured]:
    other = replace(clip, task="push", seed=1, video=clip.video[::-1].copy())
    return measure(imaginer, [clip, other], [clip], seed=5)


def test_every_clip_is_imagined_both_ways(measured: list[Measured], imaginer: Imaginer, clip: Clip):
    first, second = measured
    assert (first.chained.seed, second.chained.seed) == (5, 6)
    assert first.chained.trajectory.source == "predicted"
    assert first.guided.trajectory.source == "edited"
    np.testing.assert_array_equal(first.guided.trajectory.labels, clip.labels)
    assert first.chained.id != first.guided.id


def test_what_was_measured_is_there_to_be_shown(measured: list[Measured], clip: Clip):
    first = measured[0]
    np.testing.assert_array_equal(first.videos["stage 2, stage 1's masks"], first.chained.video)
    np.testing.assert_array_equal(first.videos["stage 2, true masks"], first.guided.video)
    np.testing.assert_array_equal(first.labels["stage 1"], first.chained.trajectory.labels)
    assert set(first.figures) == {*first.videos, *first.labels}
    assert {video.shape for video in first.videos.values()} == {clip.video.shape}
    assert {labels.shape for labels in first.labels.values()} == {clip.labels.shape}


def test_baselines_stand_beside_the_generator(measured: list[Measured]):
    figures = measured[0].figures
    # The one training clip is the first test clip itself.
    assert figures["nearest training clip, by true masks"]["psnr"] == 99
    assert figures["nearest training clip, by goal"]["iou_object_last"] == 1
    assert figures["linear translation"]["iou_object"] == pytest.approx(1)
    assert figures["static masks"]["iou_object_last"] == 0
    assert figures["static masks"]["iou_interactor"] == 1
    assert figures["stage 2, stage 1's masks"]["seconds"] > 0
    assert figures["stage 1"].keys() == {
        "iou_interactor",
        "iou_interactor_last",
        "iou_object",
        "iou_object_last",
        "goal_iou",
    }
    for method in ("stage 2, true masks", "repeat first frame", "paste and move, by true masks"):
        assert 3 < figures[method]["psnr"] < 30
        assert 3 < figures[method]["psnr_foreground"] < 30


def test_a_summary_is_by_task_and_over_all(measured: list[Measured]):
    summary = summarise(measured)
    assert list(summary) == ["all", "push", "slide"]
    one, two = (row.figures["repeat first frame"]["psnr"] for row in measured)
    mean, low, high = summary["all"]["repeat first frame"]["psnr"]
    assert mean == pytest.approx((one + two) / 2)
    assert low <= mean <= high
    assert summary["slide"]["repeat first frame"]["psnr"][0] == pytest.approx(one)
    assert set(summary["all"]) == set(measured[0].figures)


@pytest.fixture(scope="module")
def networks(flax_lpips: dict, flax_i3d: dict) -> Networks:
    """Untrained ones, of the true classes."""
    states = [
        {name: torch.from_numpy(value) for name, value in module.from_flax(arrays).items()}
        for module, arrays in ((lpips, flax_lpips), (i3d, flax_i3d))
    ]
    return Networks(lpips.Lpips(states[0]), VideoFeatures(states[1]))


def test_learned_figures_stand_beside_the_others(tmp_path: Path, networks: Networks):
    imaginer = Imaginer.load(write_tiny_checkpoint(tmp_path / "nine", frames=9, steps=1), "cpu")
    clips = [tiny_clip(seed, frames=9) for seed in (0, 1)]
    measured = measure(imaginer, clips, clips, networks=networks)
    apart, missing = distances(measured, networks), networks.missing((9, 32, 48))
    assert missing.keys() == {"video_similarity", "text_similarity"}
    summary = summarise(measured, apart, missing)["all"]
    assert list(summary)[:6] == list(measured[0].videos)
    for method in measured[0].videos:
        assert summary[method]["lpips"][0] >= 0
        assert "--clip" in summary[method]["video_similarity"]
        value, low, high = summary[method]["fvd"]
        assert 0 <= low <= value <= high
    # The training clips are the test clips.
    assert summary["nearest training clip, by true masks"]["lpips"][0] == 0
    assert summary["nearest training clip, by true masks"]["fvd"][0] == pytest.approx(0, abs=1e-6)
    assert summary["repeat first frame"]["fvd"][0] > 0
    assert "fvd" not in summary["stage 1"]
    assert "video_similarity" not in summary["static masks"]


def test_what_cannot_be_measured_says_why(measured: list[Measured], networks: Networks):
    missing = Networks().missing((4, 32, 48))
    assert missing["lpips"] == missing["fvd"] == MISSING
    for method, row in summarise(measured, distances(measured, Networks()), missing)["slide"].items():
        assert row.get("lpips") == (MISSING if method in measured[0].videos else None)
    assert networks.missing((4, 16, 48))["fvd"] == "not measured: videos have 4 frames; I3D needs at least 9"
    assert networks.missing((4, 16, 48))["lpips"].startswith("not measured: frames are 48 x 16 pixels; LPIPS needs")
    assert distances(measured, networks) == {}


def test_networks_are_those_whose_weights_are_there(tmp_path: Path):
    assert Networks.load(tmp_path) == Networks()
    for name in ("lpips.safetensors", "lpips.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(Refused, match=r"lpips\.safetensors is not what"):
        Networks.load(tmp_path)
    with pytest.raises(Refused, match=r"has no config\.json"):
        Networks.load(tmp_path / "none", clip=tmp_path)
