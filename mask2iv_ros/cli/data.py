"""`mask2iv data`: makes clips, a LeRobot v3 dataset for each split, and trajectories that stage 1 samples for them.

Meta-World's and trajectories here; from footage of robots and hands: `data_build`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.cli.data_build import add_builders
from mask2iv_ros.data.demonstrations import Demonstrations, demonstrate
from mask2iv_ros.data.metaworld import MetaWorldClips, build
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.errors import Refused


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
    metaworld.add_argument("--actions", action="store_true", help="with states and actions: for mask2iv actions")
    metaworld.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    metaworld.set_defaults(make=_clips)
    shown = sources.add_parser("demonstrations", help="of one simulated robot before one camera, with actions")
    shown.add_argument("--out", type=Path, required=True, help="folder of the dataset; episodes in it are kept")
    shown.add_argument("--task", required=True, metavar="TASK", help=", ".join(TASKS))
    shown.add_argument("--episodes", type=int, default=30, help="that reach the goal, in all (%(default)s)")
    shown.add_argument("--first", type=int, default=0, help="number of the first scene (%(default)s)")
    shown.add_argument("--looks", type=int, default=0, help="which colours and lights (%(default)s)")
    shown.add_argument(
        "--play", action="store_true", help="the hand moves about: for mask2iv actions, no operator needed"
    )
    shown.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    shown.set_defaults(make=_demonstrations)
    add_builders(sources)
    sampled = sources.add_parser("trajectories", help="stage 1's own, for the training of stage 2")
    sampled.add_argument("--data", type=Path, required=True, help="LeRobot v3 dataset with a label image per frame")
    sampled.add_argument("--checkpoint", required=True, help="with stage 1: folder, name or hub id")
    sampled.add_argument("--out", type=Path, help="folder, whose trajectories are kept (beside --data)")
    sampled.add_argument("--episodes", type=int, help="so many, drawn; more go on from fewer (all)")
    sampled.add_argument("--draws", type=int, default=1, help="trajectories of a window (%(default)s)")
    sampled.add_argument("--steps", type=int, default=6, help="of denoising (%(default)s)")
    sampled.add_argument(
        "--strength", type=float, default=0.9, help="of the noise put on the true one; 1: free samples (%(default)s)"
    )
    sampled.add_argument("--seed", type=int, default=0, help="of noise and order (%(default)s)")
    sampled.add_argument("--strides", type=int, nargs="+", default=[1], help="of the windows (%(default)s)")
    sampled.add_argument("--every", type=int, default=8, help="frames from window to window (%(default)s)")
    sampled.add_argument("--batch", type=int, default=8, help="windows at once (%(default)s)")
    sampled.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="(%(default)s)")
    sampled.add_argument("--camera", help="whose frames and labels, where the dataset has several")
    sampled.add_argument("--device", default="auto", choices=["auto", "cpu"], help="(%(default)s)")
    sampled.add_argument("--threads", type=int, help="of torch (its own choice)")
    sampled.set_defaults(make=_trajectories)


def run(arguments: argparse.Namespace) -> int:
    """Make what is asked for."""
    return arguments.make(arguments)


def _clips(arguments: argparse.Namespace) -> int:
    settings = MetaWorldClips(
        out=arguments.out,
        tasks=tuple(arguments.tasks),
        size=tuple(arguments.size),
        clips=tuple((split, getattr(arguments, split)) for split in SPLITS),
        actions=arguments.actions,
    )
    made = build(settings, arguments.workers)
    print(f"{made} clips rendered into {settings.out}")
    return 0


def _demonstrations(arguments: argparse.Namespace) -> int:
    settings = Demonstrations(
        arguments.out,
        arguments.task,
        arguments.episodes,
        arguments.first,
        Rig(looks=arguments.looks),
        play=arguments.play,
    )
    added = demonstrate(settings, arguments.workers)
    print(f"{added} demonstrations of {settings.task} added to {settings.out}")
    return 0


def _trajectories(arguments: argparse.Namespace) -> int:
    # Imported here: torch and diffusers cost seconds, which --help should not.
    import torch

    from mask2iv_ros.training.trajectories import Drawing, sample_trajectories

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise Refused(f"threads is {arguments.threads}; expected at least 1")
        torch.set_num_threads(arguments.threads)
    drawing = Drawing(
        arguments.draws,
        arguments.steps,
        arguments.strength,
        arguments.seed,
        tuple(arguments.strides),
        arguments.every,
        arguments.precision,
    )
    device = "cuda" if arguments.device == "auto" and torch.cuda.is_available() else "cpu"
    folder, made = sample_trajectories(
        arguments.data,
        arguments.checkpoint,
        drawing,
        arguments.out,
        arguments.episodes,
        arguments.camera,
        device,
        arguments.batch,
    )
    print(f"trajectories of {made} episodes sampled into {folder}")
    return 0
