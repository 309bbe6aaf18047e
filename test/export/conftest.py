import importlib.util
import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def bench_script() -> Path:
    return Path(__file__).parents[2] / "bench/sigkill_dataset.py"


@pytest.fixture(scope="session")
def make_rollout(bench_script):
    """Return the made-up rollouts of the benchmark: `make_rollout(number, size=..., ...)`."""
    spec = importlib.util.spec_from_file_location("sigkill_dataset", bench_script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rollout


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a dataset as a user would, with nothing left in the user's cache."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def load(root):
        from lerobot.datasets import LeRobotDataset

        return LeRobotDataset("mask2iv/test", root=root, video_backend="pyav")

    return load
