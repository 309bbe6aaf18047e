from pathlib import Path

import numpy as np
import torch

from mask2iv_ros.ablation.measure import held_out_clips, imagine
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.coding import Coder
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.scene import Goal, Scene, Trajectory
from mask2iv_ros.training.order import seed_at

CPU = torch.device("cpu")


def test_a_row_makes_what_a_user_of_its_checkpoint_gets(data: Path, base: Path):
    imaginer = Imaginer.load(base, "cpu")
    checkpoint = checkpoints.load(base, CPU, stages=("video",))
    coder = Coder(checkpoint, CPU)
    for number, clip in enumerate(held_out_clips(data, None, (16, 24))):
        made = imagine(checkpoint, coder, clip, 5, number, CPU)
        again = imaginer.imagine(
            Scene(clip.video[0], clip.labels[0]),
            Goal(clip.goal_mask),
            seed=seed_at(5, number),
            rollout_id="r",
            trajectory=Trajectory(clip.labels, "edited"),
        )
        np.testing.assert_array_equal(made, again.video)


def test_clips_are_measured_at_the_size_that_is_trained_on(data: Path):
    whole = held_out_clips(data, 2, (16, 24))
    assert [len(held_out_clips(data, count, (16, 24))) for count in (None, 2, 1)] == [3, 2, 1]
    half = held_out_clips(data, 2, (8, 16))
    assert half[0].id == whole[0].id
    assert (half[0].video.shape, half[0].labels.shape, half[0].goal_mask.shape) == ((4, 8, 16, 3), (4, 8, 16), (8, 16))
    assert set(np.unique(half[0].labels)) == {0, 1, 2}
    assert half[0].goal_mask.any()
