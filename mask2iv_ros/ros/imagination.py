"""One order at the generator: seeds, ids, both stages of every rollout, the time left.

Knows no ROS; the imagine node gives it what to call when something is done.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from itertools import batched
from typing import TYPE_CHECKING, Protocol

from mask2iv_ros.errors import Refused
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory, new_batch
from mask2iv_ros.scoring.verdict import MAX_BEST_OF, BestOf

if TYPE_CHECKING:
    from mask2iv_ros.generator.imagine import Imaginer
    from mask2iv_ros.generator.progress import Progress

MAX_ROLLOUTS = 64
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Order:
    """What to imagine.

    Attributes:
        scene: the source frame, of any size.
        goal: of the scene's size.
        rollouts: 1 to 64.
        best_of: each rollout is the best of so many, 1 to 64.
        batch: rollouts at once, 1 to 64.
        seed: of the first that is imagined, the others count up; -1 draws one.
        trajectory_only: stop after stage 1.
        edited: a trajectory that replaces stage 1, or None.
    """

    scene: Scene
    goal: Goal
    rollouts: int = 1
    seed: int = -1
    trajectory_only: bool = False
    edited: Trajectory | None = None
    batch: int = 1
    best_of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.rollouts <= MAX_ROLLOUTS:
            raise Refused(f"rollouts is {self.rollouts}; expected 1 to {MAX_ROLLOUTS}")
        if not 1 <= self.batch <= MAX_ROLLOUTS:
            raise Refused(f"batch is {self.batch}; expected 1 to {MAX_ROLLOUTS}")
        if not 1 <= self.best_of <= MAX_BEST_OF:
            raise Refused(f"best_of is {self.best_of}; expected 1 to {MAX_BEST_OF}")
        if self.trajectory_only and self.best_of > 1:
            raise Refused(f"best_of is {self.best_of} with trajectory_only; expected 1, as whole rollouts are compared")
        highest = MAX_SEED - self.candidates + 1
        if not -1 <= self.seed <= highest:
            raise Refused(f"seed is {self.seed}; expected 0 to {highest}, or -1 to have one drawn")
        if self.trajectory_only and self.edited is not None:
            raise Refused(
                "there is an edited trajectory and trajectory_only; expected one: together they leave no work"
            )
        if self.seed == -1:
            object.__setattr__(self, "seed", secrets.randbelow(highest + 1))

    @property
    def candidates(self) -> int:
        """How many are imagined."""
        return self.rollouts * self.best_of


@dataclass
class Outcome:
    """What an order has brought so far; what was published before a cancel stays in it."""

    ids: list[str] = field(default_factory=list)
    trajectories: list[Trajectory] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)


class Listener(Protocol):
    """Who is told of an order's progress, in the thread that works on it."""

    def on_step(self, progress: Progress, rollout: int, rollouts: int, eta: float) -> None:
        """A denoising step is done; raise `Cancelled` to stop. `rollout` counts from 1, `eta` is in seconds."""

    def on_trajectory(self, trajectory: Trajectory) -> None:
        """Stage 1 of a rollout is done, or its trajectory was given; with best_of, only those of the best."""

    def on_rollout(self, rollout: Rollout) -> None:
        """A rollout is done."""


class Pace:
    """Seconds a step of each stage takes, from the steps seen so far."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._last = 0.0

    def begin(self) -> None:
        """Start the clock of the next step."""
        self._last = time.monotonic()

    def step(self, stage: str) -> None:
        """Note that a step of the stage is done."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._seconds[stage] = 0.8 * self._seconds.get(stage, seconds) + 0.2 * seconds

    def left(self, steps: dict[str, int]) -> float:
        """Return the seconds that the given steps of each stage will take."""
        # A stage not seen yet is taken to be as quick as the one seen.
        guess = max(self._seconds.values(), default=0.0)
        return sum(count * self._seconds.get(stage, guess) for stage, count in steps.items())


def carry_out(imaginer: Imaginer, order: Order, listener: Listener, outcome: Outcome, pace: Pace) -> None:
    """Imagine all rollouts of an order, adding each to `outcome` when it has been given to the listener.

    Raises:
        Refused: the checkpoint cannot take this scene, goal or trajectory.
        Cancelled: the listener stopped the order.
    """
    imaginer.check(order.scene, order.goal)
    batch = new_batch()
    stages = [*([] if order.edited else ["trajectory"]), *([] if order.trajectory_only else ["video"])]
    groups = list(batched(range(order.candidates), order.batch))
    chosen = BestOf(order.best_of)
    for number, group in enumerate(groups):
        ids = [f"{batch}-{index // order.best_of:02d}" for index in group]
        seeds = [order.seed + index for index in group]
        goals = [order.goal] * len(group)

        begun = group[-1] // order.best_of + 1

        def on_step(progress: Progress, begun: int = begun, later: int = len(groups) - number - 1) -> None:
            pace.step(progress.stage)
            following = stages[stages.index(progress.stage) + 1 :]
            left = {stage: imaginer.stage_steps * (later + (stage in following)) for stage in stages}
            left[progress.stage] += progress.steps - progress.step
            listener.on_step(progress, begun, order.rollouts, pace.left(left))

        pace.begin()
        if order.edited:
            trajectories = [order.edited] * len(group)
        else:
            trajectories = imaginer.trajectories(order.scene, goals, seeds, on_step)
        if order.best_of == 1:
            for trajectory in trajectories:
                listener.on_trajectory(trajectory)
        if order.trajectory_only:
            outcome.trajectories += trajectories
            continue
        pace.begin()
        for rollout in imaginer.imagine_many(order.scene, goals, seeds, ids, trajectories, on_step):
            if (best := chosen.offer(rollout)) is None:
                continue
            if order.best_of > 1:
                listener.on_trajectory(best.trajectory)
            listener.on_rollout(best)
            outcome.trajectories.append(best.trajectory)
            outcome.ids.append(best.id)
            outcome.scores |= {f"{best.id}/{name}": value for name, value in best.scores.items()}
            outcome.verdicts.append(best.verdict)
