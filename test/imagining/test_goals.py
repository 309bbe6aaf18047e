"""Goals are where the object can go: drawn on a table seen in perspective, whose episodes are known."""

import numpy as np
import pytest

from mask2iv_ros.imagining.goals import EPISODES, KINDS, MOVES, PLACES, GoalSampler, NoGoal
from mask2iv_ros.imagining.ground import Ground, Shown, centroid
from mask2iv_ros.masks import iou

HEIGHT, WIDTH = 96, 128


def disc(x: float, y: float, hidden: bool = False) -> np.ndarray:
    """An object whose radius grows downwards, its left half hidden by an arm."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    radius = 5 * np.exp(0.012 * (y - 40))
    mask = np.hypot(rows - y, columns - x) <= radius
    return mask & (columns > x) if hidden else mask


def ground(count: int = 12, hidden: bool = False, task: str = "push the mug a little up") -> Ground:
    rng = np.random.default_rng(1)
    ends = rng.uniform((30, 30), (100, 75), (count, 2, 2))
    return Ground(tuple(Shown(i, task, disc(*a, hidden), disc(*b)) for i, (a, b) in enumerate(ends)))


@pytest.fixture(scope="module")
def sampler() -> GoalSampler:
    return GoalSampler(ground(), 3)


def draws(sampler: GoalSampler, kind: str, count: int, episode: int = 0) -> list[np.ndarray]:
    shown = sampler.ground.shown[episode]
    return [sampler.draw(kind, number, f"task-{episode}.0", shown, shown.start) for number in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_goals_are_in_the_picture_elsewhere_and_each_another(sampler: GoalSampler, kind: str):
    goals, start = draws(sampler, kind, 6), sampler.ground.shown[0].start
    for goal in goals:
        rows, columns = np.nonzero(goal)
        assert rows.min() >= 2
        assert columns.min() >= 2
        assert rows.max() < HEIGHT - 2
        assert columns.max() < WIDTH - 2
        assert iou(goal, start) < 0.5
    assert len({goal.tobytes() for goal in goals}) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_goal_follows_from_its_name_alone(sampler: GoalSampler, kind: str):
    again = GoalSampler(ground(), 3)
    shown = again.ground.shown[0]
    third = again.draw(kind, 2, "task-0.0", shown, shown.start)
    np.testing.assert_array_equal(third, draws(sampler, kind, 3)[2])
    other = GoalSampler(ground(), 4).draw(kind, 2, "task-0.0", shown, shown.start)
    assert (other != third).any()


def test_perspective_is_found_and_followed(sampler: GoalSampler):
    assert sampler.ground.growth == pytest.approx(0.024, abs=0.004)
    for kind in (MOVES, PLACES):
        for goal in draws(sampler, kind, 6):
            assert np.count_nonzero(goal) == pytest.approx(np.count_nonzero(disc(*centroid(goal))), rel=0.2)


def test_what_the_arm_hides_is_not_cut_out_of_the_goal():
    sampler = GoalSampler(ground(hidden=True), 0)
    for goal in draws(sampler, MOVES, 4):
        assert np.count_nonzero(goal) == pytest.approx(np.count_nonzero(disc(*centroid(goal))), rel=0.25)


def test_moves_are_those_that_were_shown_a_little_changed(sampler: GoalSampler):
    moves, start = sampler.ground.moves("push the mug"), sampler.ground.shown[0].start
    for goal in draws(sampler, MOVES, 8):
        move = centroid(goal) - centroid(start)
        turned = np.abs(np.angle(np.exp(1j * (np.arctan2(*moves.T) - np.arctan2(*move)))))
        longer = np.hypot(*move) / np.hypot(*moves.T)
        near = (turned < np.deg2rad(20)) & (longer > 0.8) & (longer < 1.2)
        assert near.any()


def test_places_are_between_those_that_were_shown_and_not_at_hand(sampler: GoalSampler):
    start = centroid(sampler.ground.shown[0].start)
    lengths = np.hypot(*sampler.ground.moves("push the mug").T)
    for goal in draws(sampler, PLACES, 12):
        x, y = centroid(goal)
        assert 20 < x < 110
        assert 20 < y < 85
        assert np.percentile(lengths, 10) - 1 <= np.hypot(x - start[0], y - start[1]) <= lengths.max() + 1


def test_goals_of_other_episodes_are_theirs_until_there_are_no_more(sampler: GoalSampler):
    theirs = {one.goal.tobytes() for one in sampler.ground.shown[1:]}
    shown = sampler.ground.shown[0]
    with pytest.raises(NoGoal, match="other episodes of 'push the mug' have a goal"):
        sampler.draw(EPISODES, 11, "task-0.0", shown, shown.start)
    assert {goal.tobytes() for goal in draws(sampler, EPISODES, 8)} < theirs


def test_an_act_that_nothing_is_known_of_has_no_goal():
    alone = Ground((Shown(0, "push", disc(60, 40), None),))
    for kind in (MOVES, EPISODES):
        with pytest.raises(NoGoal):
            GoalSampler(alone, 0).draw(kind, 0, "p", alone.shown[0], disc(60, 40))
    assert alone.growth == 0


def test_goals_at_the_border_or_at_the_start_are_told_apart(sampler: GoalSampler):
    with pytest.raises(NoGoal, match="within 2 pixels of the picture's border"):
        sampler.require_plausible(disc(2, 40), disc(60, 40))
    with pytest.raises(NoGoal, match="nearly where the object is"):
        sampler.require_plausible(disc(61, 40), disc(60, 40))
    assert sampler.require_plausible(disc(75, 40), disc(60, 40)) is None
