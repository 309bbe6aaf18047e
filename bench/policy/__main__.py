"""Do imagined episodes make a policy better than its few demonstrations do? One command, from nothing to a report.

    python bench/policy --tasks coffee-push push-back --demonstrations 5 --more 90 --out bench_policy

Demonstrates, tunes a labeller on the demonstrations (mask2iv actions train --base), imagines more of them (mask2iv
imagine-dataset; --imagined takes a dataset of your own), trains LeRobot policies with lerobot-train on every arm's
dataset, tries them with lerobot-eval on the same scenes, and writes bench_policy/report.html, table.md and
episodes.csv. What is finished is kept: run it again after a kill, or copy bench_policy/results between machines. Arms:

"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark.datasets import make_datasets
from mask2iv_ros.policy.benchmark.plan import ARMS, Extra, Plan
from mask2iv_ros.policy.benchmark.report import in_words, write_report
from mask2iv_ros.policy.benchmark.results import read_results
from mask2iv_ros.policy.benchmark.runs import run_all


def main() -> int:
    """Run what is missing and report; return 0, or 2 where something was refused."""
    told = "\n".join(f"    {name:12} {words}" for name, words in ARMS.items())
    parser = argparse.ArgumentParser(
        "bench/policy", description=(__doc__ or "") + told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for datasets, runs and results")
    parser.add_argument("--tasks", nargs="+", default=Plan.tasks, help="(%(default)s)")
    parser.add_argument(
        "--demonstrations", type=int, default=Plan.demonstrations, help="real ones per task (%(default)s)"
    )
    parser.add_argument("--imagined", default="", help="a dataset of your own; {task} stands for the task")
    parser.add_argument(
        "--more", type=int, default=Plan.more, help="episodes to imagine per task and arm (%(default)s)"
    )
    parser.add_argument(
        "--photographs", type=int, default=Plan.photographs, help="scenes to photograph per task (%(default)s)"
    )
    parser.add_argument("--ceiling", type=int, help="demonstrations of the arm ceiling (as many as imagined has)")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=tuple(ARMS), help="(all)")
    parser.add_argument(
        "--extra",
        nargs="+",
        default=[],
        metavar="NAME=DATASET",
        help="further arms: a dataset to merge with the demonstrations; NAME:=DATASET trains on it alone",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=Plan.seeds, help="of the trainings (%(default)s)")
    parser.add_argument("--steps", type=int, default=Plan.steps, help="gradient steps (%(default)s)")
    parser.add_argument("--batch", type=int, default=Plan.batch, help="samples a step (%(default)s)")
    parser.add_argument("--episodes", type=int, default=Plan.episodes, help="scenes per policy (%(default)s)")
    parser.add_argument("--device", default="", help="cpu, cuda … (the best there is)")
    parser.add_argument("--workers", type=int, default=2, help="policies at a time, one CPU core each (%(default)s)")
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="the rest goes to lerobot-train as it is, for all arms"
    )
    parser.add_argument("--report", action="store_true", help="only write the report anew")
    given = parser.parse_args()
    try:
        plan = Plan(
            given.out.expanduser().resolve(),
            tuple(given.tasks),
            given.demonstrations,
            given.imagined,
            given.more,
            given.photographs,
            given.ceiling,
            tuple(given.arms),
            tuple(Extra.parse(one) for one in given.extra),
            tuple(given.seeds),
            given.steps,
            given.batch,
            given.episodes,
            given.device,
            tuple(given.options),
        )
        if not given.report:
            make_datasets(plan, given.workers)
            run_all(plan, given.workers)
        report = write_report(plan)
        print(in_words(plan, read_results(plan)))
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 2
    print(f"\nlook at: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
