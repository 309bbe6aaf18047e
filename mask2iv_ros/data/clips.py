"""Clips: short videos with a label map per frame and the goal mask that they reach."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mask2iv_ros.errors import Refused


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
    """Write clips of one task and size to one safetensors file, whole or not at all."""
    clips = list(clips)
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
        Refused: no folder, no clip of this split in it, or a file that is corrupt.
    """
    clips: list[Clip] = []
    taken: dict[str, int] = {}
    for path in sorted(folder.glob(f"*-{split}-*.safetensors")):
        try:
            with safe_open(path, "np") as file:
                about = json.loads(file.metadata()["clips"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise Refused(f"{path} is not a file of clips ({error}); make it anew with mask2iv data") from error
        for video, labels, goal, seed in zip(
            tensors["video"], tensors["labels"], tensors["goal_mask"], tensors["seed"], strict=True
        ):
            if limit_per_task is not None and taken.get(about["task"], 0) >= limit_per_task:
                break
            taken[about["task"]] = taken.get(about["task"], 0) + 1
            clips.append(
                Clip(video, labels, goal > 0, about["task"], int(seed), about["instruction"], float(about["fps"]))
            )
    if not clips:
        raise Refused(f"{folder} has no {split} clips; make some with: mask2iv data metaworld --out {folder}")
    return clips
