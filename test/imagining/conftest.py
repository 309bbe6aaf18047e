import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.actions.settings import LabellerExperiment, NetworkSettings
from mask2iv_ros.actions.train import train_labeller
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
    """Six drawn clips with states and actions."""
    root = tmp_path_factory.mktemp("robot") / "slide"
    clips = [replace(tiny_clip(seed), fps=8.0) for seed in range(6)]
    values = np.random.default_rng(0).normal(size=(6, 2, 4, 2)).astype(np.float32)
    write_clips(root, clips, ROBOT, [RobotColumns(*pair) for pair in values])
    return root


@pytest.fixture(scope="session")
def labeller(robot_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the six clips for two steps."""
    network = NetworkSettings((32, 64), chunk=2, seen=3, widths=(8, 16), keypoints=4, layers=1, heads=1)
    out = tmp_path_factory.mktemp("labeller") / "labeller"
    train_labeller(LabellerExperiment(network, steps=2, batch=2, span=4), robot_source, out, state=True)
    return out
