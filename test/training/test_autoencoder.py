import numpy as np
import pytest
import torch

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.training.autoencoder import AutoencoderTraining, train_autoencoder


def train(clips: list[Clip], steps: int, seed: int = 0) -> tuple[PatchAutoencoder, list[float]]:
    torch.manual_seed(0)
    model = PatchAutoencoder(channels=4, width=32)
    losses = train_autoencoder(model, clips, AutoencoderTraining(steps, batch=8, rate=3e-3, seed=seed), progress=False)
    return model.requires_grad_(False), losses


def test_training_lowers_the_loss_and_ends_with_unit_latents(clips: list[Clip]):
    model, losses = train(clips, 25)
    assert len(losses) == 25
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    latent = model.encode(to_unit(np.concatenate([clip.video for clip in clips])))
    assert 0.2 < latent.std() < 3


def test_the_seed_decides_the_training(clips: list[Clip]):
    (one, first), (two, again), (_, other) = train(clips, 2), train(clips, 2), train(clips, 2, seed=1)
    assert first == again != other
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": 1}, {"rate": 0.0}, {"rate": float("nan")}])
def test_settings_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match="expected"):
        AutoencoderTraining(**change)
