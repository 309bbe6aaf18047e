"""Clips: short videos with a label map per frame and the goal mask that they reach."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import check_labels

_TENSORS = ("video", "labels", "goal_mask", "seed")


@dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
        video: RGB.
        labels: one `Role` per pixel, as visible.
        goal_mask: the object in the last frame as if nothing were in its way.
        task: what happens in it, a short name.
        seed: of its scene; decides the split.
        instruction: what happens in it, in words.
        fps: frames per second.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]
    goal_mask: Bool[np.ndarray, "h w"]
    task: str
    seed: int
    instruction: str
    fps: float


def save_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips of one task and size to one safetensors file, whole or not at all.

    Raises:
        Refused: no clips, or they differ in task, instruction, fps, length or size.
    """
    clips = list(clips)
    kinds = {(clip.task, clip.instruction, clip.fps, clip.video.shape) for clip in clips}
    if len(kinds) != 1:
        raise Refused(f"clips for {path} are of {len(kinds)} kinds; expected one task, fps, length and size")
    first = clips[0]
    tensors = {
        "video": np.stack([clip.video for clip in clips]),
        "labels": np.stack([clip.labels for clip in clips]),
        "goal_mask": np.stack([clip.goal_mask for clip in clips]).astype(np.uint8),
        "seed": np.array([clip.seed for clip in clips], np.int64),
    }
    about = {"task": first.task, "instruction": first.instruction, "fps": first.fps}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"clips": json.dumps(about)})
    os.replace(part, path)


def load_clips(folder: Path, split: str, limit_per_task: int | None = None) -> list[Clip]:
    """Load the clips of a split, tasks in alphabetical order, seeds ascending.

    Raises:
        Refused: no folder, no clip of this split in it, a file that is corrupt, or one whose
            clips are of another length or size than those before.
    """
    clips: list[Clip] = []
    taken: Counter[str] = Counter()
    for path in sorted(folder.glob(f"*-{split}-*.safetensors")):
        for clip in read_clips(path):
            if limit_per_task is not None and taken[clip.task] >= limit_per_task:
                break
            taken[clip.task] += 1
            clips.append(clip)
        if clips and clips[-1].video.shape != clips[0].video.shape:
            raise Refused(
                f"clips in {path} are {clips[-1].video.shape[:3]} (t, h, w); expected {clips[0].video.shape[:3]}, "
                f"as those before it in {folder}"
            )
    if not clips:
        raise Refused(f"{folder} has no {split} clips; make some with: mask2iv data metaworld --out {folder}")
    return clips


def read_clips(path: Path) -> list[Clip]:
    """Read one file of clips.

    Raises:
        Refused: it is no such file, or corrupt.
    """
    try:
        with safe_open(path, "np") as file:
            about = json.loads(file.metadata()["clips"])
            video, labels, goals, seeds = (file.get_tensor(name) for name in _TENSORS)
        if video.ndim != 5 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
            raise Refused(f"video is {video.dtype} of shape {video.shape}; expected uint8 (n, t, h, w, 3)")
        count, _, height, width, _ = video.shape
        expected = (video.shape[:-1], (count, height, width), (count,))
        if (labels.shape, goals.shape, seeds.shape) != expected:
            raise Refused(f"labels, goal_mask and seed are {labels.shape}, {goals.shape} and {seeds.shape}")
        check_labels(labels)
        task, instruction, fps = about["task"], about["instruction"], float(about["fps"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"{path} is not a file of clips ({error}); make it anew with mask2iv data") from error
    return [
        Clip(*arrays, goal > 0, task, int(seed), instruction, fps)
        for *arrays, goal, seed in zip(video, labels, goals, seeds, strict=True)
    ]
