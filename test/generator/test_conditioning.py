import numpy as np
import torch

from mask2iv_ros.generator.conditioning import (
    Condition,
    beside_first_frame,
    goal_slots,
    stack,
    told_labels,
    without_masks,
)


def test_goal_slots_hold_the_first_masks_the_goal_and_zeros_between():
    initial, goal = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    slots = goal_slots(initial, goal, 6)
    assert slots.shape == (2, 3, 6, 4, 5)
    assert torch.equal(slots[:, :, 0], initial)
    assert torch.equal(slots[:, :, 5], goal)
    assert not slots[:, :, 1:5].any()


def test_without_a_goal_mask_the_last_slot_is_zero():
    initial = torch.randn(1, 2, 3, 3)
    slots = goal_slots(initial, None, 4)
    assert torch.equal(slots[:, :, 0], initial)
    assert not slots[:, :, 1:].any()


def test_the_first_frame_comes_before_the_masks_and_stands_in_every_frame():
    first, masks = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 4, 5)
    condition = beside_first_frame(first, masks)
    assert condition.shape == (2, 6, 6, 4, 5)
    for frame in range(6):
        assert torch.equal(condition[:, :3, frame], first)
    assert torch.equal(condition[:, 3:], masks)


def test_dropped_masks_leave_stage_one_the_scene_and_stage_two_nothing():
    masks = torch.randn(2, 3, 4, 2, 2)
    dropped = without_masks(masks, "trajectory")
    assert torch.equal(dropped[:, :, 0], masks[:, :, 0])
    assert not dropped[:, :, 1:].any()
    assert not without_masks(masks, "video").any()


def test_conditions_are_stacked_part_by_part():
    one, two = (Condition(torch.full((1, 2, 3, 1, 1), value), fps=torch.tensor([int(value)])) for value in (1.0, 2.0))
    both = stack([one, two])
    assert both.beside[:, 0, 0, 0, 0].tolist() == [1.0, 2.0]
    assert both.fps.tolist() == [1, 2]
    assert both.text is None
    assert both.image is None


def test_a_condition_changes_precision_but_not_its_whole_numbers():
    condition = Condition(torch.ones(1, 2, 3, 1, 1), text=torch.ones(1, 4, 5), fps=torch.tensor([24]))
    half = condition.to("cpu", torch.bfloat16)
    assert half.beside.dtype == half.text.dtype == torch.bfloat16
    assert half.fps.dtype == torch.int64
    assert half.image is None


def test_what_is_not_told_of_a_trajectory_is_background():
    labels = np.array([[[0, 1, 2], [255, 2, 1]]], np.uint8)
    told = {masks: told_labels(labels, masks) for masks in ("none", "interactor", "both")}
    assert {masks: one.tolist() for masks, one in told.items()} == {
        "none": [[[0, 0, 0], [255, 0, 0]]],
        "interactor": [[[0, 1, 0], [255, 0, 1]]],
        "both": labels.tolist(),
    }
    assert all(one.dtype == np.uint8 for one in told.values())
