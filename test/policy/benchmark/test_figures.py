import numpy as np
import pytest

from mask2iv_ros.policy.benchmark.figures import bootstrapped, difference, summary
from mask2iv_ros.policy.benchmark.plan import Run
from mask2iv_ros.policy.benchmark.results import Result


def _result(arm: str, seed: int, successes: list[bool], distance: float = 0.1, task: str = "push") -> Result:
    rows = [
        {"seed": n, "scene": n, "success": one, "distance_m": distance, "goal_iou": 0.5}
        for n, one in enumerate(successes)
    ]
    return Result(Run(task, arm, seed), {"losses": [], "episodes": 3, "frames": 48}, {"episodes": rows})


def test_the_interval_holds_what_drawing_seeds_and_scenes_gives():
    # With one seed only scenes vary: a share of 40 % of 100 scenes, whose standard error is known.
    table = np.zeros((1, 100))
    table[0, :40] = 1
    mean, low, high = bootstrapped([table])
    assert mean == pytest.approx(0.4)
    assert (low, high) == pytest.approx((0.4 - 1.96 * 0.049, 0.4 + 1.96 * 0.049), abs=0.012)
    # Seeds that differ widen it, though the scenes are the same.
    apart = np.stack([np.full(100, 0.2), np.full(100, 0.6)])
    assert bootstrapped([apart])[1:] == pytest.approx((0.2, 0.6))
    # Tasks count the same, however many scenes they have.
    assert bootstrapped([np.ones((2, 5)), np.zeros((1, 50))]) == pytest.approx((0.5, 0.5, 0.5))


def test_an_interval_that_ends_at_zero_does_not_leave_it_out():
    # Eight scenes gained and two lost: many draws weigh them equally, and floating point leaves 1e-15 of those.
    gained = [_result("imagined", seed, [True] * 8 + [False] * 2) for seed in range(3)]
    real = [_result("real", seed, [False] * 8 + [True] * 2) for seed in range(3)]
    found = difference([*real, *gained], "imagined", ["push"], "success")
    assert found.mean == pytest.approx((60, 0, 100))
    assert not found.decided


def test_arms_are_compared_on_the_same_seeds_and_scenes():
    results = [
        _result("real", 0, [True, False, False, False], 0.2),
        _result("real", 1, [True, False, False, False], 0.2),
        _result("imagined", 0, [True, True, False, False], 0.1),
        _result("imagined", 1, [True, True, True, False], 0.02),
        _result("imagined", 2, [False, False, False, False], 9.0),
    ]
    assert summary(results, "real", ["push"], "success")[0] == pytest.approx(25)
    assert summary(results, "imagined", ["push"], "success")[0] == pytest.approx(100 * 5 / 12)
    assert summary(results, "imagined", ["push"], "placed")[0] == pytest.approx(100 / 3)
    found = difference(results, "imagined", ["push"], "success")
    # The third seed has no counterpart.
    assert (found.better, found.worse, found.pairs) == (3, 0, 8)
    assert found.mean[0] == pytest.approx(100 * 3 / 8)
    nearer = difference(results, "imagined", ["push"], "distance_m")
    assert nearer.mean[0] == pytest.approx(-14)
    assert nearer.decided
    assert (nearer.better, nearer.worse) == (8, 0)
    same = difference(results, "imagined", ["push"], "goal_iou")
    assert same.mean == (0, 0, 0)
    assert not same.decided
    assert difference(results, "blind", ["push"], "success") is None
    assert summary(results, "real", ["push", "sweep"], "success") is None
