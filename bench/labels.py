"""Do estimated actions do what was imagined? Imagines held-out scenes, labels the rollouts, and executes the labels.

    .venv/bin/python bench/labels.py --labeller LABELLER --demonstrations HELD_OUT --scenes 20 --out OUT

Every scene is begun anew for each way to act: the expert's recorded actions, labels of the true video, labels of an
imagined one, and nothing. Reported are success, the object's distance from where the expert left it and the IoU of its
mask with the goal mask, with 95 % intervals over scenes, the differences scene by scene, and all of it apart for good
and doubtful rollouts and labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from tqdm import tqdm

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.cameras.metaworld import CONTROL_HZ, MetaWorldCamera
from mask2iv_ros.data.clips import task_of
from mask2iv_ros.data.labelled import Episode, LabelledDataset
from mask2iv_ros.data.metaworld import FINER
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.metrics import interval
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet, write_png
from mask2iv_ros.evaluation.video import write_mp4
from mask2iv_ros.export import Provenance, RobotColumns, read_provenance
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import iou, resize_labels
from mask2iv_ros.scene import GOOD, Goal, Rollout, Scene, Trajectory
from mask2iv_ros.scoring.verdict import BestOf

EXPERT, TRUE_VIDEO, IMAGINED, NOTHING = "expert", "labels of the true video", "labels of the imagined video", "nothing"
FIGURES = ("success", "distance", "goal_iou")
_SHOWN = 6  # scenes in the film and on the sheet


class Bench:
    """Imagines, labels and executes on the scenes of a dataset of demonstrations."""

    def __init__(self, arguments: argparse.Namespace):
        self.dataset = LabelledDataset.open(arguments.demonstrations)
        self.labeller = Labeller.load(arguments.labeller, "cpu")
        self.labeller.require_same(self.dataset.settings, self.dataset.fps, self.dataset.size, arguments.demonstrations)
        self.imaginer = Imaginer.load(arguments.checkpoint, "cpu")
        if (self.imaginer.size, self.imaginer.fps) != (self.dataset.size, self.dataset.fps):
            raise Refused(
                f"{arguments.checkpoint} imagines {self.imaginer.size} at {self.imaginer.fps} fps and "
                f"{arguments.demonstrations} has {self.dataset.size} at {self.dataset.fps}; expected the same of both"
            )
        self.best_of, self.stride = arguments.best_of, CONTROL_HZ // self.dataset.fps
        size = tuple(FINER * side for side in self.dataset.size)
        self.tasks = {task_of(one.id) for one in read_provenance(arguments.demonstrations, imagined_only=False)}
        self.camera = MetaWorldCamera(tuple(sorted(self.tasks)), size, rig=Rig())

    def scene(self, origin: Provenance) -> tuple[dict, list[Strip]]:
        """Return the figures of one scene and what is to be seen of it."""
        episode, robot = self.dataset.read(origin.episode), self.dataset.robot(origin.episode)
        start = robot.state[0] if robot.state is not None else None
        true = self._rollout(origin, episode)
        imagined = self._imagine(origin, episode)
        (of_true, of_imagined) = self.labeller.label([true, imagined], [start, start])
        ways = {
            EXPERT: robot.action,
            TRUE_VIDEO: of_true.action,
            IMAGINED: of_imagined.action,
            NOTHING: np.zeros_like(robot.action),
        }
        task = task_of(origin.id)
        ended = {}
        for name, action in ways.items():
            ended[name], seen = self._execute(task, origin.seed, action, episode, filmed=name == IMAGINED)
            if name == IMAGINED:
                film = seen
        for figures in ended.values():
            figures["distance"] = float(np.linalg.norm(figures["place"] - ended[EXPERT]["place"]))
        error = {
            name: np.sqrt(((told.action[:-1] - robot.action[:-1]) ** 2).mean(0)).tolist()
            for name, told in ((TRUE_VIDEO, of_true), (IMAGINED, of_imagined))
        }
        told = {
            "scene": origin.id,
            "rollout": imagined.verdict,
            "actions": _estimate(of_imagined),
            "actions_of_true": _estimate(of_true),
            "error": error,
            "figures": {name: {key: one[key] for key in FIGURES} for name, one in ended.items()},
        }
        rollout, actions = (one.split(" (")[0] for one in (imagined.verdict, told["actions"]["verdict"]))
        words = f"{origin.id}: rollout {rollout}; actions {actions}"
        one = ended[IMAGINED]
        below = f"executed: {'success' if one['success'] else 'no success'}, {100 * one['distance']:.1f} cm off"
        strips = [
            Strip(f"imagined, {words}", imagined.video, goal=episode.goal_mask),
            Strip(below, film, goal=episode.goal_mask),
        ]
        return told, strips

    def _rollout(self, origin: Provenance, episode: Episode) -> Rollout:
        return Rollout(
            id=f"{origin.id}-true",
            scene=Scene(episode.video[0], episode.labels[0]),
            goal=Goal(episode.goal_mask, origin.task),
            trajectory=Trajectory(episode.labels),
            video=episode.video,
            fps=self.dataset.fps,
            seed=origin.seed,
            checkpoint="",
        )

    def _imagine(self, origin: Provenance, episode: Episode) -> Rollout:
        scene, goal = Scene(episode.video[0], episode.labels[0]), Goal(episode.goal_mask, origin.task)
        chosen = BestOf(self.best_of)
        for seed in range(self.best_of):
            best = chosen.offer(self.imaginer.imagine(scene, goal, seed=seed, rollout_id=f"{origin.id}-imagined"))
        return best

    def _execute(
        self, task: str, seed: int, actions: Float[np.ndarray, "t m"], episode: Episode, filmed: bool
    ) -> tuple[dict, UInt8[np.ndarray, "t h w 3"] | None]:
        """Act from a scene's beginning; return how it stood in the last frame, and the frames if asked for."""
        self.camera.reset(task, seed)
        frames = []
        for index, action in enumerate(actions):
            if filmed:
                frames.append(
                    cv2.resize(self.camera.render()[0], self.dataset.size[::-1], interpolation=cv2.INTER_AREA)
                )
            if index == len(actions) - 1:
                # The goal mask is of the last frame, which the last action follows.
                place, mask = self.camera.object_position, self.camera.object_mask()
            self.camera.act(action, self.stride)
        seen = resize_labels(mask.astype(np.uint8), self.dataset.size) > 0
        figures = {"success": float(self.camera.success), "goal_iou": iou(seen, episode.goal_mask), "place": place}
        return figures, np.stack(frames) if filmed else None


def _estimate(robot: RobotColumns) -> dict:
    return {"verdict": robot.estimate.verdict, **robot.estimate.figures}


def summary(rows: Sequence[Mapping]) -> dict:
    """Return mean figures by way, differences from the imagined labels, and those of rows that share a verdict."""
    if not rows:
        return {"scenes": 0}
    values = {way: {key: [row["figures"][way][key] for row in rows] for key in FIGURES} for way in rows[0]["figures"]}
    return {
        "scenes": len(rows),
        "figures": {way: {key: interval(found) for key, found in told.items()} for way, told in values.items()},
        "imagined less": {
            way: {key: interval(np.subtract(values[IMAGINED][key], found).tolist()) for key, found in told.items()}
            for way, told in values.items()
            if way != IMAGINED
        },
        "rmse": {name: np.mean([row["error"][name] for row in rows], 0).tolist() for name in rows[0]["error"]},
    }


def apart(rows: Sequence[Mapping]) -> dict:
    """Return summaries by verdict on the rollouts and on their actions."""

    def of(rule: Callable[[Mapping], bool]) -> dict:
        return summary([row for row in rows if rule(row)])

    return {
        "all": of(lambda row: True),
        "rollout good": of(lambda row: row["rollout"] == GOOD),
        "rollout doubtful": of(lambda row: row["rollout"] != GOOD),
        "actions good": of(lambda row: row["actions"]["verdict"] == GOOD),
        "actions doubtful": of(lambda row: row["actions"]["verdict"] != GOOD),
        "both good": of(lambda row: row["rollout"] == row["actions"]["verdict"] == GOOD),
    }


def _film(strips: Sequence[Strip], width: int = 320) -> UInt8[np.ndarray, "t h w 3"]:
    """Return pairs side by side: the imagined video above, what was executed below."""

    def large(strip: Strip) -> UInt8[np.ndarray, "t h w 3"]:
        height = round(strip.video.shape[1] * width / strip.video.shape[2])
        return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in strip.video])

    pairs = [np.concatenate([large(a), large(b)], 1) for a, b in zip(strips[::2], strips[1::2], strict=True)]
    return np.concatenate(pairs, 2)


def _tell(found: Mapping[str, Mapping]) -> Iterable[str]:
    for name, told in found.items():
        yield f"{name}: {told['scenes']} scenes"
        for way, figures in told.get("figures", {}).items():
            words = ", ".join(f"{key} {mean:.3f} [{low:.3f}, {high:.3f}]" for key, (mean, low, high) in figures.items())
            yield f"  {way}: {words}"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labeller", type=Path, required=True)
    parser.add_argument("--demonstrations", type=Path, required=True, help="of mask2iv data demonstrations, held out")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--best-of", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments)
    known = read_provenance(arguments.demonstrations, imagined_only=False)[: arguments.scenes]
    rows, strips = [], []
    with bench.camera:
        for origin in tqdm(known, desc="scenes", mininterval=5):
            told, seen = bench.scene(origin)
            rows.append(told)
            strips += seen if len(strips) < 2 * _SHOWN else []
    found = apart(rows)
    written = {"labeller": bench.labeller.source, "best_of": arguments.best_of, "found": found, "scenes": rows}
    (arguments.out / "labels.json").write_text(json.dumps(written, indent=1) + "\n")
    write_png(arguments.out / "labels.png", contact_sheet(strips))
    write_mp4(arguments.out / "labels.mp4", _film(strips), bench.dataset.fps)
    print("\n".join(_tell(found)))


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        raise SystemExit(str(refusal)) from refusal
