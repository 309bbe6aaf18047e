"""`mask2iv ablate`: the paper's ablation table at small scale, trained, measured and compared by one command."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by mask2iv data: train, validation, test")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is made; a later call goes on")
    parser.add_argument("--config", default="ablation_stage2", help="experiment of the full row (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one of its settings")
    parser.add_argument("--steps", type=int, help="gradient steps of every training (the experiment's)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of every row (%(default)s)")
    parser.add_argument("--variants", nargs="+", metavar="ROW", help="rows, in their order in the table (all)")
    parser.add_argument("--clips", type=int, help="test clips per task (all)")
    parser.add_argument("--base", default="default", help="checkpoint that gives the autoencoder (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a training (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch in each process (%(default)s)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu"], help="where to train (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Train what is not trained, measure what is not measured, compare and write."""
    # Imported here: torch and diffusers cost seconds, which --help should not.
    from mask2iv_ros.ablation.compare import compare
    from mask2iv_ros.ablation.measure import measure_runs
    from mask2iv_ros.ablation.plan import Ablation
    from mask2iv_ros.ablation.report import in_words, write_reports
    from mask2iv_ros.ablation.train import train_runs
    from mask2iv_ros.ablation.variants import VARIANTS
    from mask2iv_ros.ablation.workers import Workers
    from mask2iv_ros.cli.train import experiment_file
    from mask2iv_ros.evaluation.frechet import frechet_distance
    from mask2iv_ros.training.experiment import read_experiment

    steps = [] if arguments.steps is None else [f"optimiser.steps={arguments.steps}"]
    plan = Ablation(
        arguments.data,
        arguments.out,
        read_experiment(experiment_file(arguments.config), [*arguments.set, *steps]),
        arguments.base,
        tuple(arguments.variants or VARIANTS),
        arguments.seeds,
        arguments.clips,
        arguments.workers,
        arguments.threads,
        arguments.device,
    )
    with Workers(plan.workers, plan.threads, most=len(plan.runs) + 1) as workers:
        train_runs(plan, workers)
        results = measure_runs(plan, workers)
    comparison = compare(results.rows, results.truth, frechet_distance)
    report = write_reports(plan, results, comparison)
    print(in_words(plan, results, comparison))
    print(f"\nlook at: {report}")
    return 0
