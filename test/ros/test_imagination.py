import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.imagination import MAX_SEED, Order, Outcome, Pace, carry_out
from mask2iv_ros.scene import Goal, Scene, Trajectory
from mask2iv_ros.scoring.verdict import BestOf


@pytest.fixture
def asked(scene_arrays):
    image, labels = scene_arrays
    return {"scene": Scene(image, labels, 5, "optical"), "goal": Goal(labels == 2)}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rollouts": 0}, "rollouts is 0; expected 1 to 64"),
        ({"rollouts": 65}, "rollouts is 65"),
        ({"seed": -2}, "seed is -2"),
        ({"best_of": 0}, "best_of is 0; expected 1 to 64"),
        ({"best_of": 2, "trajectory_only": True}, "best_of is 2 with trajectory_only; expected 1"),
        ({"seed": MAX_SEED - 4, "rollouts": 2, "best_of": 3}, f"expected 0 to {MAX_SEED - 5}"),
        ({"seed": MAX_SEED, "rollouts": 2}, f"expected 0 to {MAX_SEED - 1}"),
        ({"trajectory_only": True, "edited": Trajectory(np.zeros((4, 8, 8), np.uint8), "edited")}, "expected one"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(asked, fields, says):
    with pytest.raises(Refused, match=says):
        Order(**asked, **fields)


def test_minus_one_draws_a_seed_that_leaves_room_for_all_rollouts(asked):
    seeds = {Order(**asked, seed=-1, rollouts=64).seed for _ in range(20)}
    assert len(seeds) > 1
    assert all(0 <= seed <= MAX_SEED - 63 for seed in seeds)
    assert Order(**asked, seed=MAX_SEED).seed == MAX_SEED


class Recorder:
    """A listener that writes down what it is told and stops after some steps."""

    def __init__(self, patience=10**9):
        self.steps, self.trajectories, self.rollouts = [], [], []
        self.patience = patience

    def on_step(self, progress, rollout, rollouts, eta):
        from mask2iv_ros.generator.progress import Cancelled

        self.steps.append((progress.stage, progress.step, rollout, eta))
        if len(self.steps) >= self.patience:
            raise Cancelled

    def on_trajectory(self, trajectory):
        self.trajectories.append(trajectory)

    def on_rollout(self, rollout):
        self.rollouts.append(rollout)


@pytest.fixture(scope="module")
def imaginer(tiny):
    from mask2iv_ros.generator.imagine import Imaginer

    return Imaginer.load(tiny, "cpu")


def test_both_stages_of_every_rollout_are_those_of_the_imaginer(imaginer, asked):
    listener, outcome = Recorder(), Outcome()
    carry_out(imaginer, Order(**asked, rollouts=2, seed=3), listener, outcome, Pace())
    assert [rollout.id for rollout in listener.rollouts] == outcome.ids
    assert [rollout.seed for rollout in listener.rollouts] == [3, 4]
    for rollout, trajectory in zip(listener.rollouts, listener.trajectories, strict=True):
        alone = imaginer.imagine(**asked, seed=rollout.seed, rollout_id="x")
        np.testing.assert_array_equal(rollout.video, alone.video)
        assert rollout.trajectory is trajectory
        assert rollout.trajectory.source == "predicted"
    assert listener.steps[-1][3] == 0


def test_a_batch_is_imagined_at_once_and_given_rollout_by_rollout(imaginer, asked):
    listener, outcome = Recorder(), Outcome()
    carry_out(imaginer, Order(**asked, rollouts=3, seed=3, batch=2), listener, outcome, Pace())
    assert [rollout.seed for rollout in listener.rollouts] == [3, 4, 5]
    assert [rollout.id for rollout in listener.rollouts] == outcome.ids
    assert len(listener.steps) == 2 * 2 * imaginer.stage_steps
    assert [step[2] for step in listener.steps[:: 2 * imaginer.stage_steps]] == [2, 3]


def test_the_best_of_some_is_given_and_all_are_counted(imaginer, asked):
    everything, every = Recorder(), Outcome()
    carry_out(imaginer, Order(**asked, rollouts=4, seed=3), everything, every, Pace())
    listener, outcome = Recorder(), Outcome()
    carry_out(imaginer, Order(**asked, rollouts=2, best_of=2, batch=3, seed=3), listener, outcome, Pace())
    chosen = []
    for pair in (everything.rollouts[:2], everything.rollouts[2:]):
        choosing = BestOf(2)
        chosen += [best for best in map(choosing.offer, pair) if best]
    assert [rollout.seed for rollout in listener.rollouts] == [best.seed for best in chosen]
    assert [rollout.id for rollout in listener.rollouts] == outcome.ids
    assert len(set(outcome.ids)) == len(outcome.verdicts) == 2
    assert [rollout.trajectory for rollout in listener.rollouts] == listener.trajectories
    assert [step[2] for step in listener.steps[:: 2 * imaginer.stage_steps]] == [2, 2]
    assert listener.steps[-1][3] == 0
    assert outcome.scores.keys() == {f"{one}/{name}" for one in outcome.ids for name in listener.rollouts[0].scores}


def test_what_is_done_stays_when_an_order_is_stopped(imaginer, asked):
    from mask2iv_ros.generator.progress import Cancelled

    listener, outcome = Recorder(patience=6), Outcome()
    with pytest.raises(Cancelled):
        carry_out(imaginer, Order(**asked, rollouts=3, seed=0), listener, outcome, Pace())
    assert len(listener.steps) == 6
    assert len(outcome.ids) == len(outcome.trajectories) == 1


def test_the_time_left_follows_the_pace_of_each_stage(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mask2iv_ros.ros.imagination.time.monotonic", lambda: now[0])
    pace = Pace()
    assert pace.left({"trajectory": 5}) == 0
    pace.begin()
    now[0] = 2.0
    pace.step("trajectory")
    assert pace.left({"trajectory": 3, "video": 1}) == pytest.approx(8.0)
    now[0] = 7.0
    pace.step("video")
    assert pace.left({"trajectory": 3, "video": 2}) == pytest.approx(16.0)
