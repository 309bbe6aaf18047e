"""A checkpoint of the true classes, tiny and untrained: what tests of everything around it need."""

from __future__ import annotations

from pathlib import Path

import torch

from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.checkpoint import CheckpointConfig, save
from mask2iv_ros.generator.denoiser import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage


def write_tiny_checkpoint(
    folder: Path, size: tuple[int, int] = (32, 48), frames: int = 4, steps: int = 2, seed: int = 0
) -> Path:
    """Write a checkpoint with random weights, a quarter of a megabyte, and return its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        autoencoder = PatchAutoencoder(channels=8, width=32)
        autoencoder.set_principal_components(torch.randn(400, 192))
        stages = {
            name: Stage(
                SpaceTimeUNet(
                    channels=8, condition_channels=16, frames=frames, widths=(16, 32), depth=1, head_width=16
                ),
                torch.ones(8),
            )
            for name in ("trajectory", "video")
        }
        for stage in stages.values():
            # A fresh network's last layer is zero: it would imagine nothing but the first frame.
            torch.nn.init.normal_(stage.denoiser.leave[-1].weight, std=0.1)
    config = CheckpointConfig(
        "tiny", frames, size, 8.0, ("mask",), steps, {name: [1.0] * 8 for name in ("trajectory", "video")}
    )
    save(folder, config, autoencoder, stages)
    return folder
