import time

import pytest
import torch

from mask2iv_ros.bench.measure import Cost, count_tflop, measure


def test_operations_are_counted():
    a = torch.empty(100, 200, device="meta")
    assert count_tflop(lambda: a @ a.T) == pytest.approx(2 * 100 * 200 * 100 / 1e12)


def test_the_first_run_warms_up_and_the_median_counts():
    runs = iter([0.2, 0.01, 0.02, 0.15])
    cost = measure("sleep", lambda: time.sleep(next(runs)), 1.0, torch.device("cpu"), repeats=3, calls=7)
    assert cost.first >= 0.2
    assert 0.01 <= cost.fastest < 0.02 <= cost.seconds < 0.15
    assert (cost.name, cost.calls, cost.memory) == ("sleep", 7, None)


def test_the_floor_is_the_time_at_peak():
    cost = Cost("work", 1, seconds=0.5, fastest=0.4, first=1.0, tflop=100.0, memory=None)
    assert cost.speed == 200
    assert cost.share(400.0) == 0.5
    assert cost.share(None) is None
