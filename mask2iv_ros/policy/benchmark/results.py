"""One file of JSON per run, which may come from any machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark.plan import Plan, Run

_FILMED = 10  # by lerobot-eval


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        run: which.
        training: `losses` [(step, loss)], `episodes` and `frames` of the dataset, `wall_s`, `cpu_s`, `command`.
        evaluation: `episodes` as `trials.Trials` records them, `wall_s`, `cpu_s`, `command`.
    """

    run: Run
    training: dict[str, Any]
    evaluation: dict[str, Any]

    def values(self, figure: str) -> dict[int, float]:
        """Return a figure of every scene that the policy was tried on, by the scene's seed."""
        return {one["seed"]: float(one[figure]) for one in self.evaluation["episodes"]}


def write_result(plan: Plan, result: Result, films: Sequence[Path]) -> None:
    """Keep a result and the first films of its policy."""
    path = plan.result(result.run)
    beside = path.with_suffix("")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for number, film in enumerate(films[:_FILMED]):
        shutil.copyfile(film, beside / f"{number}.mp4")
    text = {
        "run": asdict(result.run),
        "plan": plan.settings_of(result.run.arm),
        "training": result.training,
        "evaluation": result.evaluation,
        "machine": {"cpu": _processor(), "lerobot": version("lerobot"), "torch": version("torch")},
    }
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(text, indent=1))
    os.replace(part, path)


def read_results(plan: Plan) -> list[Result]:
    """Return the results of the plan's runs that there are.

    Raises:
        Refused: one cannot be read, or was made with other settings than the plan's.
    """
    return [read_result(plan, run) for run in plan.runs if plan.result(run).is_file()]


def read_result(plan: Plan, run: Run) -> Result:
    """Return the result of a run.

    Raises:
        Refused: it cannot be read, or was made with other settings than the plan's.
    """
    path = plan.result(run)
    try:
        found = json.loads(path.read_text())
        settings = dict(found["plan"])
        result = Result(Run(**found["run"]), found["training"], found["evaluation"])
        (seeds,) = {tuple(sorted(result.values(figure))) for figure in ("success", "distance_m", "goal_iou")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refused(f"{path} cannot be read ({error}); remove it to have the run repeated") from error
    if result.run != run:
        raise Refused(f"{path} is of the run {result.run.name}; expected {run.name}")
    for name, wanted in plan.settings_of(run.arm).items():
        if settings.get(name) != wanted:
            raise Refused(f"{path} was made with {name} {settings.get(name)}; expected {wanted}, or another folder")
    if seeds != tuple(range(plan.episodes)):
        raise Refused(f"{path} has {len(seeds)} scenes; expected those of seeds 0 to {plan.episodes - 1}")
    return result


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
