"""Builds clips from Meta-World: scripted experts before the stand-in camera."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from mask2iv_ros.cameras.metaworld import ACTION_NAMES, CONTROL_HZ, STATE_NAMES, MetaWorldCamera
from mask2iv_ros.cameras.play import Play
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.data.instruction import instruct
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.data.workers import end_with_parent
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, ExportSettings, RobotColumns, read_provenance
from mask2iv_ros.masks import Role, resize_labels

_CLIPS_PER_SHARD = 20
PLAY = "move about"
ROBOT = ExportSettings(state=STATE_NAMES, action=ACTION_NAMES)
FINER = 2  # rendered finer and averaged down: no staircases along edges


@dataclass(frozen=True)
class MetaWorldClips:
    """What to render.

    Attributes:
        out: folder for a dataset per split; the clips in them are kept.
        tasks: keys of `cameras.tasks.TASKS`; every split takes those that are its own.
        size: (height, width) in pixels, multiples of 8.
        frames: a clip's length.
        stride: control steps between frames, a divisor of 80; at 5, 16 frames last 75 steps, an expert's whole act.
        clips: clips per task, by split; what is not named has none.
        actions: with the arm's states and actions, for a labeller to learn from.
    """

    out: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    size: tuple[int, int] = (96, 128)
    frames: int = 16
    stride: int = 5
    clips: tuple[tuple[str, int], ...] = tuple((name, split.clips) for name, split in SPLITS.items())
    actions: bool = False

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in TASKS:
                raise Refused(f"task {task!r} is unknown; accepted are {', '.join(TASKS)}")
        require_renderable(self.size, self.frames, self.stride)
        for split, count in self.clips:
            if split not in SPLITS or count < 0:
                raise Refused(f"{count} clips of {split!r}; expected a count of {', '.join(SPLITS)}")

    @property
    def fps(self) -> int:
        """Frames per second of the clips."""
        return CONTROL_HZ // self.stride

    @property
    def columns(self) -> ExportSettings:
        """What is written of every frame."""
        return ROBOT if self.actions else ExportSettings()


@dataclass(frozen=True)
class _Job:
    split: str
    task: str
    seeds: tuple[int, ...]
    shard: Path


def build(settings: MetaWorldClips, workers: int = 1) -> int:
    """Render all clips that are not there yet, in parallel; return how many scenes were rendered.

    A scene whose object is out of view at its beginning or end gives no clip.

    Workers write shards of up to 20 clips, each a finished dataset, into `.<split>.shards`; one after
    the other is added to the split's dataset, which is whole at every moment (`DatasetWriter`).
    After a kill the next run adds the shards that were finished and renders the rest.

    Raises:
        Refused: the folder has clips of another size, length or rate, another process builds
            there, it cannot be written, a worker dies, or `workers` < 1.
    """
    if workers < 1:
        raise Refused(f"workers is {workers}; expected at least 1")
    try:
        return _build(settings, workers)
    except OSError as error:
        raise Refused(
            f"{settings.out} cannot be written ({error}); expected room there; finished clips are kept"
        ) from error
    except BrokenProcessPool as error:
        raise Refused(f"one of {workers} workers died; use fewer if memory ran out; finished clips are kept") from error


def _build(settings: MetaWorldClips, workers: int) -> int:
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(DatasetWriter(settings.out / split, settings.columns))
            for split, count in settings.clips
            if count
        }
        for split, writer in writers.items():
            _adopt_finished(writer, _shards(settings, split))
            _require_same_kind(settings, writer)
            _shards(settings, split).mkdir()
        jobs = [
            job for split, count in settings.clips if count for job in _jobs(settings, split, count, writers[split])
        ]
        # Tasks in turn: what an interrupted run leaves behind is of all of them.
        jobs.sort(key=lambda job: job.shard.name)
        bar = stack.enter_context(tqdm(total=sum(len(job.seeds) for job in jobs), unit="clip", desc="rendering"))
        for job in _rendered(settings, jobs, workers):
            # Of a shard in which no object was in view there is nothing.
            if job.shard.is_dir():
                writers[job.split].adopt(job.shard)
            shutil.rmtree(job.shard, ignore_errors=True)
            bar.update(len(job.seeds))
        for split in writers:
            shutil.rmtree(_shards(settings, split), ignore_errors=True)
        return bar.total


def require_renderable(size: tuple[int, int], frames: int, stride: int) -> None:
    """Check what a clip is to be.

    Raises:
        Refused: a size that is not rendered, fewer than two frames, or a stride that gives no whole rate.
    """
    if any(side % 8 or not 32 <= side <= 536 for side in size):
        raise Refused(f"size {size} cannot be rendered; expected multiples of 8 from 32 to 536")
    if frames < 2 or stride < 1 or CONTROL_HZ % stride:
        raise Refused(f"frames={frames}, stride={stride}; expected at least 2 and a divisor of {CONTROL_HZ}")


def render_clip(
    camera: MetaWorldCamera, task: str, seed: int, size: tuple[int, int], frames: int, stride: int
) -> Clip | None:
    """Return the expert's act on one scene, without its states and actions; see `render_demonstration`."""
    return render_demonstration(camera, task, seed, size, frames, stride)[0]


def render_demonstration(
    camera: MetaWorldCamera,
    task: str,
    seed: int,
    size: tuple[int, int],
    frames: int,
    stride: int,
    play: bool = False,
) -> tuple[Clip | None, RobotColumns]:
    """Return the expert's act on one scene, seen at `size` (height, width); no clip if the object is not in view.

    With `play` the hand moves about instead (`cameras.play`).

    It must be seen in the first frame and, but for the arm, in the last.
    The camera may be finer than `size`: its frames are averaged down, as those of a real camera
    are before they reach the generator. An action is the mean of those from its frame to the next, those after
    the last frame included; done `stride` times, it has the same effect.
    """
    camera.reset(task, seed)
    choose = Play(camera, np.random.default_rng((seed, *task.encode()))) if play else None
    shots, states, actions = [], [], []
    for frame in range(frames):
        shots.append(camera.render())
        states.append(camera.state)
        if frame == frames - 1:
            goal = camera.object_mask()
        actions.append(camera.step(stride, choose))
    video = np.stack([_seen_at(image, size) for image, _ in shots])
    labels = np.stack([resize_labels(labels, size) for _, labels in shots])
    goal_mask = resize_labels(goal.astype(np.uint8), size) > 0
    robot = RobotColumns(np.stack(states), np.stack(actions))
    if not goal_mask.any() or not (labels[0] == Role.OBJECT).any():
        return None, robot
    told = PLAY if play else instruction(task, labels, goal_mask)
    return Clip(video, labels, goal_mask, task, seed, told, CONTROL_HZ / stride), robot


def _seen_at(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def instruction(task: str, labels: np.ndarray, goal_mask: np.ndarray) -> str:
    """Return what the expert does in a clip, in words (`instruct`)."""
    return instruct(TASKS[task].act, labels[0] == Role.OBJECT, goal_mask)


def _shards(settings: MetaWorldClips, split: str) -> Path:
    return settings.out / f".{split}.shards"


def _adopt_finished(writer: DatasetWriter, shards: Path) -> None:
    """Add what an interrupted run had finished and not added, and throw away the rest."""
    for shard in sorted(shards.glob("*[0-9]")):
        # A kill may fall between adding a shard and removing it.
        if not writer.written.keys() & {one.id for one in read_provenance(shard, imagined_only=False)}:
            writer.adopt(shard)
    shutil.rmtree(shards, ignore_errors=True)


def _require_same_kind(settings: MetaWorldClips, writer: DatasetWriter) -> None:
    if writer.episodes:
        dataset = LabelledDataset.open(writer.root)
        found = (dataset.episodes[0].frames, *dataset.size, dataset.fps)
        wanted = (settings.frames, *settings.size, settings.fps)
        if found != wanted:
            raise Refused(
                f"clips in {writer.root} are {found} (t, h, w, fps) and {wanted} are wanted; render into another folder"
            )


def _jobs(settings: MetaWorldClips, split: str, count: int, writer: DatasetWriter) -> Iterator[_Job]:
    """Yield what is missing of a split, in shards."""
    first, there = SPLITS[split].seeds.start, writer.written.keys()
    for task in [task for task in settings.tasks if task in SPLITS[split].tasks]:
        missing = [seed for seed in range(first, first + count) if f"{task}-{seed}" not in there]
        for begin in range(0, len(missing), _CLIPS_PER_SHARD):
            seeds = tuple(missing[begin : begin + _CLIPS_PER_SHARD])
            yield _Job(split, task, seeds, _shards(settings, split) / f"{seeds[0] - first:06d}-{task}-{seeds[0]}")


def _rendered(settings: MetaWorldClips, jobs: list[_Job], workers: int) -> Iterator[_Job]:
    """Render in parallel; yield the jobs in their order as they are done."""
    if not jobs:
        return
    # A fresh process each: a GL context does not survive a fork.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)
    try:
        futures = [pool.submit(_render_shard, settings, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            future.result()
            yield job
    finally:
        pool.shutdown(cancel_futures=True)


def _render_shard(settings: MetaWorldClips, job: _Job) -> None:
    height, width = settings.size
    station = SPLITS[job.split].station
    with MetaWorldCamera((job.task,), (FINER * height, FINER * width), station=station) as camera:
        shown = [
            render_demonstration(camera, job.task, seed, settings.size, settings.frames, settings.stride)
            for seed in job.seeds
        ]
    if seen := [(clip, robot) for clip, robot in shown if clip is not None]:
        part = job.shard.with_name(job.shard.name + ".part")
        clips, robots = zip(*seen, strict=True)
        write_clips(part, clips, settings.columns, robots if settings.actions else None)
        part.rename(job.shard)
