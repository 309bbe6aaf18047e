"""The command lines of LeRobot that the benchmark runs, and what their logs say."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from mask2iv_ros.policy.benchmark.plan import Plan, Run

PLUGIN = "mask2iv_ros.policy"
_LOGGED = 20  # steps between two lines of the log
_SAVED = 200  # steps between two checkpoints; a multiple of the former, so that a log that goes on keeps its rhythm
_LOSS = re.compile(r"\bstep:\S+ .*?\bloss:([0-9.]+|nan|inf)")
# The affine transform among LeRobot's own moves the picture, and not the goal mask that belongs to it.
_TRANSFORMS = {
    name: {"weight": 1.0, "type": "ColorJitter", "kwargs": {name: [low, high]}}
    for name, low, high in (("brightness", 0.7, 1.3), ("contrast", 0.7, 1.3), ("saturation", 0.5, 1.5))
}


def training(plan: Plan, run: Run) -> tuple[list[str], int]:
    """Return the command that trains, or goes on training, and the step that it begins at."""
    out = plan.work(run) / "train"
    program = [sys.executable, "-m", "lerobot.scripts.lerobot_train", f"--policy.discover_packages_path={PLUGIN}"]
    last = out / "checkpoints/last/pretrained_model/train_config.json"
    if last.is_file():
        step = json.loads((last.parents[1] / "training_state/training_step.json").read_text())["step"]
        return [*program, f"--config_path={last}", "--resume=true"], step
    command = [
        *program,
        "--policy.type=small_act",
        "--policy.push_to_hub=false",
        f"--dataset.repo_id=mask2iv/{run.name}",
        f"--dataset.root={plan.dataset(run.task, run.arm).resolve()}",
        f"--output_dir={out}",
        f"--seed={run.seed}",
        f"--steps={plan.steps}",
        f"--batch_size={plan.batch}",
        f"--log_freq={min(_LOGGED, plan.steps)}",
        f"--save_freq={_SAVED}",
        "--num_workers=0",
        *_device(plan),
        *plan.options,
    ]
    if run.arm == "blind":
        command.append("--policy.blind=true")
    if run.arm == "augmented":
        command += [
            "--dataset.image_transforms.enable=true",
            f"--dataset.image_transforms.tfs={json.dumps(_TRANSFORMS)}",
        ]
    return command, 0


def evaluation(plan: Plan, run: Run) -> list[str]:
    """Return the command that tries a run's policy."""
    work = plan.work(run)
    return [
        sys.executable,
        "-m",
        "lerobot.scripts.lerobot_eval",
        f"--policy.path={work / 'train/checkpoints/last/pretrained_model'}",
        f"--env.discover_packages_path={PLUGIN}",
        "--env.type=mask2iv_metaworld",
        f"--env.task={run.task}",
        f"--env.records={records(plan, run)}",
        f"--output_dir={work / 'eval'}",
        f"--eval.n_episodes={plan.episodes}",
        "--eval.batch_size=1",
        "--seed=0",
        *_device(plan),
    ]


def records(plan: Plan, run: Run) -> Path:
    """Return the file in which the environment notes every episode."""
    return plan.work(run) / "episodes.jsonl"


def losses(plan: Plan, logs: dict[int, Path]) -> list[tuple[int, float]]:
    """Return (step, training loss) from the logs of a training, by the step that each begins at."""
    every = min(_LOGGED, plan.steps)
    found: dict[int, float] = {}
    for start, log in sorted(logs.items()):
        for number, match in enumerate(_LOSS.finditer(log.read_text(errors="replace")), start=1):
            found[start + number * every] = float(match[1])
    return sorted(found.items())


def episodes(plan: Plan, run: Run) -> list[dict[str, Any]]:
    """Return what the environment noted."""
    return [json.loads(line) for line in records(plan, run).read_text().splitlines()]


def _device(plan: Plan) -> list[str]:
    return [f"--policy.device={plan.device}"] if plan.device else []
