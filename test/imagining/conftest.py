import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.export import ExportSettings, RobotColumns
from mask2iv_ros.generator.tiny import write_tiny_checkpoint

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(1)
ROBOT = ExportSettings(state=("x", "y"), action=("dx", "dy"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", steps=1)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn clips at the rate of the tiny checkpoint, without a robot's columns."""
    root = tmp_path_factory.mktemp("source") / "slide"
    write_clips(root, [replace(tiny_clip(seed), fps=8.0) for seed in range(6)])
    return root


@pytest.fixture(scope="session")
def robot_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn clips with states and actions."""
    root = tmp_path_factory.mktemp("robot") / "slide"
    clips = [replace(tiny_clip(seed), fps=8.0) for seed in range(3)]
    values = np.random.default_rng(0).normal(size=(3, 2, 4, 2)).astype(np.float32)
    write_clips(root, clips, ROBOT, [RobotColumns(*pair) for pair in values])
    return root
