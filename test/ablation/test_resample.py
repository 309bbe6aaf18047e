import numpy as np
import pytest

from mask2iv_ros.ablation.resample import Draws, interval


def noisy(
    seeds: int, clips: int, of_seed: float, of_clip: float, of_both: float, rng: np.random.Generator
) -> np.ndarray:
    """Values whose seed, clip and rest have these standard deviations."""
    return (
        of_seed * rng.standard_normal((seeds, 1))
        + of_clip * rng.standard_normal((1, clips))
        + of_both * rng.standard_normal((seeds, clips))
    )


def test_equal_values_have_no_interval():
    assert interval(2.0, Draws.of(3, 10).means(np.full((3, 10), 2.0))) == pytest.approx((2.0, 2.0, 2.0))


def test_every_draw_takes_as_many_seeds_and_clips_as_there_are():
    draws = Draws.of(3, 10, count=50)
    assert (draws.seeds.sum(1) == 3).all()
    assert (draws.clips.sum(1) == 10).all()
    again = Draws.of(3, 10, count=50)
    assert np.array_equal(draws.seeds, again.seeds)
    assert not np.array_equal(draws.seeds, Draws.of(3, 10, count=50, seed=1).seeds)


@pytest.mark.parametrize(("of_seed", "of_clip"), [(1.0, 0.0), (0.0, 1.0), (1.0, 2.0)])
def test_the_spread_of_seeds_and_of_clips_both_count(of_seed: float, of_clip: float):
    seeds, clips = 12, 80
    values = noisy(seeds, clips, of_seed, of_clip, 0.0, np.random.default_rng(0))
    spread = Draws.of(seeds, clips).means(values).std()
    expected = np.hypot(values.mean(1).std() / seeds**0.5, values.mean(0).std() / clips**0.5)
    assert spread == pytest.approx(expected, rel=0.08)


def test_a_difference_is_of_the_same_seeds_and_clips():
    rng, draws = np.random.default_rng(1), Draws.of(3, 40)
    one = noisy(3, 40, 2.0, 5.0, 0.0, rng)
    other = one - 0.1 + 0.01 * rng.standard_normal(one.shape)
    mean, low, high = interval(float((one - other).mean()), draws.means(one) - draws.means(other))
    assert mean == pytest.approx(0.1, abs=0.01)
    assert 0.09 < low < mean < high < 0.11
    assert draws.means(one).std() > 0.5


def test_what_was_not_measured_counts_for_nothing():
    values = np.array([[1.0, np.nan, 3.0, np.nan], [1.0, np.nan, 3.0, 2.0]])
    draws = Draws.of(2, 4, count=500)
    means = draws.means(values)
    filled = np.where(np.isnan(values), 0, values)
    there = ~np.isnan(values)
    by_hand = []
    for seeds, clips in zip(draws.seeds, draws.clips, strict=True):
        weight = np.outer(seeds, clips)
        by_hand.append((weight * filled).sum() / (weight * there).sum() if (weight * there).sum() else np.nan)
    np.testing.assert_allclose(means, by_hand)
    assert np.isnan(Draws.of(1, 2).means(np.full((1, 2), np.nan))).all()
    assert all(np.isnan(interval(float("nan"), means)))


def test_distances_are_of_the_clips_drawn_and_weighed_by_the_seeds_drawn():
    draws, asked = Draws.of(3, 5, count=20), []

    def distance(seed: int, clips: np.ndarray) -> float:
        asked.append(sorted(clips.tolist()))
        return float(seed)

    found = draws.distances(distance, 10)
    np.testing.assert_allclose(found, (draws.seeds[:10] * np.arange(3)).sum(1) / 3)
    assert {tuple(one) for one in asked} == {
        tuple(np.repeat(np.arange(5), clips).tolist()) for clips in draws.clips[:10]
    }
