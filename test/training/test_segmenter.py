import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.scoring.segmenter import Segmenter
from mask2iv_ros.scoring.verdict import Thresholds
from mask2iv_ros.training.imagined import Look
from mask2iv_ros.training.segmenter import Clips, SegmenterExperiment, evaluate, fit, gather, train_segmenter

SIZE = (16, 24)
FEW = SegmenterExperiment(
    widths=(16, 24), head_width=8, steps=80, batch=8, rate=5e-3, pool=20, held_out=0.2, look=Look(noise=0.0)
)


@pytest.fixture(scope="module")
def clips(data: Path) -> Clips:
    return gather(LabelledDataset.open(data), SIZE, 20, [0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def autoencoder(small_base: Path) -> torch.nn.Module:
    return checkpoints.load(small_base, torch.device("cpu"), stages=()).autoencoder


def fresh(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(FEW.widths, FEW.head_width)


def test_clips_are_frames_of_every_episode(data: Path, clips: Clips):
    assert [len(rows) for rows in clips.episodes] == [4] * 5
    episode = LabelledDataset.open(data).read(1)
    np.testing.assert_array_equal(clips.frames[4:8], episode.video)
    np.testing.assert_array_equal(clips.labels[4:8], episode.labels)
    few = gather(LabelledDataset.open(data), SIZE, 2, [3, 4])
    assert [len(rows) for rows in few.episodes] == [2, 2]
    np.testing.assert_array_equal(few.frames[0], clips.frames[12])
    np.testing.assert_array_equal(few.frames[1], clips.frames[15])


def test_training_finds_arm_and_object_again(clips: Clips, autoencoder: torch.nn.Module, tmp_path: Path):
    model = fresh()
    before = evaluate(model.eval(), clips, autoencoder, FEW)
    losses = fit(model.train(), clips, autoencoder, FEW, tmp_path)
    after = evaluate(model.eval(), clips, autoencoder, FEW)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    assert set(after) == {"interactor", "object", "interactor, imagined look", "object, imagined look"}
    assert after["interactor"] > before["interactor"] + 0.3
    assert after["object"] > 0.6
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == FEW.steps // FEW.every


def test_the_seed_decides_the_training(clips: Clips, autoencoder: torch.nn.Module, tmp_path: Path):
    one, again, other = (
        fit(fresh(), clips, autoencoder, replace(FEW, steps=2, seed=seed), tmp_path) for seed in (0, 0, 1)
    )
    assert one == again != other


def test_it_is_added_to_a_checkpoint_and_old_thresholds_go(data: Path, tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "mine", SIZE)
    sha256 = checkpoints.load(folder, torch.device("cpu")).sha256
    checkpoints.set_thresholds(folder, Thresholds(), sha256)
    figures = train_segmenter(replace(FEW, steps=1), data, folder, tmp_path / "work")
    assert all(0 <= value <= 1 for value in figures.values())
    last = json.loads((tmp_path / "work/log.jsonl").read_text().splitlines()[-1])
    assert last["held-out IoU, object"] == figures["object"]
    found = checkpoints.load(folder, torch.device("cpu"))
    assert tuple(found.segmenter.config.widths) == FEW.widths
    assert found.config.thresholds is None


def test_held_out_episodes_are_not_learned_from(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_tiny_checkpoint(tmp_path / "mine", SIZE)
    seen: list[list[int]] = []

    def note(dataset: LabelledDataset, size: tuple[int, int], count: int, episodes: list[int]) -> Clips:
        seen.append(episodes)
        return gather(dataset, size, count, episodes)

    monkeypatch.setattr("mask2iv_ros.training.segmenter.gather", note)
    train_segmenter(replace(FEW, steps=1), data, folder, tmp_path / "work")
    learned, held_out = seen
    assert sorted(learned + held_out) == [0, 1, 2, 3, 4]
    assert len(held_out) == 1
    train_segmenter(replace(FEW, steps=1), data, folder, tmp_path / "work", validation=data)
    assert seen[2:] == [[0, 1, 2, 3, 4]] * 2


def test_what_cannot_be_learned_from_is_refused(clips: Clips, autoencoder, data: Path, tmp_path: Path):
    bare = replace(clips, labels=np.zeros_like(clips.labels))
    with pytest.raises(Refused, match="none of 20 frames shows an arm and an object"):
        fit(fresh(), bare, autoencoder, FEW, tmp_path)
    folder = write_tiny_checkpoint(tmp_path / "odd", (24, 24))
    deep = replace(FEW, widths=(8, 8, 8, 8), head_width=8)
    with pytest.raises(Refused, match=r"makes pictures of \(24, 24\); expected multiples of 16"):
        train_segmenter(deep, data, folder, tmp_path / "work")
    model = fresh()
    torch.nn.init.constant_(model.leave[2].weight, float("inf"))
    with pytest.raises(Refused, match=r"the loss of step 1 is (nan|inf); expected a rate below"):
        fit(model, clips, autoencoder, FEW, tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"batch": 0}, {"pool": 1}, {"rate": float("nan")}, {"weights": (0.0, 1.0, 1.0)}, {"held_out": 1.0}],
)
def test_settings_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match=f"{next(iter(change))} (is|are) .*; expected"):
        SegmenterExperiment(**change)
