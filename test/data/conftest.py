import os
from pathlib import Path

import pytest

from mask2iv_ros.data.tiny import write_tiny_dataset

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips with one split of four; tests copy it before they change it."""
    return write_tiny_dataset(tmp_path_factory.mktemp("clips") / "train")
