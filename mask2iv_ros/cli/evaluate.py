"""`mask2iv evaluate`: held-out figures with baselines, as a table, JSON and an HTML report with films."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any

from mask2iv_ros.data.clips import load_clips
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.measure import measure, summarise
from mask2iv_ros.evaluation.report import write_report
from mask2iv_ros.generator.imagine import Imaginer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--clips", type=Path, required=True, help="folder made by mask2iv data")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.html, its films, and figures.json")
    parser.add_argument("--checkpoint", default="default", help="folder or name (%(default)s)")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="(%(default)s)")
    parser.add_argument("--per-task", type=int, help="clips per task (all)")
    parser.add_argument("--steps", type=int, help="denoising steps of a stage (the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument("--random", type=int, default=8, help="rollouts shown that chance picks (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write."""
    if arguments.random < 0:
        raise Refused(f"--random is {arguments.random}; expected 0 or more rollouts")
    imaginer = Imaginer.load(arguments.checkpoint, arguments.device, arguments.steps)
    test = load_clips(arguments.clips, arguments.split, arguments.per_task)
    found, expected = test[0].video.shape[:3], (imaginer.frames, *imaginer.size)
    if found != expected:
        raise Refused(f"clips are {found} (t, h, w); expected the checkpoint's {expected}")
    measured = measure(imaginer, test, load_clips(arguments.clips, "train"), arguments.seed)
    summary = summarise(measured)
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {
        "checkpoint": imaginer.name,
        "split": arguments.split,
        "clips": len(test),
        "steps": imaginer.stage_steps,
        "seed": arguments.seed,
        "command": shlex.join(["mask2iv", *sys.argv[1:]]),
        "versions": _versions(),
    }
    figures = json.dumps(about | {"figures": _without_nan(summary)}, indent=1, allow_nan=False)
    (arguments.out / "figures.json").write_text(figures + "\n")
    for task, methods in summary.items():
        count = sum(task in ("all", one.clip.task) for one in measured)
        print(f"\n{task}, {count} {arguments.split} clips, mean [95 % interval]")
        for method, figures in methods.items():
            cells = "  ".join(
                f"{name} {mean:.3f} [{low:.3f}, {high:.3f}]" for name, (mean, low, high) in figures.items()
            )
            print(f"  {method:38s} {cells}")
    report = write_report(arguments.out, measured, summary, about, arguments.random, arguments.seed)
    print(f"\nlook at: {report}")
    return 0


def _without_nan(value: Any) -> Any:
    """Return nested figures with null for what could not be measured: JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_without_nan(one) for one in value]
    return None if isnan(value) else value


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("mask2iv_ros", "torch", "diffusers", "numpy"))
