"""`mask2iv imagine-dataset`: imagines a dataset from the first frames of another, to be merged with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mask2iv_ros.scene import GOOD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", type=Path, help="LeRobot v3 dataset with labels, as mask2iv data writes it")
    parser.add_argument(
        "--scenes", type=Path, help="another dataset of the same camera, whose first frames are begun with"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder: the dataset is OUT/train, beside it a report")
    parser.add_argument("--labeller", type=Path, help="folder of what estimates actions, from mask2iv actions train")
    parser.add_argument(
        "--without-actions", action="store_true", help="leave out state and action; the result cannot be merged"
    )
    parser.add_argument(
        "--goals", nargs="+", default=["places"], metavar="KIND", help="places, moves, episodes, list:FILE (places)"
    )
    parser.add_argument("--rollouts", type=int, default=4, help="for each first frame (%(default)s)")
    parser.add_argument("--best-of", type=int, default=1, help="each rollout is the best of so many (%(default)s)")
    parser.add_argument("--keep", choices=("all", GOOD), default=GOOD, help="which the dataset takes (%(default)s)")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--every", type=int, help="begin at every so manieth frame of an episode")
    begin.add_argument("--frames", type=int, nargs="+", default=[0], help="begin at these frames (0)")
    parser.add_argument("--episodes", default="", help="a selection such as 0-9,12 (all that a camera has seen)")
    parser.add_argument("--checkpoint", default="default", help="folder, name or hub id (%(default)s)")
    parser.add_argument("--steps", type=int, help="denoising steps of a stage (the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0, help="of goals and noise (%(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="rollouts at once (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with its own generator (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Imagine what is asked for."""
    # Imported here: torch costs seconds, which --help should not.
    from mask2iv_ros.imagining.report import write_report
    from mask2iv_ros.imagining.run import imagine_dataset
    from mask2iv_ros.imagining.settings import ImaginingSettings

    told = {name: value for name, value in vars(arguments).items() if name not in ("verb", "workers")}
    settings = ImaginingSettings(**told | {name: tuple(told[name]) for name in ("goals", "frames")})
    summary = imagine_dataset(settings, arguments.workers)
    print("\n".join(summary.lines()))
    print(f"report:  {write_report(summary, settings)}")
    print(f"dataset: {settings.dataset if summary.kept else 'none, as nothing was kept'}")
    if settings.without_actions:
        print(f"it has neither state nor action: it cannot be merged with {settings.source}")
    return 0
