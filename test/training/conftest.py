import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import write_tiny_dataset
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.checkpoint import Checkpoint, CheckpointConfig, StageConfig
from mask2iv_ros.generator.dynamicrafter.autoencoder import KLAutoencoder
from mask2iv_ros.generator.dynamicrafter.resampler import Resampler
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.generator.small_text import small_text_encoder
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.generator.tiny import SMALL_SCHEDULE, write_tiny_checkpoint
from mask2iv_ros.training.batch import Batcher
from mask2iv_ros.training.experiment import Data, Experiment, Log, Network, Optimiser
from mask2iv_ros.training.latents import LatentEpisodes, encode_dataset
from mask2iv_ros.training.windows import LatentWindows, Windows

os.environ["HF_HUB_OFFLINE"] = "1"
SIZE, FRAMES = (16, 24), 4


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of five drawn clips, one window each."""
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "clips", 5, SIZE, FRAMES)


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the small default's classes, both stages in it."""
    folder = tmp_path_factory.mktemp("small") / "small"
    return write_tiny_checkpoint(folder, SIZE, FRAMES, conditions=("mask", "text"))


@pytest.fixture(scope="session")
def full_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the full-size model's classes, as a converted DynamiCrafter is, but tiny."""
    folder = tmp_path_factory.mktemp("full") / "full"
    torch.manual_seed(0)
    text = small_text_encoder(["push the square to the left"], width=16, longest=12, vocabulary=300)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=8
    )
    autoencoder = KLAutoencoder(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 32),
        layers_per_block=1,
    )
    parts = {
        "autoencoder": autoencoder,
        "text_encoder": text.model,
        "tokenizer": text.tokenizer,
        "image_encoder": CLIPVisionModel(vision),
    }
    denoiser = DynamiCrafterUNet(
        block_out_channels=(32, 64),
        layers_per_block=1,
        attention_levels=1,
        cross_attention_dim=16,
        attention_head_dim=16,
        image_tokens=2,
    )
    projector = Resampler(image_width=16, width=16, output_width=16, depth=1, heads=1, head_width=16, tokens=2 * FRAMES)
    stage = Stage(denoiser, NoiseSchedule(), projector)
    checkpoints.create(folder, CheckpointConfig("full", FRAMES, SIZE, 8.0, {}), parts, torch.float32)
    sampling = Sampling(steps=2)
    checkpoints.add_stage(folder, "base", stage, StageConfig(NoiseSchedule(), sampling), torch.float32)
    return folder


def experiment(stage: str, **changes: object) -> Experiment:
    """A tiny experiment of the small default's kind; `changes` replace fields, a dict some of a field's own."""
    plain = Experiment(
        stage=stage,
        goals=0.5 if stage == "trajectory" else None,
        optimiser=Optimiser(steps=6, batch=4, micro=4, rate=3e-3),
        data=Data(size=SIZE, windows=Windows(frames=FRAMES), held_out=0.2),
        network=Network(widths=(16,), depth=1, head_width=16),
        schedule=SMALL_SCHEDULE,
        sampling=Sampling(steps=2, eta=0.0, guidance=1.0),
        change=True,
        dropout=0.0,
        log=Log(every=1, save=3, windows=4, sample=0),
    )
    merged = {
        name: replace(getattr(plain, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return replace(plain, **merged)


def from_base(stage: str, **changes: object) -> Experiment:
    """The same for the full-size model's kind, whose base gives network, schedule and sampling."""
    return experiment(stage, network=None, schedule=None, sampling=None, change=False, **changes)


@dataclass(frozen=True)
class Ready:
    """A base, encoded windows of the dataset, and experiments to train with."""

    base: Checkpoint
    latents: LatentEpisodes
    windows: LatentWindows

    def batcher(self, asked: Experiment) -> Batcher:
        return Batcher(asked, self.base.autoencoder, self.latents.no_text, self.latents.no_image, torch.device("cpu"))


def _ready(folder: Path, data: Path, source: tuple[str, ...]) -> Ready:
    base = checkpoints.load(folder, torch.device("cpu"), stages=source)
    dataset = LabelledDataset.open(data)
    latents = encode_dataset(dataset, base.autoencoder, base.text_encoder, base.image_encoder, SIZE, "cpu")
    return Ready(base, latents, LatentWindows(latents, Windows(frames=FRAMES)))


@pytest.fixture(scope="session")
def small(small_base: Path, data: Path) -> Ready:
    return _ready(small_base, data, ())


@pytest.fixture
def full(full_base: Path, data: Path) -> Ready:
    """Loaded for every test: its stage is trained in place."""
    return _ready(full_base, data, ("base",))


@pytest.fixture(scope="session")
def tiny_experiment() -> Callable[..., Experiment]:
    return experiment


@pytest.fixture(scope="session")
def base_experiment() -> Callable[..., Experiment]:
    return from_base


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
