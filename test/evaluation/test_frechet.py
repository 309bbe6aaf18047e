import numpy as np
import pytest
from scipy.linalg import sqrtm

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.frechet import RESAMPLES, around, frechet_distance, paired_distance


def exactly(mean: list[float], deviations: list[float], count: int = 64, seed: int = 0) -> np.ndarray:
    """Return points whose sample mean and deviations along the axes are exactly these, uncorrelated."""
    points = np.random.default_rng(seed).normal(size=(count, len(mean)))
    points -= points.mean(0)
    points = np.linalg.qr(points)[0] * np.sqrt(count - 1)
    return points * deviations + mean


def test_gaussians_along_the_same_axes_have_a_closed_form():
    first, second = exactly([0, 1, 2], [1, 2, 0.5]), exactly([3, 1, -2], [2, 2, 1.5], count=80, seed=1)
    assert frechet_distance(first, second) == pytest.approx(9 + 0 + 16 + 1 + 0 + 1)
    assert frechet_distance(second, first) == pytest.approx(27)


@pytest.mark.parametrize(("count", "other", "features"), [(50, 70, 6), (5, 7, 12), (40, 6, 12)])
def test_it_is_the_matrix_root_of_the_covariances(count: int, other: int, features: int):
    random = np.random.default_rng(count)
    first = random.normal(size=(count, features)) @ random.normal(size=(features, features))
    second = random.normal(1, 2, (other, features))
    shift = first.mean(0) - second.mean(0)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    # A little added to the diagonal: the root of a product of singular matrices is inexact without.
    root = sqrtm((covariances[0] + 1e-9 * np.eye(features)) @ (covariances[1] + 1e-9 * np.eye(features)))
    expected = shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-3)


def test_a_set_is_not_apart_from_itself():
    points = np.random.default_rng(0).normal(5, 3, (30, 400))
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(points, points[::-1]) == pytest.approx(0, abs=1e-9)


def test_a_shift_alone_counts_by_its_square():
    points = np.random.default_rng(0).normal(0, 3, (30, 50))
    assert frechet_distance(points, points + 2) == pytest.approx(4 * 50)


def test_sets_that_tell_nothing_are_refused():
    points = np.zeros((3, 4))
    with pytest.raises(Refused, match="a set has 1 members; a Fréchet distance needs at least 2"):
        frechet_distance(points, points[:1])
    with pytest.raises(Refused, match="not finite"):
        frechet_distance(points, np.full((3, 4), np.nan))


def test_the_interval_is_as_wide_as_repeating_the_measurement_says():
    random = np.random.default_rng(0)
    pairs = [(random.normal(size=(60, 3)), random.normal(1, 1, (60, 3))) for _ in range(60)]
    found = [paired_distance(made, true) for made, true in pairs]
    spread = np.std([one.value for one in found])
    widths = [one.interval[2] - one.value for one in found]
    assert np.mean(widths) == pytest.approx(1.96 * spread, rel=0.25)
    assert sum(low <= 3 <= high for _, low, high in (one.interval for one in found)) >= 50


def test_distances_of_the_same_clips_are_paired():
    random = np.random.default_rng(0)
    true, noise = random.normal(size=(40, 5)), random.normal(size=(40, 5))
    near, far = paired_distance(true + noise, true), paired_distance(true + 1.1 * noise, true)
    assert near.resampled.shape == (RESAMPLES,)
    _, low, high = around(far.value - near.value, far.resampled - near.resampled)
    assert 0 < low < far.value - near.value < high
    assert far.interval[1] < near.interval[2]  # which the two intervals alone could not tell


def test_a_distance_is_never_said_to_be_below_zero():
    random = np.random.default_rng(0)
    true = random.normal(size=(6, 2))
    value, low, high = paired_distance(true + 1e-3 * random.normal(size=(6, 2)), true).interval
    assert 0 <= low <= value <= high
