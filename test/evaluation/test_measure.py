from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.measure import Measured, measure, summarise
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
    for method in ("stage 2, true masks", "repeat first frame"):
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
