"""Demonstrations of one robot before one camera, with states and actions: what a lab has, and has too few of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.cameras.looks import Rig
from mask2iv_ros.cameras.metaworld import MetaWorldCamera
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.clips import Clip, task_of, write_clips
from mask2iv_ros.data.metaworld import FINER, ROBOT, render_demonstration, require_renderable
from mask2iv_ros.data.splits import DEMONSTRATIONS
from mask2iv_ros.data.workers import end_with_parent
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, RobotColumns

_SCENES_AT_ONCE = 20
_PLAYED = 500_000  # from this number on, scenes are played in: both kinds may be merged
_MOST_SCENES = 20  # per episode that is wanted, until an expert is given up


@dataclass(frozen=True)
class Demonstrations:
    """What to demonstrate.

    Attributes:
        out: folder of the dataset; what is in it is kept.
        task: a key of `cameras.tasks.TASKS`.
        episodes: that reach the goal, in all, or are played in all; an operator keeps no others, either.
        first: number of the first scene; those from other numbers on are other scenes.
        rig: the camera and the looks.
        size: (height, width) in pixels.
        frames: of an episode.
        stride: control steps between frames, a divisor of 80.
        play: the hand moves about without a purpose, which takes no operator, and teaches a labeller its actions.
    """

    out: Path
    task: str
    episodes: int = 30
    first: int = 0
    rig: Rig = field(default_factory=Rig)
    size: tuple[int, int] = (96, 128)
    frames: int = 16
    stride: int = 5
    play: bool = False

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise Refused(f"task {self.task!r} is unknown; accepted are {', '.join(TASKS)}")
        if self.episodes < 1:
            raise Refused(f"episodes is {self.episodes}; expected at least 1")
        if not 0 <= self.first < _PLAYED:
            raise Refused(f"first is {self.first}; expected 0 to {_PLAYED - 1}")
        if self.rig.looks < 0:
            raise Refused(f"looks is {self.rig.looks}; expected 0 or more")
        require_renderable(self.size, self.frames, self.stride)

    @property
    def scenes(self) -> range:
        """Seeds of all scenes of this kind."""
        begin = DEMONSTRATIONS.start + (_PLAYED if self.play else 0)
        return range(begin, begin + _PLAYED)


def demonstrate(settings: Demonstrations, workers: int = 1) -> int:
    """Let the expert demonstrate what is not there yet; return how many episodes were added.

    Scenes come in the order of their numbers, so more episodes begin with the same ones, and a killed run goes on.
    Those that are played in and the others are counted apart.

    Raises:
        Refused: the folder holds something else, cannot be written, a worker dies, `workers` < 1, the expert
            fails nearly always, or there are no more scenes.
    """
    if workers < 1:
        raise Refused(f"workers is {workers}; expected at least 1")
    out = settings.out.absolute()
    shard = out.with_name(f".{out.name}.shard")
    added = 0
    try:
        with DatasetWriter(settings.out, ROBOT) as writer, _pool(workers) as pool:
            known = (one.seed for one in writer.written.values() if task_of(one.id) == settings.task)
            there = [seed for seed in known if seed in settings.scenes]
            begin = settings.scenes.start + settings.first
            scenes = range(max([begin, *(seed + 1 for seed in there)]), settings.scenes.stop)
            wanted = settings.episodes - len(there)
            with tqdm(total=max(wanted, 0), unit="episode", desc=f"demonstrating {settings.task}") as bar:
                shown = _successes(settings, scenes, pool, wanted)
                for group in batched(shown, _SCENES_AT_ONCE):
                    shutil.rmtree(shard, ignore_errors=True)
                    write_clips(shard, [clip for clip, _ in group], ROBOT, [robot for _, robot in group])
                    writer.adopt(shard)
                    added += len(group)
                    bar.update(len(group))
            if added < wanted:
                raise Refused(
                    f"first is {settings.first} and scenes end at {_PLAYED - 1}, {wanted - added} episodes too few; "
                    "expected a lower first; what was added stays"
                )
    except OSError as error:
        raise Refused(
            f"{settings.out} cannot be written ({error}); expected room there; what is in it stays"
        ) from error
    except BrokenProcessPool as error:
        raise Refused(f"one of {workers} workers died; use fewer if memory ran out; finished ones are kept") from error
    finally:
        shutil.rmtree(shard, ignore_errors=True)
    return added


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fresh process each: a GL context does not survive a fork.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)


def _successes(
    settings: Demonstrations, scenes: range, pool: ProcessPoolExecutor, wanted: int
) -> Iterator[tuple[Clip, RobotColumns]]:
    """Yield the wanted number of acts that reach the goal."""
    for tried, group in enumerate(batched(scenes, _SCENES_AT_ONCE)):
        if wanted <= 0:
            return
        if tried * _SCENES_AT_ONCE >= _MOST_SCENES * settings.episodes + _SCENES_AT_ONCE:
            raise Refused(
                f"the expert of {settings.task} reaches its goal in too few of {tried * _SCENES_AT_ONCE} scenes; "
                "expected another task, or more frames"
            )
        for found in pool.map(partial(_demonstrate, settings), group, chunksize=5):
            if found is not None and wanted > 0:
                wanted -= 1
                yield found


_cameras: dict[Rig, MetaWorldCamera] = {}  # of this worker


def _demonstrate(settings: Demonstrations, seed: int) -> tuple[Clip, RobotColumns] | None:
    """Return the expert's act on a scene; None if it does not reach the goal, or the object is out of view."""
    if settings.rig not in _cameras:
        size = (FINER * settings.size[0], FINER * settings.size[1])
        _cameras[settings.rig] = MetaWorldCamera((settings.task,), size, rig=settings.rig)
    camera = _cameras[settings.rig]
    clip, robot = render_demonstration(
        camera, settings.task, seed, settings.size, settings.frames, settings.stride, settings.play
    )
    return None if clip is None or not (camera.success or settings.play) else (clip, robot)
