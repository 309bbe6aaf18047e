"""The imagined episodes that the benchmark makes itself, of demonstrations and of photographs of other scenes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.demonstrations import Demonstrations, demonstrate
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.splits import DEMONSTRATIONS
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import read_provenance
from mask2iv_ros.imagining.goals import MOVES, PLACES
from mask2iv_ros.policy.benchmark.plan import PHOTOGRAPHED, REAL, Plan

TUNED = {"steps": 20, "rate": 1e-5}  # of config/experiments/tuned_actions.yaml
_MEASURED = 20  # demonstrations that the labeller's report is measured on, and nothing else is
_ELSEWHERE = 1000  # number of their first scene
_SPARE = 1.1  # for some there is no plausible goal
_MOST = 5.0  # times the wanted number of rollouts, until the goals are given up


def imagine(plan: Plan, task: str, arm: str, workers: int) -> None:
    """Make `plan.source(task, arm)`, if it is not there: learn to label, imagine, take of every scene alike.

    The doubtful ones, too: executed in the simulator, they do as well as the good ones (`docs/actions.md`).

    Raises:
        Refused: a step cannot be done, too few goals are plausible, or another number of them is there.
    """
    out, real = plan.source(task, arm), plan.dataset(task, REAL)
    if out.exists():
        require_count(out, plan.more)
        return
    labeller = _labeller(real, out.with_name("labeller"), out.with_name("measured"), task, workers)
    scenes, begun = None, plan.demonstrations
    if arm == PHOTOGRAPHED:
        scenes, begun = _photographs(plan, task, workers), plan.photographs
    # Imported here: torch costs seconds.
    from mask2iv_ros.imagining.report import write_report
    from mask2iv_ros.imagining.run import imagine_dataset
    from mask2iv_ros.imagining.settings import ImaginingSettings

    # Where a mechanism holds the object, another episode's place is no place for it.
    goals = (PLACES if TASKS[task].goal is not None else MOVES,)
    share = _SPARE
    while True:
        rollouts = -int(-plan.more * share // begun)
        settings = ImaginingSettings(
            real,
            out.with_name(f"{arm}_imagining"),
            labeller,
            goals=goals,
            rollouts=rollouts,
            keep="all",
            scenes=scenes,
        )
        summary = imagine_dataset(settings, workers)
        write_report(summary, settings)
        if len(summary.kept) >= plan.more:
            break
        if share >= _MOST:
            raise Refused(
                f"{len(summary.kept)} of {rollouts * begun} goals of {task} are plausible; expected {plan.more}, of "
                "more demonstrations or photographs, or an imagined dataset of your own"
            )
        share *= 1.5
    take(settings.dataset, in_turn(settings.dataset)[: plan.more], out)


def _labeller(real: Path, out: Path, measured: Path, task: str, workers: int) -> Path:
    if not out.exists():
        from mask2iv_ros.actions.labeller import SHIPPED
        from mask2iv_ros.actions.settings import LabellerExperiment
        from mask2iv_ros.actions.train import train_labeller

        demonstrate(Demonstrations(measured, task, _MEASURED, first=_ELSEWHERE), workers)
        train_labeller(LabellerExperiment(**TUNED), real, out, measured, state=True, base=SHIPPED)
    return out


def _photographs(plan: Plan, task: str, workers: int) -> Path:
    """Return a dataset of the scenes that come after the demonstrations', whose first frames are photographs."""
    root, real = plan.out / "data" / task / "photographs", plan.dataset(task, REAL)
    last = max(one.seed for one in read_provenance(real, imagined_only=False))
    demonstrate(Demonstrations(root, task, plan.photographs, first=last + 1 - DEMONSTRATIONS.start), workers)
    require_count(root, plan.photographs)
    return root


def require_count(root: Path, episodes: int) -> None:
    """Check that a dataset of an earlier run has as many episodes as are wanted now.

    Raises:
        Refused: it has another number.
    """
    if (found := len(LabelledDataset.open(root).episodes)) != episodes:
        raise Refused(f"{root} has {found} episodes and {episodes} are wanted; expected another folder, or remove it")


def in_turn(root: Path) -> list[int]:
    """Return an imagined dataset's episodes, the first of every scene before the second of any."""
    before: Counter[str] = Counter()
    ranked = []
    for one in sorted(read_provenance(root), key=lambda one: one.episode):
        scene = one.id.rsplit(".", 2)[0]
        ranked.append((before[scene], one.episode))
        before[scene] += 1
    return [episode for _, episode in sorted(ranked)]


def take(root: Path, chosen: list[int], out: Path) -> None:
    """Write some episodes of a dataset, in their order, into one of their own, by LeRobot's own means."""
    from lerobot.datasets.dataset_tools import delete_episodes
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    rest = sorted({one.index for one in LabelledDataset.open(root).episodes} - set(chosen))
    if rest:
        delete_episodes(LeRobotDataset("mask2iv/imagined", root=root), rest, part, "mask2iv/imagined")
    else:
        shutil.copytree(root, part)
    os.replace(part, out)
