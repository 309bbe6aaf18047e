import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.scene import Goal, Scene
from mask2iv_ros.training.autoencoder import AutoencoderTraining
from mask2iv_ros.training.pair import PairTraining, train_pair
from mask2iv_ros.training.stages import StageTraining


def settings(clips: Path, work: Path, **change: object) -> PairTraining:
    whole = PairTraining(
        clips=clips,
        work=work,
        channels=4,
        widths=(32,),
        depth=1,
        sampling_steps=2,
        autoencoder=AutoencoderTraining(steps=2, batch=2),
        trajectory=StageTraining("trajectory", steps=2, batch=2),
        video=StageTraining("video", steps=2, batch=2),
    )
    return replace(whole, **change)


@pytest.fixture(scope="module")
def trained(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    assert train_pair(settings(clip_folder, folder / "work"), folder / "out", "mine") == folder / "out"
    return folder


def weights(folder: Path) -> dict[str, str]:
    return json.loads((folder / "config.json").read_text())["sha256"]


def test_what_was_trained_imagines(trained: Path, clips: list[Clip]):
    imaginer = Imaginer.load(trained / "out", "cpu")
    assert imaginer.name.startswith("mine@")
    assert (imaginer.frames, imaginer.size, imaginer.fps, imaginer.stage_steps) == (4, (16, 24), 10.0, 2)
    clip = clips[0]
    rollout = imaginer.imagine(Scene(clip.video[0], clip.labels[0]), Goal(clip.goal_mask), seed=0, rollout_id="r")
    assert rollout.video.shape == clip.video.shape
    # Hardly trained, it already repeats the first frame roughly, as its residual begins at zero.
    assert np.abs(rollout.video[0].astype(float) - clip.video[0]).mean() < 60


def test_a_second_run_makes_the_same_without_training(trained: Path, clip_folder: Path, tmp_path: Path):
    train_pair(settings(clip_folder, trained / "work"), tmp_path / "again", "mine")
    assert weights(tmp_path / "again") == weights(trained / "out")
    for stage in ("trajectory", "video"):
        assert len((trained / "work" / stage / "log.jsonl").read_text().splitlines()) == 1


def test_parts_trained_one_by_one_are_the_pair(trained: Path, clip_folder: Path, tmp_path: Path):
    apart = settings(clip_folder, tmp_path / "work")
    for part in ("autoencoder", "video", "trajectory"):
        assert train_pair(apart, tmp_path / "out", "mine", only=part) is None
        assert not (tmp_path / "out").exists()
        assert (tmp_path / "work" / part).is_dir()
    train_pair(apart, tmp_path / "out", "mine")
    assert weights(tmp_path / "out") == weights(trained / "out")


def test_an_autoencoder_that_does_not_fit_is_refused(trained: Path, clip_folder: Path, tmp_path: Path):
    work = shutil.copytree(trained / "work", tmp_path / "work")
    with pytest.raises(Refused, match="work/autoencoder has 4 channels; expected 5: use another work folder"):
        train_pair(settings(clip_folder, work, channels=5), tmp_path / "out", "mine")
    (file,) = (work / "autoencoder").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(Refused, match="work/autoencoder cannot be loaded"):
        train_pair(settings(clip_folder, work), tmp_path / "out", "mine")


def test_an_unknown_part_is_refused(clip_folder: Path, tmp_path: Path):
    with pytest.raises(Refused, match="part 'audio' is unknown; accepted are autoencoder, trajectory, video"):
        train_pair(settings(clip_folder, tmp_path / "work"), tmp_path / "out", "mine", only="audio")


def test_a_folder_without_clips_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match="has no train clips"):
        train_pair(settings(tmp_path, tmp_path / "work"), tmp_path / "out", "mine")


@pytest.mark.parametrize("change", [{"sampling_steps": 0}, {"channels": 193}, {"limit": 0}])
def test_settings_are_refused_before_hours_of_training(tmp_path: Path, change: dict):
    ((name, value),) = change.items()
    with pytest.raises(Refused, match=f"{name} is {value}; expected"):
        settings(tmp_path, tmp_path, **change)
