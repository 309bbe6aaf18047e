from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.masks import encode_colours
from mask2iv_ros.training.autoencoder import AutoencoderExperiment, Pool, fit, gather, train_autoencoder

FEW = AutoencoderExperiment(
    size=(16, 24), frames=4, channels=4, width=32, text_width=16, steps=25, batch=8, rate=3e-3, pool=20
)


@pytest.fixture(scope="module")
def pool(data: Path) -> Pool:
    return gather(LabelledDataset.open(data), FEW.size, FEW.pool)


def fitted(pool: Pool, folder: Path, **change: object) -> tuple[PatchAutoencoder, list[float]]:
    torch.manual_seed(0)
    model = PatchAutoencoder(channels=4, width=32)
    return model, fit(model, pool, replace(FEW, **change), folder)


def test_the_pool_takes_as_much_of_every_episode(data: Path):
    dataset = LabelledDataset.open(data)
    everything = gather(dataset, (16, 24), 100)
    assert everything.frames.shape == (20, 16, 24, 3)
    episode = dataset.read(1)
    np.testing.assert_array_equal(everything.frames[4:8], episode.video)
    np.testing.assert_array_equal(everything.labels[4:8], episode.labels)
    assert len(gather(dataset, (16, 24), 10).frames) == 10
    assert len(gather(dataset, (16, 24), 2).frames) == 3  # one of every other episode
    assert gather(dataset, (8, 8), 5).labels.shape == (5, 8, 8)


def test_training_mends_what_the_principal_components_leave_out(pool: Pool, tmp_path: Path):
    pictures = to_unit(np.concatenate([pool.frames, encode_colours(pool.labels)]))
    errors = []
    for steps in (1, 60):
        model, losses = fitted(pool, tmp_path / str(steps), steps=steps)
        assert len(losses) == steps
        with torch.no_grad():
            latent = model.encode(pictures)
            errors.append((model.decode(latent) - pictures).square().mean().item())
        assert latent.std(0).mean() < 2
    assert errors[1] < 0.8 * errors[0]
    events = EventAccumulator(str(tmp_path / "60"))
    events.Reload()
    assert [point.value for point in events.Scalars("loss")] == pytest.approx(losses[::10])


def test_the_seed_decides_the_training(pool: Pool, tmp_path: Path):
    runs = [fitted(pool, tmp_path, steps=2, seed=seed) for seed in (0, 0, 1)]
    (one, first), (two, again), (_, other) = runs
    assert first == again != other
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_it_begins_a_checkpoint_that_stages_are_added_to(data: Path, tmp_path: Path):
    train_autoencoder(replace(FEW, steps=2), data, tmp_path / "mine", tmp_path / "work")
    config = checkpoints.read_config(tmp_path / "mine")
    assert (config.name, config.frames, config.size, config.fps) == ("mine", 4, (16, 24), 10.0)
    assert not config.stages
    parts = checkpoints.load(tmp_path / "mine", torch.device("cpu"), stages=())
    one, other = parts.text_encoder.encode(["push the square to the left", "push the square to the right"])
    assert one.shape[1] == 16
    assert (one - other).abs().max() > 0.1
    assert parts.autoencoder.config.channels == 4
    with pytest.raises(Refused, match="mine exists; expected another folder"):
        train_autoencoder(FEW, data, tmp_path / "mine", tmp_path / "work")


def test_without_text_there_is_no_text_encoder(data: Path, tmp_path: Path):
    train_autoencoder(replace(FEW, steps=1, text_width=None), data, tmp_path / "mine", tmp_path / "work")
    assert checkpoints.load(tmp_path / "mine", torch.device("cpu"), stages=()).text_encoder is None


def test_a_loss_that_is_not_finite_ends_the_training(pool: Pool, tmp_path: Path):
    torch.manual_seed(0)
    model = PatchAutoencoder(channels=4, width=32)
    model.decoder[-2].weight.data.fill_(float("inf"))
    with pytest.raises(Refused, match=r"the loss of step 1 is (nan|inf); expected a rate below"):
        fit(model, pool, FEW, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch": 1},
        {"pool": 0},
        {"frames": 1},
        {"seed": -1},
        {"size": (16, 20)},
        {"channels": 193},
        {"width": 40},
        {"text_width": 20},
        {"rate": 0.0},
        {"rate": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match=f"{next(iter(change))} is .*; expected"):
        AutoencoderExperiment(**change)
