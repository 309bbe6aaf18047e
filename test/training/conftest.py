from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.clips import Clip, save_clips
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.training.contact import RegionWeights
from mask2iv_ros.training.latents import LatentClips, encode_clips

FRAMES, HEIGHT, WIDTH = 4, 16, 24


def moving_square(seed: int) -> Clip:
    """A red bar that pushes a green square to the right, on grey."""
    rng = np.random.default_rng(seed)
    top, left, stride = rng.integers(0, 10), rng.integers(5, 8), rng.integers(2, 4)
    labels = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    for frame in range(FRAMES):
        right = left + frame * stride
        labels[frame, top : top + 5, right : right + 5] = 2
        labels[frame, top + 1 : top + 4, right - 5 : right] = 1
    video = np.full((*labels.shape, 3), 120, np.uint8)
    video[labels == 1], video[labels == 2] = (190, 40, 40), (40, 170, 60)
    video += rng.integers(0, 20, video.shape, np.uint8)
    return Clip(video, labels, labels[-1] == 2, "slide", seed, "slide the square", 10.0)


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    return [moving_square(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    save_clips(folder / "slide-train-000000.safetensors", clips)
    save_clips(folder / "slide-validation-000000.safetensors", [moving_square(1_000_000)])
    return folder


@pytest.fixture(scope="session")
def autoencoder() -> PatchAutoencoder:
    torch.manual_seed(0)
    model = PatchAutoencoder(channels=4, width=32)
    model.set_principal_components(torch.rand(500, 192) * 2 - 1)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def latents(autoencoder: PatchAutoencoder, clips: list[Clip]) -> LatentClips:
    return encode_clips(autoencoder, clips, RegionWeights(), (3,), seed=0)
