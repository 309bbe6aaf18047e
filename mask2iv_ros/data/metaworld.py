"""Builds clips from Meta-World: scripted experts before the stand-in camera."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mask2iv_ros.cameras.metaworld import CONTROL_HZ, TASKS, MetaWorldCamera
from mask2iv_ros.data.clips import Clip, read_clips, save_clips
from mask2iv_ros.data.splits import SPLITS, split_of
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import resize_labels

_CLIPS_PER_FILE = 20
_FINER = 2  # rendered finer and averaged down: no staircases along edges


@dataclass(frozen=True)
class MetaWorldClips:
    """What to render.

    Attributes:
        out: folder for the clips; finished files in it are kept.
        tasks: keys of `cameras.metaworld.TASKS`.
        size: (height, width) in pixels, multiples of 8.
        frames: a clip's length.
        stride: control steps between frames; at 5, 16 frames last 75 steps, an expert's whole act.
        clips: clips per task, by split.
    """

    out: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    size: tuple[int, int] = (96, 128)
    frames: int = 16
    stride: int = 5
    clips: tuple[tuple[str, int], ...] = (("train", 320), ("validation", 20), ("test", 40))

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in TASKS:
                raise Refused(f"task {task!r} is unknown; accepted are {', '.join(TASKS)}")
        if any(side % 8 or not 32 <= side <= 536 for side in self.size):
            raise Refused(f"size {self.size} cannot be rendered; expected multiples of 8 from 32 to 536")
        if self.frames < 2 or self.stride < 1:
            raise Refused(f"frames={self.frames}, stride={self.stride}; expected at least 2 and 1")
        for split, count in self.clips:
            if split not in SPLITS or count < 0:
                raise Refused(f"{count} clips of {split!r}; expected a count of {', '.join(SPLITS)}")

    @property
    def fps(self) -> float:
        """Frames per second of the clips."""
        return CONTROL_HZ / self.stride


def build(settings: MetaWorldClips, workers: int = 1) -> int:
    """Render all clips that are not there yet, in parallel; return how many were rendered.

    Raises:
        Refused: the folder has clips of another size, length or rate, or `workers` < 1.
    """
    if workers < 1:
        raise Refused(f"workers is {workers}; expected at least 1")
    settings.out.mkdir(parents=True, exist_ok=True)
    jobs = []
    for task in settings.tasks:
        for split, count in settings.clips:
            for begin in range(0, count, _CLIPS_PER_FILE):
                path = settings.out / f"{task}-{split}-{begin:06d}.safetensors"
                first = SPLITS[split].start + begin
                seeds = range(first, first + min(_CLIPS_PER_FILE, count - begin))
                if not _is_done(settings, path, seeds):
                    jobs.append((path, task, seeds))
    # Tasks in turn: what an interrupted run leaves behind is of all of them.
    jobs.sort(key=lambda job: (job[2].start - SPLITS[split_of(job[2].start)].start, job[0]))
    total = sum(len(seeds) for _, _, seeds in jobs)
    # A fresh process each: a GL context does not survive a fork.
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        tqdm(total=total, unit="clip", desc="rendering") as bar,
    ):
        for done in as_completed([pool.submit(_render_file, settings, *job) for job in jobs]):
            bar.update(done.result())
    return total


def render_clip(camera: MetaWorldCamera, task: str, seed: int, size: tuple[int, int], frames: int, stride: int) -> Clip:
    """Return the expert's act on one scene, from the arm at rest, seen at `size` (height, width).

    The camera may be finer than `size`: its frames are averaged down, as those of a real camera
    are before they reach the generator.
    """
    camera.reset(task, seed)
    shots = [camera.render()]
    for _ in range(frames - 1):
        camera.step(stride)
        shots.append(camera.render())
    video = np.stack([cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image, _ in shots])
    labels = np.stack([resize_labels(labels, size) for _, labels in shots])
    goal_mask = resize_labels(camera.object_mask().astype(np.uint8), size) > 0
    return Clip(video, labels, goal_mask, task, seed, TASKS[task], CONTROL_HZ / stride)


def _is_done(settings: MetaWorldClips, path: Path, seeds: range) -> bool:
    """Say whether the file holds these clips; a corrupt one, or one of an earlier run for fewer clips, does not."""
    if not path.exists():
        return False
    try:
        clips = read_clips(path)
    except Refused:
        return False
    found, wanted = (*clips[0].video.shape[:3], clips[0].fps), (settings.frames, *settings.size, settings.fps)
    if found != wanted:
        raise Refused(f"clips in {path} are {found} (t, h, w, fps) and {wanted} are wanted; render into another folder")
    return [clip.seed for clip in clips[: len(seeds)]] == list(seeds)


def _render_file(settings: MetaWorldClips, path: Path, task: str, seeds: range) -> int:
    height, width = settings.size
    with MetaWorldCamera((task,), (_FINER * height, _FINER * width)) as camera:
        save_clips(
            path,
            [render_clip(camera, task, seed, settings.size, settings.frames, settings.stride) for seed in seeds],
        )
    return len(seeds)
