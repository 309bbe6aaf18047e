"""Does the instruction decide which of two possible motions a text-conditioned stage 1 makes? Held-out scenes.

    .venv/bin/python bench/instructions.py --clips clips --out instructions

For every scene of a task in which two motions are possible, the trajectory of either instruction with the
same seed. The instructions decide a scene if each moves the object closer to its own direction than to the
other's. Writes a contact sheet of the first scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from tqdm import tqdm

from mask2iv_ros.data.clips import load_clips
from mask2iv_ros.data.instruction import DIRECTIONS
from mask2iv_ros.evaluation.metrics import interval
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet, write_png
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Scene

# Goals lie all around the objects of the first four; a faucet turns either way from the same first frame.
PAIRS = {
    "push": ("push the puck", ("far", "to the right"), ("far", "to the left")),
    "coffee-push": ("push the mug", ("far", "to the right"), ("far", "to the left")),
    "push-back": ("push the cube", ("far", "to the left"), ("a little", "down and to the right")),
    "pick-place": ("lift the puck", ("a little", "up and to the right"), ("a little", "up and to the left")),
    "faucet-open": ("turn the faucet", ("a little", "to the right"), ("a little", "down and to the left")),
    "faucet-close": ("turn the faucet", ("a little", "to the right"), ("a little", "down and to the left")),
}


def centre(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """Return (x, y) of the centroid in widths of the picture."""
    return np.argwhere(mask).mean(0)[::-1] / mask.shape[1]


def last_seen(labels: UInt8[np.ndarray, "t h w"]) -> np.ndarray:
    """Return the object's centre in the last frame that shows it; frame 0 always does."""
    seen = (labels == Role.OBJECT).any((1, 2)).nonzero()[0][-1]
    return centre(labels[seen] == Role.OBJECT)


def direction(words: str) -> np.ndarray:
    """Return the unit vector (right, down) in the picture of such words as "up and to the left"."""
    angle = DIRECTIONS.index(words) * np.pi / 4
    return np.array([np.cos(angle), -np.sin(angle)])


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder made by mask2iv data")
    parser.add_argument("--out", type=Path, required=True, help="folder for the contact sheet")
    parser.add_argument("--checkpoint", default="default", help="folder or name (%(default)s)")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument("--guidance", type=float, help="of the text (the checkpoint's)")
    parser.add_argument("--shown", type=int, default=1, help="scenes per task on the sheet (%(default)s)")
    arguments = parser.parse_args()
    imaginer = Imaginer.load(arguments.checkpoint, guidance=arguments.guidance)
    everything, strips = load_clips(arguments.clips, arguments.split), []
    decided: dict[str, list[float]] = {}
    print(f"{arguments.split} scenes: mean [95 % interval]; motion in widths of the picture")
    for task, (act, *ways) in PAIRS.items():
        texts = [f"{act} {' '.join(way)}" for way in ways]
        told = np.array([direction(way[1]) for way in ways])
        motions: list[list[np.ndarray]] = []
        clips = [clip for clip in everything if clip.task == task]
        for number, clip in enumerate(tqdm(clips, desc=task, unit="scene", mininterval=5)):
            scene = Scene(clip.video[0], clip.labels[0])
            both = imaginer.trajectories(scene, [Goal(None, text) for text in texts], [arguments.seed] * 2)
            start = centre(clip.labels[0] == Role.OBJECT)
            motions.append([last_seen(one.labels) - start for one in both])
            if number < arguments.shown:
                still = np.repeat(clip.video[:1], len(clip.video), 0)
                strips += [
                    Strip(f"{text} ({task}, seed {clip.seed})", still, one.labels)
                    for one, text in zip(both, texts, strict=True)
                ]
        motion = np.array(motions)  # scene instruction xy
        closeness = motion @ told.T  # scene instruction way
        own = closeness[:, [0, 1], [0, 1]] > closeness[:, [0, 1], [1, 0]]
        decided[task] = own.all(1).astype(float).tolist()
        print(f"\n{task}, {len(clips)} scenes: decided by the instruction {show(interval(decided[task]))}")
        for index, text in enumerate(texts):
            right, down = (interval(motion[:, index, axis].tolist()) for axis in (0, 1))
            print(f"  {text:46s} right {show(right)}  down {show(down)}  its own way {own[:, index].mean():.0%}")
    everywhere = [one for task in decided.values() for one in task]
    print(f"\nall, {len(everywhere)} scenes: decided by the instruction {show(interval(everywhere))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_png(arguments.out / "instructions.png", contact_sheet(strips))
    print(f"\nlook at: {arguments.out / 'instructions.png'}")


def show(figures: tuple[float, float, float]) -> str:
    """Return mean and interval in words."""
    mean, low, high = figures
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
