"""The datasets of the benchmark's arms: demonstrations, and demonstrations merged with others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from mask2iv_ros.data.demonstrations import Demonstrations, demonstrate
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import require_same
from mask2iv_ros.policy.benchmark.imagined import imagine, require_count
from mask2iv_ros.policy.benchmark.plan import ARMS, IMAGINED, MADE, PHOTOGRAPHED, REAL, Plan


def make_datasets(plan: Plan, workers: int) -> None:
    """Make what is not there yet of every arm's dataset.

    Raises:
        Refused: a dataset cannot be made, cannot be read, or has other features than the demonstrations.
    """
    for task in plan.tasks:
        _demonstrate(plan, task, REAL, plan.demonstrations, workers)
        for one in plan.extra:
            require_mergeable(plan.source(task, one.name), plan.dataset(task, REAL))
        for arm in [one for one in MADE if one in plan.arms]:
            if arm == PHOTOGRAPHED or not plan.imagined:
                imagine(plan, task, arm, workers)
            require_mergeable(plan.source(task, arm), plan.dataset(task, REAL))
        for arm in [*plan.arms, *(one.name for one in plan.extra if not one.alone)]:
            if arm == "ceiling":
                _demonstrate(plan, task, arm, _at_ceiling(plan, task), workers)
            elif arm in MADE or arm not in ARMS:
                _merge([plan.dataset(task, REAL), plan.source(task, arm)], plan.dataset(task, arm))


def require_mergeable(other: Path, real: Path) -> None:
    """Check that a dataset has the features, the frame size and the rate of another.

    Raises:
        Refused: it has not; the message names the first difference.
    """
    dataset = LabelledDataset.open(real)
    try:
        info = json.loads((other / "meta/info.json").read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"{other} cannot be read ({error}); expected a LeRobot v3 dataset") from error
    size = require_same(info, dataset.settings, other)
    if (size, info["fps"]) != (dataset.size, dataset.fps):
        raise Refused(
            f"{other} has frames of {size} at {info['fps']} fps; expected {dataset.size} at {dataset.fps}, as in {real}"
        )


def _demonstrate(plan: Plan, task: str, arm: str, episodes: int, workers: int) -> None:
    root = plan.dataset(task, arm)
    demonstrate(Demonstrations(root, task, episodes), workers)
    require_count(root, episodes)


def _at_ceiling(plan: Plan, task: str) -> int:
    if plan.ceiling is not None:
        return plan.ceiling
    if not plan.imagined:
        return plan.demonstrations + plan.more
    return plan.demonstrations + len(LabelledDataset.open(plan.source(task, IMAGINED)).episodes)


def _merge(roots: list[Path], out: Path) -> None:
    """Merge by LeRobot's own means; once merged it stays, unless the sources have other numbers of episodes."""
    wanted = sum(len(LabelledDataset.open(root).episodes) for root in roots)
    if out.exists():
        if (found := len(LabelledDataset.open(out).episodes)) != wanted:
            raise Refused(f"{out} has {found} episodes and its sources {wanted}; remove it to merge anew")
        return
    # Imported here: LeRobot costs seconds.
    from lerobot.datasets.dataset_tools import merge_datasets
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    parts = [LeRobotDataset(f"mask2iv/{number}", root=root.resolve()) for number, root in enumerate(roots)]
    merge_datasets(parts, f"mask2iv/{out.name}", output_dir=part)
    os.replace(part, out)
