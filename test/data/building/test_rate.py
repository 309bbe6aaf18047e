import numpy as np
import pytest

from mask2iv_ros.data.building.cutting import even_grid, find_gap
from mask2iv_ros.data.building.rate import STEP, Pace, clip_rate, pace, speed
from mask2iv_ros.errors import Refused


def test_the_stride_follows_from_how_fast_things_move():
    fps, why = clip_rate([Pace(30, 5 * STEP, 20.0)], 16)
    assert fps == 5
    assert "30 frames a second, every 6 taken" in why
    assert clip_rate([Pace(30, 30 * STEP, 20.0)], 16)[0] == 30
    assert clip_rate([Pace(30, 0.0, 60.0)], 16)[0] == 2, "whatever is still, two frames a second"
    assert clip_rate([Pace(1.2, 9.0, 60.0)], 16)[0] == 1


def test_of_several_rates_one_is_divided():
    assert clip_rate([Pace(25, 6 * STEP, 20.0), Pace(30, 6 * STEP, 20.0)], 16)[0] == 5
    assert clip_rate([Pace(24, 6 * STEP, 20.0), Pace(30, 6 * STEP, 20.0), Pace(30, 6 * STEP, 20.0)], 16)[0] == 6


def test_clips_fit_into_half_of_the_episodes():
    slow = 3 * STEP
    assert clip_rate([Pace(30, slow, 6.0)], 16)[0] == 3
    assert clip_rate([Pace(30, slow, 2.5)], 16)[0] == 6
    assert clip_rate([Pace(30, slow, 0.2)], 16)[0] == 30, "they are too short at any rate"
    assert clip_rate([Pace(30, slow, length) for length in (0.2, 2.5, 9.0)], 16)[0] == 6


def test_the_speed_of_a_pattern_that_moves():
    rng = np.random.default_rng(0)
    pattern = np.kron(rng.integers(0, 255, (24, 60)), np.ones((4, 4))).astype(np.uint8)
    video = np.stack([np.repeat(pattern[:, 3 * t : 3 * t + 128, None], 3, 2) for t in range(8)])
    assert speed(video, np.arange(8) / 10) == pytest.approx(3 / 128 * 10, rel=0.15)


def test_a_single_frame_has_no_pace(make_episode):
    assert pace(make_episode("a", frames=12)).rate == pytest.approx(10)
    assert pace(make_episode("a", frames=12)).lasts == pytest.approx(1.1)
    with pytest.raises(Refused, match="no episode of the source has two frames"):
        clip_rate([], 16)


def test_clips_of_a_rate_that_is_not_whole_have_a_frame_for_every_moment():
    rate, _ = clip_rate([Pace(7.5, 0.3, 20.0)], 16)
    grid = even_grid(np.arange(150) / 7.5, 0, 150, rate)
    assert len(grid.frames) > 130
    assert not any(find_gap(grid, begin, 16) for begin in range(len(grid.frames) - 15))
