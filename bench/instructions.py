"""Does a text-conditioned stage 1 tell instructions apart? Two of them for the same first frames, held out.

    .venv/bin/python bench/instructions.py --clips clips --out instructions

For every test scene of a task, the trajectory of either instruction with the same seed: where the
object goes, in widths of the picture to the right and down, and how often the words for that motion
(`data.instruction.instruct`) are those that were given. Writes a contact sheet of the first scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip, load_clips
from mask2iv_ros.data.instruction import instruct
from mask2iv_ros.evaluation.metrics import interval
from mask2iv_ros.evaluation.sheet import Strip, contact_sheet, write_png
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import Goal, Scene, Trajectory

PAIRS = {
    "push": ("push the puck", "far to the right", "a little down"),
    "coffee-push": ("push the mug", "far to the right", "a little down"),
    "plate-slide": ("slide the plate", "far to the right", "far down"),
}


def centre(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """Return (x, y) of the centroid in widths of the picture; nan without a pixel."""
    return np.argwhere(mask).mean(0)[::-1] / mask.shape[1] if mask.any() else np.full(2, np.nan)


def compare(imaginer: Imaginer, clip: Clip, act: str, words: tuple[str, str], seed: int) -> list[Trajectory]:
    """Return the trajectory of either instruction."""
    scene = Scene(clip.video[0], clip.labels[0])
    return imaginer.trajectories(scene, [Goal(None, f"{act} {way}") for way in words], [seed] * 2)


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
    for task, (act, *words) in PAIRS.items():
        clips = [clip for clip in everything if clip.task == task]
        moved: list[list[np.ndarray]] = []
        said = []
        for number, clip in enumerate(tqdm(clips, desc=task, unit="scene")):
            both = compare(imaginer, clip, act, tuple(words), arguments.seed)
            start = clip.labels[0] == Role.OBJECT
            ends = [one.labels[-1] == Role.OBJECT for one in both]
            moved.append([centre(end) - centre(start) for end in ends])
            said.append(
                [
                    bool(end.any()) and instruct(act, start, end) == f"{act} {way}"
                    for end, way in zip(ends, words, strict=True)
                ]
            )
            if number < arguments.shown:
                still = np.repeat(clip.video[:1], len(clip.video), 0)
                strips += [
                    Strip(f"{act} {way} ({task}, seed {clip.seed})", still, one.labels)
                    for one, way in zip(both, words, strict=True)
                ]
        motion = np.array(moved)  # scene instruction xy
        print(f"\n{task}, {len(clips)} {arguments.split} scenes: mean [95 % interval]")
        for index, way in enumerate(words):
            right, down = (interval(motion[:, index, axis].tolist()) for axis in (0, 1))
            share = np.mean([one[index] for one in said])
            print(f"  {act + ' ' + way:36s} right {show(right)}  down {show(down)}  as told {share:.0%}")
        apart = motion[:, 0] - motion[:, 1]
        print(f"  {'difference, paired':36s} right {show(interval(apart[:, 0].tolist()))}", end="  ")
        print(f"down {show(interval(apart[:, 1].tolist()))}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_png(arguments.out / "instructions.png", contact_sheet(strips))
    print(f"\nlook at: {arguments.out / 'instructions.png'}")


def show(figures: tuple[float, float, float]) -> str:
    """Return mean and interval in words."""
    mean, low, high = figures
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
