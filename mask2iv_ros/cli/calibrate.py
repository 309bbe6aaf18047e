"""`mask2iv calibrate`: what a rollout's scores say about its true quality, and the thresholds of a good one."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from math import isnan
from pathlib import Path

from mask2iv_ros.data.clips import load_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import calibration
from mask2iv_ros.evaluation.calibration import Interval, Trials
from mask2iv_ros.generator.checkpoint import set_thresholds
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.parts import find
from mask2iv_ros.scoring.scores import SCORES
from mask2iv_ros.scoring.verdict import Thresholds

CHOSEN_ON = "validation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--checkpoint", default="default", help="folder or name (%(default)s)")
    parser.add_argument("--clips", type=Path, required=True, help="folder made by mask2iv data")
    parser.add_argument(
        "--split",
        choices=[name for name in SPLITS if name != "train"],
        default=CHOSEN_ON,
        help=f"{CHOSEN_ON}: choose thresholds and write them into the checkpoint; others: measure those it has",
    )
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    parser.add_argument("--per-task", type=int, help="clips per task (all)")
    parser.add_argument("--seeds", type=int, default=4, help="rollouts a clip, 2 to 64: N of best-of-N (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first rollout (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Imagine, measure, print, and on validation write the thresholds."""
    if not 2 <= arguments.seeds <= 64:
        raise Refused(f"seeds is {arguments.seeds}; expected 2 to 64")
    imaginer = Imaginer.load(arguments.checkpoint, arguments.device)
    clips = load_clips(arguments.clips, arguments.split, arguments.per_task)
    found, expected = clips[0].video.shape[:3], (imaginer.frames, *imaginer.size)
    if found != expected:
        raise Refused(f"clips are {found} (t, h, w); expected the checkpoint's {expected}")
    judged = list(calibration.imagine_trials(imaginer, clips, arguments.seeds, arguments.seed))
    trials = calibration.gather_trials(judged, imaginer.frames)
    choosing = arguments.split == CHOSEN_ON
    thresholds = calibration.choose_thresholds(trials) if choosing else imaginer.thresholds
    about = {
        "checkpoint": imaginer.name,
        "split": arguments.split,
        "clips": len(clips),
        "rollouts a clip": arguments.seeds,
        "seed": arguments.seed,
        "thresholds": {name: getattr(thresholds, name) for name in trials.scores},
    }
    figures = _figures(trials, thresholds, choosing)
    print(", ".join(f"{name}: {value}" for name, value in about.items() if name != "thresholds"))
    least = ", ".join(f"{name} {value:.3f}" for name, value in about["thresholds"].items())
    print(f"a good rollout has at least {least}")
    _print(figures)
    if missing := [name for name in SCORES if name not in trials.scores]:
        print(f"not there, so not judged: {', '.join(missing)}")
    if arguments.out:
        _write(arguments.out, about | {"figures": figures, "rollouts": [asdict(one) for one in judged]})
    if choosing:
        set_thresholds(find(arguments.checkpoint), thresholds, imaginer.sha256)
        print(f"thresholds written into {find(arguments.checkpoint)}")
    return 0


def _figures(trials: Trials, thresholds: Thresholds, choosing: bool) -> dict[str, dict]:
    good = trials.good(thresholds)
    tables = {
        f"good {good.mean():.0%}, doubtful {1 - good.mean():.0%}": calibration.good_and_doubtful(trials, good),
        "best of all seeds": calibration.best_of(trials, good),
        "rank correlation with quality": calibration.correlations(trials),
    }
    if choosing:
        # What is chosen on these very rollouts looks better than it is; across halves it does not.
        crossed, halves = calibration.across_halves(trials)
        name = f"good {halves.mean():.0%}, thresholds of one half of the clips on the other"
        tables[name] = calibration.good_and_doubtful(crossed, halves)
    return tables


def _print(figures: dict[str, dict[str, dict[str, Interval]]]) -> None:
    for title, table in figures.items():
        print(f"\n{title}, mean [95 % interval over clips]")
        for name, cells in table.items():
            line = "  ".join(f"{cell} {mean:.3f} [{low:.3f}, {high:.3f}]" for cell, (mean, low, high) in cells.items())
            print(f"  {name:16s} {line}")


def _write(path: Path, value: dict) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise Refused(f"{path} cannot be written ({error.strerror}); expected a file with room") from error


def _plain(value: object) -> object:
    """Return nested figures as JSON knows them, with null for what could not be measured."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value
