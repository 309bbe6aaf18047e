import torch

from mask2iv_ros.generator.conditioning import beside_first_frame, goal_slots


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
