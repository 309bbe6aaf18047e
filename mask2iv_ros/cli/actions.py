"""`mask2iv actions`: trains a labeller from demonstrations, and estimates the actions of rollouts with it."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from mask2iv_ros.errors import Refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    verbs = parser.add_subparsers(dest="part", metavar="PART", required=True)
    train = verbs.add_parser("train", help="a labeller, from demonstrations with actions")
    train.add_argument("--data", type=Path, required=True, help="LeRobot v3 dataset with labels and actions")
    train.add_argument("--validation", type=Path, help="another one, to measure on (a share of --data's episodes)")
    train.add_argument("--out", type=Path, required=True, help="new folder of the labeller and its report")
    train.add_argument("--state", action="store_true", help="estimate observation.state, too")
    train.add_argument(
        "--compare-masks", action="store_true", help="measure a network without masks, too: twice the time"
    )
    train.add_argument("--camera", help="whose frames and labels, where a dataset has several")
    train.add_argument(
        "--base", help="labeller to go on from, of the same robot before any camera: a folder, or default_labeller"
    )
    train.add_argument(
        "--config", default="default_actions", help="a name under config/experiments, or a YAML file (%(default)s)"
    )
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one of its settings")
    train.set_defaults(act=_train)
    label = verbs.add_parser("label", help="rollouts, into a dataset with actions")
    label.add_argument("--data", type=Path, required=True, help="LeRobot v3 dataset of rollouts")
    label.add_argument("--labeller", required=True, help="folder that train wrote, or default_labeller")
    label.add_argument("--out", type=Path, required=True, help="dataset to add to; ids that it has are skipped")
    label.add_argument("--drop", action="store_true", help="leave out rollouts whose actions are doubtful")
    label.add_argument("--camera", help="whose frames and labels, where a dataset has several")
    label.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    label.set_defaults(act=_label)
    for one in (train, label):
        one.add_argument("--threads", type=int, help="of torch (its own choice); one job a core beats one job on two")


def run(arguments: argparse.Namespace) -> int:
    """Train or label."""
    # Imported here: torch costs seconds, which --help should not.
    import torch

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise Refused(f"threads is {arguments.threads}; expected at least 1")
        torch.set_num_threads(arguments.threads)
    return arguments.act(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from mask2iv_ros.actions.report import BLIND, OURS
    from mask2iv_ros.actions.settings import LabellerExperiment
    from mask2iv_ros.actions.train import train_labeller
    from mask2iv_ros.cli.train import experiment_file
    from mask2iv_ros.evaluation.html import write_value
    from mask2iv_ros.training.reading import read_settings

    experiment = read_settings(LabellerExperiment, experiment_file(arguments.config), arguments.set)
    findings = train_labeller(
        experiment,
        arguments.data,
        arguments.out,
        arguments.validation,
        state=arguments.state,
        compare_masks=arguments.compare_masks,
        camera=arguments.camera,
        base=arguments.base,
    )
    labeller = findings.labeller
    for column in labeller.actions.constant:
        value = labeller.actions.mean[column]
        print(f"{labeller.settings.action[column]}: constant, kept at {value:g}")
    for method, columns in findings.figures().items():
        for name, row in columns.items():
            told = f"{method}, {name}: RMSE {' '.join(write_value(row['rmse'], 3))}, R2 {row['r2']:.3f}"
            if method in (OURS, BLIND):
                told += f", slopes {row['slope']:.2f} and {row['slope_of_truth']:.2f}"
            print(told)
    print(f"labeller {labeller.source} in {arguments.out}\nreport:  {arguments.out / 'report.html'}")
    return 0


def _label(arguments: argparse.Namespace) -> int:
    from mask2iv_ros.actions.label import label_dataset
    from mask2iv_ros.actions.labeller import Labeller

    labeller = Labeller.load(arguments.labeller, arguments.device)
    done = label_dataset(labeller, arguments.data, arguments.out, arguments.drop, arguments.camera)
    for name, why in (done.doubtful | done.dropped).items():
        print(f"{name}: {why}")
    for words, group in (("doubtful", done.doubtful), ("left out as doubtful", done.dropped)):
        if group:
            reasons = Counter(one.split(" (")[0] for why in group.values() for one in why.split(": ", 1)[1].split("; "))
            print(f"{len(group)} {words}: {', '.join(f'{count} {why}' for why, count in reasons.most_common())}")
    print(f"{done.written} labelled by {labeller.source}, {done.there} were there already: {arguments.out}")
    return 0
