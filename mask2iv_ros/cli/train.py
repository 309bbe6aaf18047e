"""`mask2iv train`: trains autoencoder and both stages from clips, and writes a checkpoint."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.pair import PairTraining, train_pair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    default = PairTraining(Path(), Path())
    parser.add_argument("--clips", type=Path, required=True, help="folder made by mask2iv data")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for logs and states; a later run goes on there"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--name", default="default", help="of the checkpoint (%(default)s)")
    parser.add_argument("--only", metavar="PART", help="autoencoder, trajectory or video: train that part alone")
    parser.add_argument(
        "--autoencoder-steps", type=int, default=default.autoencoder.steps, help="gradient steps (%(default)s)"
    )
    for stage in ("trajectory", "video"):
        settings = getattr(default, stage)
        parser.add_argument(f"--{stage}-steps", type=int, default=settings.steps, help="gradient steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=default.video.batch, help="clips a step (%(default)s)")
    parser.add_argument("--sampling-steps", type=int, default=default.sampling_steps, help="of a stage (%(default)s)")
    parser.add_argument("--limit", type=int, help="training clips per task (all)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--threads", type=int, help="of torch (its own choice); one job a core beats one job on two")


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise Refused(f"threads is {arguments.threads}; expected at least 1")
        torch.set_num_threads(arguments.threads)
    default = PairTraining(arguments.clips, arguments.work)
    settings = replace(
        default,
        autoencoder=replace(default.autoencoder, steps=arguments.autoencoder_steps, seed=arguments.seed),
        sampling_steps=arguments.sampling_steps,
        limit=arguments.limit,
        seed=arguments.seed,
        **{
            stage: replace(
                getattr(default, stage),
                steps=getattr(arguments, f"{stage}_steps"),
                batch=arguments.batch,
                seed=arguments.seed,
            )
            for stage in ("trajectory", "video")
        },
    )
    folder = train_pair(settings, arguments.out, arguments.name, arguments.only)
    print(f"checkpoint in {folder}" if folder else f"{arguments.only} trained in {settings.work}")
    return 0
