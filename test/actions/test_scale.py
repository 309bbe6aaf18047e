import numpy as np

from mask2iv_ros.actions.measure import Measured, baselines
from mask2iv_ros.actions.scale import Scale


def test_units_go_there_and_back_and_constant_columns_stay():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(3, 20, (50, 1)), np.full((50, 1), 0.7)], 1).astype(np.float32)
    scale = Scale.of([values[:20], values[20:]])
    assert scale.constant == [1]
    back, deviation = scale.estimate(scale.normalise(values), np.ones_like(values))
    np.testing.assert_allclose(back, values, rtol=1e-5)
    np.testing.assert_allclose(deviation[0], [values[:, 0].std(), 0], rtol=1e-5)


def test_calibration_stretches_what_is_too_small_and_makes_deviations_true():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 2, (4000, 1)).astype(np.float32)
    scale = Scale.of([truth])
    answer = 0.9 * scale.normalise(truth) + rng.normal(0, 0.1, truth.shape)
    calibrated = scale.calibrated(answer, np.full(answer.shape, 0.05), truth)
    value, deviation = calibrated.estimate(answer, np.full(answer.shape, 0.05))
    row = Measured(("a",), [truth], [value], [deviation]).figures()["a"]
    assert abs(row["slope"] - 1) < 0.03
    assert abs(row["slope_of_truth"] - 1) < 0.03
    assert abs(row["within_1"] - 0.68) < 0.06


def test_slopes_say_that_actions_are_too_small():
    truth = np.random.default_rng(2).normal(0, 1, (500, 1)).astype(np.float32)
    row = Measured(("a",), [truth], [truth / 2], [truth * 0]).figures()["a"]
    np.testing.assert_allclose([row["slope"], row["slope_of_truth"]], [0.5, 2], rtol=1e-4)
    np.testing.assert_allclose(row["r2"], 0.75, atol=0.01)


def test_repeating_the_last_is_told_the_truth():
    truth = [np.arange(4, dtype=np.float32)[:, None]]
    found = baselines(truth, [9.0])
    np.testing.assert_array_equal(found["repeat the last (told the truth)"][0][:, 0], [9, 0, 1, 2])
    assert (found["mean"][0] == 9).all()
