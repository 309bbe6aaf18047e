"""The imagined episodes that the benchmark makes itself, from nothing but a task's demonstrations."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mask2iv_ros.data.demonstrations import Demonstrations, demonstrate
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark.plan import REAL, Plan

_MEASURED = 20  # demonstrations that the labeller's report is measured on, and nothing else is
_ELSEWHERE = 1000  # number of their first scene
_SPARE = 1.5  # some rollouts are doubtful
_MOST = 10.0  # times the wanted number of rollouts, until the generator is given up


def imagine(plan: Plan, task: str, workers: int) -> None:
    """Make `plan.source(task, "imagined")`, if it is not there: learn to label, imagine, take the first that are good.

    Raises:
        Refused: a step cannot be done, too few rollouts are good, or another number of them is there.
    """
    out, real = plan.source(task, "imagined"), plan.dataset(task, REAL)
    if out.exists():
        require_count(out, plan.more)
        return
    labeller = _labeller(real, out.with_name("labeller"), out.with_name("measured"), task, workers)
    # Imported here: torch costs seconds.
    from mask2iv_ros.imagining.report import write_report
    from mask2iv_ros.imagining.run import imagine_dataset
    from mask2iv_ros.imagining.settings import ImaginingSettings

    share = _SPARE
    while True:
        rollouts = -int(-plan.more * share // plan.demonstrations)
        settings = ImaginingSettings(real, out.with_name("imagining"), labeller, rollouts=rollouts)
        summary = imagine_dataset(settings, workers)
        write_report(summary, settings)
        if len(summary.kept) >= plan.more:
            break
        if share >= _MOST:
            raise Refused(
                f"{len(summary.kept)} of {rollouts * plan.demonstrations} rollouts of {task} are good; expected "
                f"{plan.more}, of more demonstrations or a better generator, or an imagined dataset of your own"
            )
        share *= 1.5
    take(settings.dataset, plan.more, out)


def _labeller(real: Path, out: Path, measured: Path, task: str, workers: int) -> Path:
    if not out.exists():
        from mask2iv_ros.actions.settings import LabellerExperiment
        from mask2iv_ros.actions.train import train_labeller

        demonstrate(Demonstrations(measured, task, _MEASURED, first=_ELSEWHERE), workers)
        train_labeller(LabellerExperiment(), real, out, measured, state=True)
    return out


def require_count(root: Path, episodes: int) -> None:
    """Check that a dataset of an earlier run has as many episodes as are wanted now.

    Raises:
        Refused: it has another number.
    """
    if (found := len(LabelledDataset.open(root).episodes)) != episodes:
        raise Refused(f"{root} has {found} episodes and {episodes} are wanted; expected another folder, or remove it")


def take(root: Path, count: int, out: Path) -> None:
    """Write the first episodes of a dataset into one of their own, by LeRobot's own means."""
    from lerobot.datasets.dataset_tools import delete_episodes
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    beyond = list(range(count, len(LabelledDataset.open(root).episodes)))
    if beyond:
        delete_episodes(LeRobotDataset("mask2iv/imagined", root=root), beyond, part, "mask2iv/imagined")
    else:
        shutil.copytree(root, part)
    os.replace(part, out)
