from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from mask2iv_ros.generator.checkpoint import add_stage, load
from mask2iv_ros.generator.coding import Coder
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.scene import Goal, Scene, Trajectory


def test_a_stage_two_that_knows_nothing_yet_pastes(tmp_path: Path, scene: Scene, goal: Goal):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    checkpoint = load(folder, torch.device("cpu"))
    about = replace(checkpoint.config.stages["video"], origin="pasted", scale=(1e-3,) * 8)
    new = SpaceTimeUNet(32, 8, 4, widths=(16, 32), depth=1, head_width=16)
    add_stage(folder, "video", Stage(new, about.schedule, scale=torch.full((8,), 1e-3)), about, torch.float16)
    imaginer = Imaginer.load(folder, "cpu")
    labels = np.stack([np.roll(scene.labels, 3 * frame, axis=1) for frame in range(4)])
    made = imaginer.imagine(scene, goal, seed=0, rollout_id="r", trajectory=Trajectory(labels, "edited")).video
    coder = Coder(load(folder, torch.device("cpu")), torch.device("cpu"))
    pasted = paste_and_move(scene.image, labels)
    moves = (pasted != scene.image).any(-1).astype(np.uint8)
    # The camera's own pixels give way within three pixels of what was pasted.
    rests = np.stack([cv2.dilate(frame, np.ones((7, 7), np.uint8)) for frame in moves]) == 0
    assert 0.2 < rests[1:].mean() < 0.99
    assert np.abs(made.astype(int) - pasted)[rests].max() <= 2
    decoded = coder.decode(coder.encode(pasted))[0]
    assert np.abs(made.astype(int) - decoded)[moves > 0].max() <= 2
    assert np.abs(decoded.astype(int) - pasted).max() > 20
    # As with one rollout alone, so in a batch.
    both = imaginer.imagine_many(scene, [goal, goal], [0, 1], ["a", "b"], [Trajectory(labels), Trajectory(labels)])
    assert np.abs(both[0].video.astype(int) - made).max() <= 1
