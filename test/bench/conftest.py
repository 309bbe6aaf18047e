from pathlib import Path

import pytest

from mask2iv_ros.generator.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 4 frames of 48 x 32 pixels, random weights, 2 steps a stage, no guidance."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
