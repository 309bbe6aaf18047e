from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.ablation.plan import Ablation
from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.training.experiment import Experiment, read_experiment

SIZE, FRAMES = (16, 24), 4
SHIPPED = Path(__file__).parents[2] / "config" / "experiments" / "ablation_stage2.yaml"
SMALL = [
    f"data.size={list(SIZE)}",
    f"data.windows.frames={FRAMES}",
    "network.widths=[16]",
    "network.head_width=16",
    "sampling.steps=2",
    "optimiser.warm_up=1",
    "optimiser.steps=6",
    "log.save=1",
    "log.windows=2",
]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn clips to learn from, two to validate on and three to measure on."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
        first = SPLITS[split].seeds.start
        write_clips(root / split, [replace(tiny_clip(seed, SIZE, FRAMES), seed=first + seed) for seed in range(count)])
    return root


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with both stages."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("base") / "base", SIZE, FRAMES)


@pytest.fixture(scope="session")
def full() -> Experiment:
    """The shipped experiment, made small."""
    return read_experiment(SHIPPED, SMALL)


@pytest.fixture(scope="session")
def settings() -> list[str]:
    """What makes the shipped experiment small, as arguments of the command."""
    return [word for change in SMALL for word in ("--set", change)]


@pytest.fixture
def plan(data: Path, base: Path, full: Experiment, tmp_path: Path) -> Callable[..., Ablation]:
    """Makes a small ablation."""

    def make(**changes: object) -> Ablation:
        return Ablation(data, tmp_path / "out", full, str(base), **({"device": "cpu", "workers": 1} | changes))

    return make


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
