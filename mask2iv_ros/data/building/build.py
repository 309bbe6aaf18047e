"""Builds labelled LeRobot datasets from a source: in parallel, in the source's order, through any kill.

Workers take a few episodes at a time and write what they keep as a shard, a finished dataset a split, into
`OUT/.build/shards`. One shard after the other, in the source's order, is added to the datasets, each of which is
whole at every moment (`DatasetWriter`); then it is noted in `OUT/.build/done`. After a kill the next run goes on
from the notes: finished shards are taken as they are, begun ones are made anew, nothing is added twice.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.data.building.clips import slug
from mask2iv_ros.data.building.ledger import Summary, Unit, in_order, read_outcomes, write_outcomes
from mask2iv_ros.data.building.plan import Plan, read_plan, write_plan
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.building.shards import OUTCOMES, SAMPLES, build_shard, start_worker, survey
from mask2iv_ros.data.motion import least_motion
from mask2iv_ros.data.sources.base import Source, check_id, require_camera
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, ExportSettings
from mask2iv_ros.export.lock import DatasetLock
from mask2iv_ros.segmentation import create

EPISODES_PER_JOB = 8
SHOWN = 12  # of those left out, whose pictures are kept for the report


@dataclass(frozen=True)
class Job:
    """Episodes that one worker takes at once.

    Attributes:
        units: consecutive ones.
        folder: that the worker makes.
    """

    units: tuple[Unit, ...]
    folder: Path


def build(
    source: Source, settings: BuildSettings, workers: int = 1, episodes: int | None = None
) -> tuple[Summary, Plan]:
    """Build what is not there yet.

    Args:
        source: of the episodes.
        settings: what is made of them.
        workers: processes; 1: this one.
        episodes: at most so many of the source's, its first; a later run may take more.

    Returns:
        What became of all episodes, in this run and those before, and what the build holds to.

    Raises:
        Refused: the source lacks a camera or has no readable episode, the back end its package or weights, the folder
            was begun with other settings or holds other datasets, another process builds there, it cannot be
            written, or a worker dies.
        ConnectionError: a source on the hub cannot be reached; what was built is kept.
    """
    if workers < 1:
        raise Refused(f"workers is {workers}; expected at least 1")
    if episodes is not None and episodes < 1:
        raise Refused(f"episodes is {episodes}; expected at least 1")
    for camera in settings.cameras:
        require_camera(camera, source.cameras(), "the source")
    ids = source.ids()
    units = [Unit(check_id(episode), camera) for episode in ids[:episodes] for camera in settings.cameras]
    _require_apart(units)
    settings.prompts.require_known(ids)
    if settings.how != "source":
        create(settings.segmenter, dict(settings.segmenter_settings)).close()  # what it lacks is said at once
    notes = settings.out / ".build"
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        lock = DatasetLock(settings.out / ".build.lock", settings.out)
    except OSError as error:
        raise Refused(f"{settings.out} cannot be written ({error.strerror}); expected a folder, or nothing") from error
    try:
        plan = _plan(source, settings, units, notes, workers)
        _build(source, settings, plan, units, notes, workers)
        done = [one for path in sorted((notes / "done").glob("*.json")) for one in read_outcomes(path)]
        return in_order(done, units), plan
    except ConnectionError:
        raise
    except OSError as error:
        raise Refused(
            f"{settings.out} cannot be written ({error}); expected room there; finished clips are kept"
        ) from error
    except BrokenProcessPool as error:
        raise Refused(f"one of {workers} workers died; use fewer if memory ran out; finished clips are kept") from error
    finally:
        lock.release()


def _require_apart(units: Sequence[Unit]) -> None:
    """Refuse episodes whose clips would have the same ids."""
    seen: dict[tuple[str, str], Unit] = {}
    for unit in units:
        other = seen.setdefault((slug(unit.episode), slug(unit.camera)), unit)
        if other is not unit:
            raise Refused(f"episodes {other} and {unit} differ in '-' and '_' alone; rename one of them")


def _plan(source: Source, settings: BuildSettings, units: Sequence[Unit], notes: Path, workers: int) -> Plan:
    """Return what an earlier run found, or find it; in a second pass where the clips that move least are sought."""
    path = notes / "plan.json"
    plan = read_plan(path, settings)
    if plan is not None:
        return plan
    if taken := [split for split in settings.splits if (settings.out / split).exists()]:
        raise Refused(
            f"{settings.out / taken[0]} is there and was not begun by this build; expected a folder without it"
        )
    (notes / "done").mkdir(parents=True, exist_ok=True)
    (notes / "samples").mkdir(exist_ok=True)
    # Scores that a killed run left are taken up again, if they were measured under the same settings.
    draft = notes / "draft.json"
    plan = read_plan(draft, settings) or Plan.make(source, settings)
    if settings.drop_least:
        write_plan(draft, settings, plan)
        plan = replace(plan, least_motion=_least_motion(source, settings, plan, units, notes, workers))
    write_plan(path, settings, plan)
    return plan


def _least_motion(
    source: Source, settings: BuildSettings, plan: Plan, units: Sequence[Unit], notes: Path, workers: int
) -> float:
    """Return the motion score below which a share of all clips lies, those that would be kept."""
    folder = notes / "scores"
    folder.mkdir(exist_ok=True)
    jobs = [job for job in _jobs(units, (), folder) if not job.folder.with_suffix(".json").is_file()]
    with tqdm(total=len(units), unit="episode", desc="measuring motion") as bar:
        bar.update(len(units) - sum(len(job.units) for job in jobs))
        for job in _worked(jobs, workers, partial(survey, source, settings, plan)):
            bar.update(len(job.units))
    # A killed run may have been told of more episodes, or of fewer: its last job is then part of one of this run's.
    outcomes = {one.unit: one for path in sorted(folder.glob("*.json")) for one in read_outcomes(path)}
    scores = [clip.motion for unit in units for clip in outcomes[unit].kept]
    return least_motion(scores, settings.drop_least)


def _build(
    source: Source, settings: BuildSettings, plan: Plan, units: Sequence[Unit], notes: Path, workers: int
) -> None:
    shards = notes / "shards"
    shards.mkdir(exist_ok=True)
    done = {one.unit for path in sorted((notes / "done").glob("*.json")) for one in read_outcomes(path)}
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                DatasetWriter(settings.out / split, ExportSettings(settings.camera, plan.state, plan.action))
            )
            for split in settings.splits
        }
        _require_kept(settings, notes, writers)
        jobs = list(_jobs(units, done, shards))
        _clear(shards, jobs, writers)
        bar = stack.enter_context(tqdm(total=len(units), unit="episode", desc="building"))
        bar.update(len(done & set(units)))
        # Told now: workers finish later jobs before it is their turn.
        todo = [job for job in jobs if not job.folder.is_dir()]
        worked = _worked(todo, workers, partial(build_shard, source, settings, plan))
        for job in jobs:
            if job in todo:
                next(worked)
            _settle(job, writers, notes)
            bar.set_postfix(clips=sum(writer.episodes for writer in writers.values()), refresh=False)
            bar.update(len(job.units))
        shutil.rmtree(shards)


def _jobs(units: Sequence[Unit], done: set[Unit] | tuple[()], folder: Path) -> Iterator[Job]:
    """Yield what is not done, in pieces that are the same in every run of the same source."""
    for begin in range(0, len(units), EPISODES_PER_JOB):
        missing = tuple(one for one in units[begin : begin + EPISODES_PER_JOB] if one not in done)
        if missing:
            # Of a source that grew, other episodes may begin at the same place.
            told = hashlib.sha256(repr(missing).encode()).hexdigest()[:8]
            yield Job(missing, folder / f"{begin:08d}-{told}")


def _require_kept(settings: BuildSettings, notes: Path, writers: dict[str, DatasetWriter]) -> None:
    """Refuse datasets that someone took clips out of: what is noted as done would be missing for ever."""
    for path in sorted((notes / "done").glob("*.json")):
        for one in read_outcomes(path):
            for clip in one.kept:
                if clip.id not in writers[clip.split].written:
                    raise Refused(
                        f"{settings.out / clip.split} lacks {clip.id}, which was built into it; "
                        f"build into another folder, or remove {notes} and the datasets beside it"
                    )


def _clear(shards: Path, jobs: Sequence[Job], writers: dict[str, DatasetWriter]) -> None:
    """Throw away what a kill left of shards that are not whole, and those of other jobs."""
    wanted = {job.folder: job for job in jobs}
    for folder in shards.iterdir():
        job = wanted.get(folder)
        if job is None or not _is_whole(job, writers):
            shutil.rmtree(folder)


def _is_whole(job: Job, writers: dict[str, DatasetWriter]) -> bool:
    """Return whether a shard is of this job, and its clips in it or in the datasets already."""
    outcomes = read_outcomes(job.folder / OUTCOMES) if (job.folder / OUTCOMES).is_file() else []
    return tuple(one.unit for one in outcomes) == job.units and all(
        (job.folder / clip.split).is_dir() or clip.id in writers[clip.split].written
        for one in outcomes
        for clip in one.kept
    )


def _settle(job: Job, writers: dict[str, DatasetWriter], notes: Path) -> None:
    """Add a shard to the datasets, note it, and remove it; after a kill anywhere in between, once more."""
    outcomes = read_outcomes(job.folder / OUTCOMES)
    for split, writer in writers.items():
        ids = {clip.id for one in outcomes for clip in one.kept if clip.split == split}
        if ids - writer.written.keys():
            writer.adopt(job.folder / split)
    for picture in (job.folder / SAMPLES).glob("*.jpg"):
        picture.replace(notes / "samples" / picture.name)
    for picture in sorted((notes / "samples").glob("*.jpg"))[SHOWN:]:
        picture.unlink()
    write_outcomes(notes / "done" / f"{job.folder.name}.json", outcomes)
    shutil.rmtree(job.folder)


def _worked(jobs: Sequence[Job], workers: int, work: Callable[[Sequence[Unit], Path], None]) -> Iterator[Job]:
    """Do the jobs, in parallel; yield them in their order as they are done."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            work(job.units, job.folder)
            yield job
        return
    # A fresh process each: neither a GPU's state nor the threads of libraries survive a fork.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=start_worker)
    try:
        futures = [pool.submit(work, job.units, job.folder) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            future.result()
            yield job
    finally:
        pool.shutdown(cancel_futures=True)
