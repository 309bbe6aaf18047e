"""What a worker does: some rollouts to a shard, a finished dataset of those kept, with what was left out and why."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Sequence
from itertools import batched, groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.sheet import describe_scores
from mask2iv_ros.export import ExportSettings, RobotColumns
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.imagining.goals import GoalSampler, NoGoal
from mask2iv_ros.imagining.ground import Ground, scene_number
from mask2iv_ros.imagining.ledger import Job, Outcome, write_job
from mask2iv_ros.imagining.plan import Unit
from mask2iv_ros.imagining.settings import ImaginingSettings
from mask2iv_ros.imagining.source import Source
from mask2iv_ros.imagining.wording import text_for
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import GOOD, Goal, Rollout, Scene
from mask2iv_ros.scoring.verdict import BestOf

if TYPE_CHECKING:
    from mask2iv_ros.actions.labeller import Labeller

OUTCOMES, DATASET, SAMPLES = "outcomes.json", "dataset", "samples"

Told = Callable[[bool], None]  # called with each rollout that is done: whether it is kept


class Worker:
    """Holds a generator and, where there is one, a labeller; makes shards."""

    def __init__(self, settings: ImaginingSettings, source: Source, ground: Ground, columns: ExportSettings) -> None:
        """Load what is needed.

        Args:
            settings: what to imagine.
            source: of first frames.
            ground: what it, or the dataset that goals are drawn from, shows.
            columns: how rollouts are written.

        Raises:
            Refused: checkpoint or labeller cannot be loaded.
        """
        self._settings, self._source, self._columns = settings, source, columns
        self._shown = {one.episode: one for one in ground.shown}
        self._sampler = GoalSampler(ground, settings.seed)
        self._imaginer = Imaginer.load(settings.checkpoint, settings.device, settings.steps)
        self._labeller = load_labeller(settings)

    def shard(self, units: Sequence[Unit], folder: Path, told: Told | None = None) -> None:
        """Imagine some rollouts into `folder`, which appears when it is complete.

        Raises:
            Refused: a first frame cannot be read, or the memory is too small.
            OSError: the disk is full or fails.
        """
        # LeRobot takes seconds to import.
        from mask2iv_ros.export import shard

        wall, cpu = time.monotonic(), time.process_time()
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        (part / SAMPLES).mkdir(parents=True)
        outcomes: dict[str, Outcome] = {}
        kept: list[tuple[Rollout, RobotColumns]] = []
        for (episode, frame), group in groupby(units, key=lambda unit: (unit.episode, unit.frame)):
            scene, state = self._source.scene(episode, frame)
            goals: list[tuple[Unit, Goal]] = []
            for unit in group:
                goal = self._goal(unit, scene)
                if isinstance(goal, Outcome):
                    outcomes[unit.id] = goal
                    _tell(told, False)
                else:
                    goals.append((unit, goal))
            for rollout in self._imagined(scene, goals):
                robot = RobotColumns() if self._labeller is None else self._labeller.label([rollout], [state])[0]
                outcome = outcomes[rollout.id] = self._judged(rollout, robot)
                if outcome.kept:
                    kept.append((rollout, robot))
                else:
                    _keep_sample(part / SAMPLES, rollout, outcome)
                _tell(told, outcome.kept)
        if kept:
            with shard.lerobot_contained(part / "cache"):
                rollouts, robots = zip(*kept, strict=True)
                shard.write_shard(rollouts, part / DATASET, self._columns, robots=robots)
            shutil.rmtree(part / "cache", ignore_errors=True)
        job = Job(tuple(outcomes[unit.id] for unit in units), time.monotonic() - wall, time.process_time() - cpu)
        write_job(part / OUTCOMES, job)
        part.rename(folder)

    def _goal(self, unit: Unit, scene: Scene) -> Goal | Outcome:
        number = unit.episode if self._settings.scenes is None else scene_number(unit.episode)
        shown, start = self._shown[number], scene.mask(Role.OBJECT)
        try:
            scene.require_roles()
            if unit.listed is None:
                mask = self._sampler.draw(unit.kind, unit.number, unit.place, shown, start)
            else:
                mask = unit.listed.goal(start)
                self._sampler.require_plausible(mask, start)
        except NoGoal as error:
            return Outcome(unit.id, False, "no plausible goal", str(error))
        except Refused as error:
            return Outcome(unit.id, False, "no scene or goal", str(error))
        text = unit.listed.instruction if unit.listed else ""
        return Goal(mask, text or text_for(shown.task, start, mask))

    def _imagined(self, scene: Scene, goals: Sequence[tuple[Unit, Goal]]) -> list[Rollout]:
        """Return the best rollout of every goal."""
        settings, best = self._settings, BestOf(self._settings.best_of)
        candidates = [(unit, goal, number) for unit, goal in goals for number in range(settings.best_of)]
        chosen = []
        for group in batched(candidates, settings.batch):
            seeds = [unit.noise(settings.seed, number) for unit, _, number in group]
            ids = [unit.id for unit, _, _ in group]
            for rollout in self._imaginer.imagine_many(scene, [goal for _, goal, _ in group], seeds, ids):
                if (found := best.offer(rollout)) is not None:
                    chosen.append(found)
        return chosen

    def _judged(self, rollout: Rollout, robot: RobotColumns) -> Outcome:
        verdicts = {"video": rollout.verdict, "actions": robot.estimate.verdict if robot.estimate else GOOD}
        doubts = {what: verdict for what, verdict in verdicts.items() if verdict != GOOD}
        if self._settings.keep == "all" or not doubts:
            return Outcome(rollout.id, True, words=describe_scores(rollout))
        what, verdict = next(iter(doubts.items()))
        return Outcome(rollout.id, False, f"{what}: {_reason(verdict)}", "; ".join(doubts.values()))


def load_labeller(settings: ImaginingSettings, source: Source | None = None) -> Labeller | None:
    """Return what estimates actions, None where nothing is asked to; it is held against the source, if that is told.

    Raises:
        Refused: it cannot be loaded, is for another robot or camera than the source's, or does not estimate its states.
    """
    if settings.labeller is None:
        return None
    from mask2iv_ros.actions.labeller import Labeller

    labeller = Labeller.load(settings.labeller, settings.device)
    if source is None:
        return labeller
    dataset = source.dataset
    labeller.require_same(dataset.settings, dataset.fps, dataset.size, dataset.root)
    if dataset.settings.state:
        labeller.require_state(False, f"what is imagined from {dataset.root}")
    return labeller


def _tell(told: Told | None, kept: bool) -> None:
    if told is not None:
        told(kept)


def _reason(verdict: str) -> str:
    """Return the first reason of a verdict without its figures, to count by."""
    return re.sub(r"\d+ of \d+", "some", re.split(r" \(|; ", verdict.partition(": ")[2])[0])


def _keep_sample(folder: Path, rollout: Rollout, outcome: Outcome) -> None:
    """Write a rollout to look at; its name begins with a draw, so that the first few of all are a random sample."""
    drawn = hashlib.sha256(rollout.id.encode()).hexdigest()[:12]
    np.savez_compressed(
        folder / f"{drawn}.npz",
        told=np.array([rollout.id, outcome.kind, rollout.goal.instruction]),
        image=rollout.scene.image,
        goal=rollout.goal.mask,
        labels=rollout.trajectory.labels,
        video=rollout.video,
        fps=rollout.fps,
    )
