"""TT-Gen learns what words mean: two instructions for the same first frame, in places never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Scene

SIZE, FRAMES = (24, 48), 4
WAYS = {"right": 1, "left": -1}


def clip(place: int, way: str) -> Clip:
    """Draw an arm from above that moves a square; the first frame does not tell which way."""
    rng = np.random.default_rng(place)
    top, left, distance = (int(rng.integers(*bounds)) for bounds in ((8, 16), (18, 24), (9, 13)))
    labels = np.zeros((FRAMES, *SIZE), np.uint8)
    for frame, picture in enumerate(labels):
        x = left + WAYS[way] * round(distance * frame / (FRAMES - 1))
        picture[top : top + 6, x : x + 6] = Role.OBJECT
        picture[:top, x + 1 : x + 5] = Role.INTERACTOR
    video = np.full((*labels.shape, 3), 120, np.uint8)
    video[labels == Role.INTERACTOR], video[labels == Role.OBJECT] = (180, 60, 60), (60, 180, 60)
    seed = 2 * place + (way == "left")
    return Clip(video, labels, labels[-1] == Role.OBJECT, "slide", seed, f"push the square to the {way}", 10.0)


def settings(**changes: object) -> list[str]:
    return [word for key, value in changes.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def column(mask: np.ndarray) -> float:
    return float(np.argwhere(mask).mean(0)[1])


def test_two_instructions_move_the_object_apart(tmp_path: Path):
    write_clips(tmp_path / "clips", [clip(place, way) for place in range(24) for way in WAYS])
    common = ["--data", str(tmp_path / "clips"), "--threads", "1"]
    small = settings(size=list(SIZE), frames=FRAMES, channels=48, width=32, text_width=16, steps=120, rate=2e-3)
    begin = ["--config", "default_autoencoder", "--out", str(tmp_path / "small"), "--work", str(tmp_path / "ae")]
    assert main(["train", "autoencoder", *begin, *common, *small]) == 0
    one = settings(
        goals=0.0,
        dropout=0.0,
        sampling__text_guidance="null",
        data__size=list(SIZE),
        data__windows__frames=FRAMES,
        network__widths=[64],
        network__depth=1,
        network__head_width=16,
        optimiser__steps=400,
        optimiser__rate=4e-3,
        optimiser__warm_up=10,
        optimiser__batch=8,
        optimiser__micro=8,
        optimiser__average="null",
        optimiser__precision="fp32",
        log__sample=0,
        log__save=1000,
        log__windows=4,
    )
    folders = ["--base", str(tmp_path / "small"), "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert main(["train", "stage1", "--config", "default_stage1", *common, *folders, "--device", "cpu", *one]) == 0
    made = checkpoints.load(tmp_path / "out", torch.device("cpu"), stages=("trajectory",))
    imaginer = Imaginer(made, torch.device("cpu"))
    moved = []
    for place in range(100, 112):
        held_out = clip(place, "right")
        scene, start = Scene(held_out.video[0], held_out.labels[0]), column(held_out.labels[0] == Role.OBJECT)
        goals = [Goal(None, f"push the square to the {way}") for way in WAYS]
        ends = [one.labels[-1] == Role.OBJECT for one in imaginer.trajectories(scene, goals, [0, 0])]
        assert all(end.any() for end in ends)
        moved.append([column(end) - start for end in ends])
    right, left = np.array(moved).T
    assert np.mean(right > left) >= 0.9, moved
    assert right.mean() > 3, moved
    assert left.mean() < -3, moved
