"""Imagines a dataset from the first frames of another: in parallel, in the plan's order, through any kill.

Workers take a few rollouts at a time and write what they keep as a shard, a finished dataset, into
`OUT/.imagine/shards`. One shard after the other, in the plan's order, is added to `OUT/train`, which is whole at every
moment (`DatasetWriter`); then it is noted in `OUT/.imagine/done`. After a kill the next run goes on from the notes:
finished shards are taken as they are, begun ones are made anew, nothing is added twice.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.data.workers import end_with_parent
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, ExportSettings
from mask2iv_ros.export.lock import DatasetLock
from mask2iv_ros.imagining.ground import Ground
from mask2iv_ros.imagining.ledger import Summary, read_job, require_begun_with, write_job
from mask2iv_ros.imagining.plan import Unit, plan
from mask2iv_ros.imagining.settings import ImaginingSettings
from mask2iv_ros.imagining.source import Source, checkpoint_digest
from mask2iv_ros.imagining.worker import DATASET, OUTCOMES, SAMPLES, Worker, load_labeller

ROLLOUTS_PER_JOB = 4
SAMPLED = 12  # of those left out, that are kept to look at


@dataclass(frozen=True)
class _Job:
    """Rollouts that one worker makes at once, into a folder."""

    units: tuple[Unit, ...]
    folder: Path

    @property
    def ids(self) -> list[str]:
        return [unit.id for unit in self.units]


def imagine_dataset(settings: ImaginingSettings, workers: int = 1) -> Summary:
    """Imagine what is not there yet.

    Args:
        settings: what to imagine.
        workers: processes, each with a generator of its own; 1: this one.

    Returns:
        What became of all rollouts, in this run and those before.

    Raises:
        Refused: source, checkpoint, labeller or list cannot be read or do not fit together, the folder was begun with
            other settings, holds another dataset or cannot be written, another process imagines there, or a worker
            dies.
    """
    if workers < 1:
        raise Refused(f"workers is {workers}; expected at least 1")
    source = Source.open(settings.source)
    columns = source.require_fit(settings)
    labeller = load_labeller(settings, source)
    ground = Ground.read(source.dataset, source.known)
    if settings.scenes is not None:
        begun = Source.open(settings.scenes)
        begun.require_before(source)
        ground = ground.with_scenes(Ground.read(begun.dataset, begun.known))
        source = begun
    units = plan(source, settings)
    facts = settings.facts() | {
        "source": ground.digest,
        "checkpoint": checkpoint_digest(settings.checkpoint),
        "labeller": None if labeller is None else labeller.source,
        "columns": {name: list(names) for name, names in columns.columns.items()},
    }
    notes = settings.notes
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        lock = DatasetLock(settings.out / ".imagine.lock", settings.out)
    except OSError as error:
        raise Refused(f"{settings.out} cannot be written ({error.strerror}); expected a folder, or nothing") from error
    try:
        if not (notes / "settings.json").is_file() and settings.dataset.exists():
            raise Refused(f"{settings.dataset} is there and was not imagined here; expected a folder without it")
        for name in ("done", "samples", "shards"):
            (notes / name).mkdir(parents=True, exist_ok=True)
        require_begun_with(notes / "settings.json", facts, settings.out)
        _imagine(settings, source, ground, columns, units, workers)
        return Summary.of([read_job(path) for path in _done(notes)], [unit.id for unit in units])
    except OSError as error:
        raise Refused(
            f"{settings.out} cannot be written ({error}); expected room there; what was kept stays"
        ) from error
    except BrokenProcessPool as error:
        raise Refused(f"one of {workers} workers died; use fewer if memory ran out; what was kept stays") from error
    finally:
        lock.release()


def _imagine(
    settings: ImaginingSettings,
    source: Source,
    ground: Ground,
    columns: ExportSettings,
    units: Sequence[Unit],
    workers: int,
) -> None:
    notes = settings.notes
    before = {one.id: one.kept for path in _done(notes) for one in read_job(path).outcomes}
    with DatasetWriter(settings.dataset, columns) as writer:
        if missing := [name for name, kept in before.items() if kept and name not in writer.written]:
            raise Refused(f"{settings.dataset} lacks {missing[0]}, which was kept in it; imagine into another folder")
        jobs = list(_jobs(units, before, notes / "shards"))
        _clear(notes / "shards", jobs, writer)
        with tqdm(total=len(units), unit="rollout", desc="imagining", smoothing=0.05) as bar:
            planned = {unit.id for unit in units}
            progress = _Progress(bar, sum(before.values()))
            bar.update(len(planned & before.keys()))
            # Told now: workers finish later jobs before it is their turn.
            todo = [job for job in jobs if not job.folder.is_dir()]
            worked = _worked(todo, workers, (settings, source, ground, columns), progress)
            for job in jobs:
                if job in todo:
                    next(worked)
                if job not in todo or workers > 1:
                    for one in read_job(job.folder / OUTCOMES).outcomes:
                        progress(one.kept)
                _settle(job, writer, notes)
    shutil.rmtree(notes / "shards")


class _Progress:
    """Counts rollouts on a bar."""

    def __init__(self, bar: tqdm, kept: int) -> None:
        self._bar, self._kept = bar, kept

    def __call__(self, kept: bool) -> None:
        self._kept += kept
        self._bar.set_postfix(kept=self._kept, refresh=False)
        self._bar.update()


def _done(notes: Path) -> list[Path]:
    return sorted((notes / "done").glob("*.json"))


def _jobs(units: Sequence[Unit], done: dict[str, bool], folder: Path) -> Iterator[_Job]:
    """Yield what is not done, in pieces that are the same in every run of the same plan."""
    for begin in range(0, len(units), ROLLOUTS_PER_JOB):
        missing = tuple(unit for unit in units[begin : begin + ROLLOUTS_PER_JOB] if unit.id not in done)
        if missing:
            # Of a plan that grew, other rollouts may begin at the same place.
            told = hashlib.sha256(repr([unit.id for unit in missing]).encode()).hexdigest()[:8]
            yield _Job(missing, folder / f"{begin:08d}-{told}")


def _clear(shards: Path, jobs: Sequence[_Job], writer: DatasetWriter) -> None:
    """Throw away what a kill left of shards that are not whole, and those of other jobs."""
    wanted = {job.folder: job for job in jobs}
    for folder in shards.iterdir():
        job = wanted.get(folder)
        if job is None or not _is_whole(job, writer):
            shutil.rmtree(folder)


def _is_whole(job: _Job, writer: DatasetWriter) -> bool:
    """Return whether a shard is of this job, and its rollouts in it or in the dataset already."""
    if not (job.folder / OUTCOMES).is_file():
        return False
    outcomes = read_job(job.folder / OUTCOMES).outcomes
    return [one.id for one in outcomes] == job.ids and all(
        (job.folder / DATASET).is_dir() or one.id in writer.written for one in outcomes if one.kept
    )


def _settle(job: _Job, writer: DatasetWriter, notes: Path) -> None:
    """Add a shard to the dataset, note it, and remove it; after a kill anywhere in between, once more."""
    told = read_job(job.folder / OUTCOMES)
    if {one.id for one in told.outcomes if one.kept} - writer.written.keys():
        writer.adopt(job.folder / DATASET)
    for sample in (job.folder / SAMPLES).glob("*.npz"):
        sample.replace(notes / "samples" / sample.name)
    for sample in sorted((notes / "samples").glob("*.npz"))[SAMPLED:]:
        sample.unlink()
    write_job(notes / "done" / f"{job.folder.name}.json", told)
    shutil.rmtree(job.folder)


_worker: Worker | None = None  # of this process


def _worked(
    jobs: Sequence[_Job],
    workers: int,
    made_of: tuple[ImaginingSettings, Source, Ground, ExportSettings],
    told: _Progress,
) -> Iterator[_Job]:
    """Do the jobs, in parallel; yield them in their order as they are done."""
    if not jobs:
        return
    if workers == 1:
        worker = Worker(*made_of)
        for job in jobs:
            worker.shard(job.units, job.folder, told)
            yield job
        return
    # A fresh process each: neither a GPU's state nor the threads of libraries survive a fork.
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_start, initargs=made_of
    )
    try:
        futures = [pool.submit(_shard, job.units, job.folder) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            future.result()
            yield job
    finally:
        pool.shutdown(cancel_futures=True)


def _start(settings: ImaginingSettings, source: Source, ground: Ground, columns: ExportSettings) -> None:
    """Prepare a process of its own: one thread each, or the workers would take each other's cores."""
    import cv2
    import torch

    global _worker
    end_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _worker = Worker(settings, source, ground, columns)


def _shard(units: Sequence[Unit], folder: Path) -> None:
    _worker.shard(units, folder)
