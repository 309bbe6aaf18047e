"""A checkpoint of the true classes, tiny and untrained: what tests of everything around it need."""

from __future__ import annotations

from pathlib import Path

import torch

from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.checkpoint import CheckpointConfig, StageConfig
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.generator.small_text import small_text_encoder
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.scoring.segmenter import Segmenter

# What the small default is trained and sampled by.
SMALL_SCHEDULE = NoiseSchedule(prediction="sample", rescale=None)


def write_tiny_checkpoint(
    folder: Path,
    size: tuple[int, int] = (32, 48),
    frames: int = 4,
    steps: int = 2,
    seed: int = 0,
    conditions: tuple[str, ...] = ("mask",),
    segmenter: bool = False,
) -> Path:
    """Write a checkpoint with random weights, less than a megabyte, and return its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        autoencoder = PatchAutoencoder(channels=8, width=32)
        autoencoder.set_principal_components(torch.randn(400, 192))
        parts = {"autoencoder": autoencoder}
        text_width = None
        if "text" in conditions:
            text = small_text_encoder(["push the puck to the left"], width=16, vocabulary=300)
            parts |= {"text_encoder": text.model, "tokenizer": text.tokenizer}
            text_width = 16
        stages = {}
        for name in ("trajectory", "video"):
            width = text_width if name == "trajectory" else None
            denoiser = SpaceTimeUNet(24, 8, frames, widths=(16, 32), depth=1, head_width=16, text_width=width)
            # A fresh network's branches end in zeros: it would imagine the first frame and read no text.
            torch.nn.init.normal_(denoiser.leave[-1].weight, std=0.1)
            for layer, weight in denoiser.named_parameters():
                if layer.endswith("text.out.weight"):
                    torch.nn.init.normal_(weight)
            stages[name] = Stage(denoiser, SMALL_SCHEDULE, scale=torch.ones(8))
    checkpoints.create(folder, CheckpointConfig("tiny", frames, size, 8.0, {}), parts, torch.float16)
    sampling = Sampling(steps=steps, eta=0.0, guidance=1.0)
    for name, stage in stages.items():
        told = conditions if name == "trajectory" else ()
        checkpoints.add_stage(
            folder, name, stage, StageConfig(SMALL_SCHEDULE, sampling, told, (1.0,) * 8), torch.float16
        )
    if segmenter:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            checkpoints.add_segmenter(folder, Segmenter(widths=(8, 16), head_width=8), torch.float16)
    return folder
