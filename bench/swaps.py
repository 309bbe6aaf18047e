"""What limits imagined demonstrations: each part swapped for the truth, a dataset a swap, for `bench/policy --extra`.

    python bench/swaps.py --demonstrations ceiling --episodes 10-39 --labeller labeller --out swaps

Of the same real episodes, which the policy's own demonstrations do not hold:

    labels     the true video with estimated actions: what the labeller costs
    video      the video imagined from the true masks, with estimated actions: and stage 2
    motion     both stages, from the first frame towards the true goal, with estimated actions: and stage 1

Nothing is left out, however doubtful.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import RobotColumns, read_provenance
from mask2iv_ros.export.shard import lerobot_contained, write_shard
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.imagining.settings import parse_selection
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

SWAPS = ("labels", "video", "motion")


def main() -> None:
    """Write the datasets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demonstrations", type=Path, required=True, help="real episodes with actions")
    parser.add_argument("--episodes", required=True, help="which of them, such as 10-39")
    parser.add_argument("--labeller", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--checkpoint", default="default", help="that imagines (%(default)s)")
    arguments = parser.parse_args()
    if there := [swap for swap in SWAPS if (arguments.out / swap).exists()]:
        raise Refused(f"{arguments.out / there[0]} is there; expected a folder without it")
    dataset = LabelledDataset.open(arguments.demonstrations)
    labeller = Labeller.load(arguments.labeller)
    labeller.require_same(dataset.settings, dataset.fps, dataset.size, arguments.demonstrations)
    imaginer = Imaginer.load(arguments.checkpoint)
    known = {one.episode: one for one in read_provenance(arguments.demonstrations, imagined_only=False)}
    made: dict[str, list[tuple[Rollout, RobotColumns]]] = {swap: [] for swap in SWAPS}
    for index in tqdm(parse_selection(arguments.episodes, sorted(known)), unit="episode", desc="swapping"):
        episode, robot = dataset.read(index), dataset.robot(index)
        scene, goal = Scene(episode.video[0], episode.labels[0]), Goal(episode.goal_mask, dataset.episodes[index].task)
        told = {"seed": known[index].seed, "rollout_id": known[index].id}
        true = Rollout(
            id=known[index].id,
            scene=scene,
            goal=goal,
            trajectory=Trajectory(episode.labels),
            video=episode.video,
            fps=float(dataset.fps),
            seed=known[index].seed,
            checkpoint="",
        )
        followed = imaginer.imagine(scene, goal, trajectory=true.trajectory, **told)
        free = imaginer.imagine(scene, goal, **told)
        estimates = labeller.label([true, followed, free], [robot.state[0]] * len(SWAPS))
        measured = replace(estimates[0].estimate, state_deviation=None)
        estimates[0] = replace(estimates[0], state=robot.state, estimate=measured)
        for swap, rollout, estimate in zip(SWAPS, (true, followed, free), estimates, strict=True):
            made[swap].append((rollout, estimate))
    for swap, pairs in made.items():
        rollouts, robots = zip(*pairs, strict=True)
        with lerobot_contained(arguments.out / "cache"):
            write_shard(rollouts, arguments.out / swap, dataset.settings, swap != "labels", robots)


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        raise SystemExit(str(refusal)) from refusal
