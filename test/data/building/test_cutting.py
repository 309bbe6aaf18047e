import numpy as np
import pytest

from mask2iv_ros.data.building.cutting import divisors, even_grid, find_gap, is_uneven, windows
from mask2iv_ros.errors import Refused


def test_a_rate_that_divides_takes_every_so_manieth_frame():
    times = np.round(np.arange(61) / 30, 4)  # rounded, as files keep them
    grid = even_grid(times, 0, 61, 10)
    np.testing.assert_array_equal(grid.frames, np.arange(0, 61, 3))
    assert not is_uneven(grid, 0, 16)
    assert find_gap(grid, 0, 16) == ""
    np.testing.assert_array_equal(even_grid(times, 7, 20, 10).frames, [7, 10, 13, 16, 19])
    np.testing.assert_array_equal(grid.every(2).frames, np.arange(0, 61, 6))
    assert grid.every(2).fps == 5


def test_the_last_frame_is_not_lost_to_rounding():
    for rate, frames in ((5, 10), (15, 16), (30, 31)):
        times = (np.arange(frames) / rate).astype(np.float32).astype(np.float64)
        np.testing.assert_array_equal(even_grid(times, 0, frames, rate).frames, np.arange(frames))


def test_a_varying_rate_gives_the_frames_nearest_to_even_moments():
    times = np.array([0, 0.03, 0.11, 0.19, 0.32, 0.41, 0.46])
    grid = even_grid(times, 0, 7, 10)
    np.testing.assert_array_equal(grid.frames, [0, 2, 3, 4, 5])  # 0, 0.1, 0.2, 0.3 and 0.4 s
    np.testing.assert_allclose(grid.off, [0, 0.01, 0.01, 0.02, 0.01])
    assert is_uneven(grid, 0, 5)
    assert not is_uneven(grid, 1, 4)


def test_moments_without_a_frame_of_their_own_are_named():
    times = np.concatenate([np.arange(5) / 10, 1.0 + np.arange(5) / 10])  # half a second is missing
    grid = even_grid(times, 0, 10, 10)
    assert "two moments, 0.100 s apart, have only frame 4" in find_gap(grid, 0, 10)
    assert find_gap(grid, 0, 5) == ""
    slow = even_grid(np.arange(10) / 5, 0, 10, 10)
    assert "have only frame" in find_gap(slow, 0, 4), "a source of half the rate"
    jump = even_grid(np.array([0, 0.1, 0.26, 0.3]), 0, 4, 10)
    assert "frame 2 is 0.060 s off its moment" in find_gap(jump, 0, 4)


def test_one_frame_is_a_grid_of_one():
    grid = even_grid(np.array([3.0]), 0, 1, 10)
    np.testing.assert_array_equal(grid.frames, [0])


@pytest.mark.parametrize(
    ("count", "overlap", "begins"),
    [(3, 0.0, []), (8, 0.0, [0, 4]), (11, 0.0, [0, 7]), (12, 0.0, [0, 4, 8]), (8, 0.5, [0, 2, 4]), (9, 0.75, range(6))],
)
def test_clips_spread_from_the_first_moment_to_the_last(count: int, overlap: float, begins: list[int]):
    assert windows(count, 4, overlap, np.zeros(max(0, count - 3))) == list(begins)


def test_a_single_clip_is_where_the_most_happens():
    assert windows(7, 4, 0.0, np.array([1.0, -np.inf, 3.0, 2.0])) == [2]
    assert windows(7, 4, 0.0, np.full(4, -np.inf)) == [0]


def test_rates_that_leave_frames_out():
    assert divisors(30) == [30, 15, 10, 6, 5, 3, 2, 1]
    assert divisors(29.97) == divisors(30)
    assert divisors(5.0) == [5, 1]
    assert divisors(7.5) == [7, 3, 2, 1]
    with pytest.raises(Refused, match=r"0\.3 frames a second; expected at least 1"):
        divisors(0.3)
