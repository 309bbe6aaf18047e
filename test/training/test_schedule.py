import pytest

from mask2iv_ros.training.schedule import rate_factor


def test_the_rate_rises_and_falls_by_half_a_cosine():
    factors = [rate_factor(step, steps=105, warm_up=5) for step in range(105)]
    assert factors[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert factors[55] == pytest.approx(0.5)
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert 0 < factors[-1] < 0.001


def test_a_constant_rate_stays_after_the_warm_up():
    factors = [rate_factor(step, steps=10, warm_up=4, schedule="constant") for step in range(10)]
    assert factors == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7)


def test_without_a_warm_up_it_begins_at_its_peak():
    assert rate_factor(0, steps=1, warm_up=0) == 1.0
