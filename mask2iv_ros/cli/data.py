"""`mask2iv data`: makes clips, a LeRobot v3 dataset for each split."""

from __future__ import annotations

import argparse
from pathlib import Path

from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.metaworld import MetaWorldClips, build
from mask2iv_ros.data.splits import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    metaworld = sources.add_parser("metaworld", help="scripted experts before the stand-in camera")
    metaworld.add_argument("--out", type=Path, required=True, help="folder of the splits; clips in them are kept")
    metaworld.add_argument("--tasks", nargs="+", default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    for name, split in SPLITS.items():
        option, words = f"--{name.replace('_', '-')}", name.replace("_", " ")
        metaworld.add_argument(option, type=int, default=split.clips, help=f"clips per task, {words} (%(default)s)")
    metaworld.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("HEIGHT", "WIDTH"), help="pixels")
    metaworld.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Build the clips."""
    settings = MetaWorldClips(
        out=arguments.out,
        tasks=tuple(arguments.tasks),
        size=tuple(arguments.size),
        clips=tuple((split, getattr(arguments, split)) for split in SPLITS),
    )
    made = build(settings, arguments.workers)
    print(f"{made} clips rendered into {settings.out}")
    return 0
