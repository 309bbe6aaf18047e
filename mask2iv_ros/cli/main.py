"""`mask2iv`: one verb a file; a refused input is one sentence on stderr and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from mask2iv_ros import __version__
from mask2iv_ros.errors import Refused

VERBS = {
    "demo": "the whole graph with the stand-in camera: watch a robot imagine",
    "up": "start the nodes for a camera, without ros2 launch",
    "imagine": "image + label image + goal mask to rollouts, without ROS",
    "imagine-dataset": "imagine many rollouts from a dataset's first frames",
    "data": "make training clips",
    "convert": "make a checkpoint of a DynamiCrafter checkpoint",
    "train": "train a checkpoint from clips",
    "actions": "learn a robot's actions from demonstrations, and estimate those of rollouts",
    "evaluate": "measure a checkpoint on held-out clips against baselines",
    "weights": "get the networks that evaluate needs for LPIPS and FVD",
    "ablate": "train and measure the paper's ablation table at small scale",
    "calibrate": "what makes a rollout good or doubtful, from clips whose truth is known",
    "bench": "seconds, TFLOP/s and memory of every part",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser("mask2iv", description="A robot imagines how it brings an object to a goal.")
    parser.add_argument("--version", action="version", version=f"mask2iv {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        # Only the chosen verb is imported: torch and rclpy cost seconds.
        if argv[:1] == [name]:
            _module(name).add_arguments(verb)
    arguments = parser.parse_args(argv)
    try:
        return _module(arguments.verb).run(arguments)
    except Refused as refusal:
        print(f"mask2iv {arguments.verb}: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _module(verb: str) -> ModuleType:
    return import_module(f"mask2iv_ros.cli.{verb.replace('-', '_')}")


if __name__ == "__main__":
    sys.exit(main())
