"""Seconds of one rollout: stage 1, stage 2, export; and what ROS adds from goal mask to rollout.

    .venv/bin/python bench/rollout.py --repeats 5

The part on ROS runs all nodes with the stand-in camera (640 x 480), publishes goal masks and takes
the time until the rollout arrives, less the imagine node's own time for it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from tqdm import trange

from mask2iv_ros.cameras.metaworld import MetaWorldCamera
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.export.writer import DatasetWriter
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.ros.bringup import Arguments, Bringup
from mask2iv_ros.scene import Goal

TASK = "plate-slide"


def generator_and_export(repeats: int, checkpoint: str, folder: Path) -> dict[str, list[float]]:
    """Return seconds of loading, stages and export; the first run of each warms up and is left out."""
    begin = time.perf_counter()
    imaginer = Imaginer.load(checkpoint)
    seconds: dict[str, list[float]] = {
        "load": [time.perf_counter() - begin],
        "stage 1": [],
        "stage 2": [],
        "export": [],
    }
    with MetaWorldCamera((TASK,)) as camera:
        found = camera.next_scene(TASK, SPLITS["test"].start)
    goal = Goal(found.goal_mask)
    with DatasetWriter(folder / "dataset") as writer:
        for index in trange(repeats + 1, desc="generator", unit="rollout"):
            stamps = [time.perf_counter()]
            trajectory = imaginer.trajectory(found.scene, goal, seed=index)
            stamps.append(time.perf_counter())
            rollout = imaginer.imagine(
                found.scene, goal, seed=index, rollout_id=f"bench-{index}", trajectory=trajectory
            )
            stamps.append(time.perf_counter())
            writer.append([rollout])
            stamps.append(time.perf_counter())
            if index:
                for name, first, last in zip(("stage 1", "stage 2", "export"), stamps, stamps[1:], strict=False):
                    seconds[name].append(last - first)
    return seconds


def through_ros(repeats: int, checkpoint: str, folder: Path) -> list[float]:
    """Return the seconds that ROS adds to each imagination; the first warms up and is left out."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    from mask2iv_ros.ros.fastdds import use_image_profile

    use_image_profile(os.environ)
    import rclpy

    from mask2iv_ros.ros.operator import Operator

    graph = Arguments(
        namespace="mask2iv_bench",
        checkpoint=checkpoint,
        dataset=str(folder / "ros_dataset"),
        stand_in="metaworld",
        # Exporting the rollout before would share the cores with the one that is timed.
        parameters={"export": {"accept": "service"}},
    )
    added = []
    rclpy.init()
    with Bringup(graph, lambda line: None):
        operator = Operator("mask2iv_bench")
        operator.wait_ready()
        scene = operator.show_scene(TASK, SPLITS["test"].start)
        node = "mask2iv_bench/imagine"
        for index in trange(repeats + 1, desc="through ROS", unit="rollout"):
            operator.capture()
            begin = time.perf_counter()
            operator.set_goal(scene.goal_mask)
            operator.wait("the rollout", lambda n=index + 1: len(operator.rollouts) >= n, 600.0)
            total = time.perf_counter() - begin
            operator.wait(
                "the node's own time",
                lambda n=str(index + 1): (
                    operator.figures[node]["rollouts"] == n and operator.reports[node][1] == "ready"
                ),
                10.0,
            )
            if index:
                added.append(total - float(operator.figures[node]["seconds of the last imagination"]))
        operator.destroy_node()
    rclpy.try_shutdown()
    return added


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--checkpoint", default="default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = generator_and_export(arguments.repeats, arguments.checkpoint, Path(folder))
        rows["added by ROS"] = through_ros(arguments.repeats, arguments.checkpoint, Path(folder))
    for name, seconds in rows.items():
        print(f"{name:14s} median {statistics.median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f} s")


if __name__ == "__main__":
    main()
