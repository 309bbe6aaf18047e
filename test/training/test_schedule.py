from itertools import pairwise

import pytest
import torch

from mask2iv_ros.training.schedule import warm_cosine


def rates(steps: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = warm_cosine(optimiser, steps)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_the_rate_warms_up_and_falls_to_nothing():
    found = rates(100)
    assert found[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert found[52] == pytest.approx(1.0)
    assert all(a > b for a, b in pairwise(found[4:]))
    assert 0 < found[-1] < 0.01


def test_a_single_step_has_the_whole_rate():
    assert rates(1) == [2.0]
