from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.measure import Measured, measure
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.tiny import write_tiny_checkpoint


def square_clip(seed: int, row: int = 8, column: int = 12, shift: int = 4) -> Clip:
    """A thing of 6 x 6 pixels that moves `shift` pixels right a frame, behind an arm that rests."""
    labels = np.zeros((4, 32, 48), np.uint8)
    labels[:, 4:28, 1:6] = 1
    for frame in range(4):
        left = column + shift * frame
        labels[frame, row : row + 6, left : left + 6] = 2
    video = np.random.default_rng(seed).integers(0, 256, (4, 32, 48, 3), np.uint8)
    return Clip(video, labels, labels[-1] == 2, "slide", seed, "slide it", 8.0)


@pytest.fixture
def clip() -> Clip:
    return square_clip(0)


@pytest.fixture(scope="session")
def measured_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Measured]:
    """Return what makes a clip of a task and a seed whose chained rollout has a foreground PSNR."""
    imaginer = Imaginer.load(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), steps=1), "cpu")
    (one,) = measure(imaginer, [square_clip(0)], [square_clip(1)])

    def make(task: str, seed: int, psnr_foreground: float, instruction: str = "slide it") -> Measured:
        figures = {method: dict(row) for method, row in one.figures.items()}
        figures["stage 2, stage 1's masks"]["psnr_foreground"] = psnr_foreground
        return replace(one, clip=replace(one.clip, task=task, seed=seed, instruction=instruction), figures=figures)

    return make
