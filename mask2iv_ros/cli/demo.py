"""`mask2iv demo`: all nodes on real rclpy, a goal mask on the topic, rollouts, a dataset, pictures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.sheet import contact_sheet, describe_scores, rollout_strips, write_png
from mask2iv_ros.evaluation.video import side_by_side, write_mp4
from mask2iv_ros.ros.bringup import Arguments, Bringup
from mask2iv_ros.scene import Rollout

NAMESPACE = "mask2iv_demo"
# Three that differ; all would take minutes on a CPU.
SHOWN = ("plate-slide", "push", "faucet-close")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--out", type=Path, default=Path("mask2iv_demo"), help="folder of the results (%(default)s)")
    parser.add_argument("--tasks", nargs="+", default=list(SHOWN), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--rollouts", type=int, default=2, help="per scene, 1 to 64 (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which of the scenes never trained on (%(default)s)")
    parser.add_argument("--checkpoint", default="default", help="folder or name (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    if not 1 <= arguments.rollouts <= 64:
        raise Refused(f"rollouts is {arguments.rollouts}; expected 1 to 64")
    for task in arguments.tasks:
        if task not in TASKS:
            raise Refused(f"task {task!r} is unknown; accepted are {', '.join(TASKS)}")
    if not 0 <= arguments.seed < len(SPLITS["test"].seeds):
        raise Refused(f"seed is {arguments.seed}; expected 0 to {len(SPLITS['test'].seeds) - 1}")
    out = arguments.out.expanduser().resolve()
    out.mkdir(parents=True, exist_ok=True)
    # A demo must not talk to a robot that happens to be on the network.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    graph = Arguments(
        namespace=NAMESPACE,
        checkpoint=arguments.checkpoint,
        dataset=str(out / "dataset"),
        stand_in="metaworld",
        parameters={"imagine": {"rollouts": arguments.rollouts, "seed": arguments.seed}},
    )
    with (out / "nodes.log").open("w") as log:
        bringup = Bringup(graph, lambda line: print(line, file=log, flush=True))
        rollouts, exported = _drive(bringup, arguments, out)
    sheet, film = out / "contact_sheet.png", out / "rollouts.mp4"
    write_png(sheet, contact_sheet([strip for one in rollouts for strip in rollout_strips(one)]))
    write_mp4(film, side_by_side(rollouts), rollouts[0].fps)
    for one in rollouts:
        print(f"{one.id}: {one.goal.instruction or 'goal mask'}; {describe_scores(one)}; episode {exported[one.id]}")
    print(f"contact sheet: {sheet}\nvideo:         {film}\ndataset:       {out / 'dataset'} (LeRobot v3)")
    return 0


def _drive(bringup: Bringup, arguments: argparse.Namespace, out: Path) -> tuple[list[Rollout], dict[str, int]]:
    """Start the nodes, have one goal a task imagined, and return rollouts and their episodes."""
    from mask2iv_ros.ros.fastdds import use_image_profile

    use_image_profile(os.environ)
    import rclpy

    from mask2iv_ros.ros.operator import Operator

    def alive() -> None:
        if ended := bringup.poll():
            raise Refused(f"the nodes {', '.join(ended)} ended; why is in {out / 'nodes.log'}")
        bar.set_postfix_str(operator.reports.get(f"{NAMESPACE}/imagine", (0, ""))[1], refresh=False)
        bar.update(len(operator.rollouts) - bar.n)

    rclpy.init()
    try:
        with bringup, tqdm(total=len(arguments.tasks) * arguments.rollouts, desc="imagining", unit="rollout") as bar:
            operator = Operator(NAMESPACE, alive)
            operator.wait_ready(300.0)
            for index, task in enumerate(arguments.tasks, 1):
                scene = operator.show_scene(task, SPLITS["test"].seeds.start + arguments.seed)
                operator.capture()
                operator.set_goal(scene.goal_mask)
                expected = index * arguments.rollouts
                operator.wait("the rollouts", lambda n=expected: len(operator.rollouts) >= n, 600.0)
            ids = {one.id for one in operator.rollouts}
            operator.wait("the dataset", lambda: ids <= set(operator.exported), 120.0)
            bar.update(len(operator.rollouts) - bar.n)
            operator.destroy_node()
            return operator.rollouts, operator.exported
    finally:
        rclpy.try_shutdown()
