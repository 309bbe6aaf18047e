from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.scene import Goal, Scene


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 4 frames of 48 x 32 pixels, random weights, 2 steps a stage."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture
def scene() -> Scene:
    """An arm to the left of a thing, 48 x 32 pixels."""
    labels = np.zeros((32, 48), np.uint8)
    labels[4:28, 2:14] = 1
    labels[10:20, 18:28] = 2
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    return Scene(image, labels, stamp_ns=5, frame_id="optical")


@pytest.fixture
def goal() -> Goal:
    """The thing's place, 12 pixels further right."""
    mask = np.zeros((32, 48), np.bool_)
    mask[10:20, 30:40] = True
    return Goal(mask, "push it")
