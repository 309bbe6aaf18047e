"""Long jobs in processes of their own: one bar over all, an end of all at the first failure, nothing left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Event
from typing import Any, Self

import cv2
import torch
from tqdm import tqdm

from mask2iv_ros.errors import Refused

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """Work for a process.

    Attributes:
        do: a module's function; called with the arguments and a function to tell the units done.
        arguments: can be pickled.
        units: in all.
    """

    do: Callable[..., None]
    arguments: tuple[Any, ...]
    units: int


class Stopped(Exception):
    """Raised in a job when another has failed."""


class Workers:
    """Processes that are started when there is something to do, and ended together.

    Args:
        count: of processes.
        threads: of torch in each.
        most: jobs at once.
    """

    def __init__(self, count: int, threads: int, most: int):
        context = get_context("spawn")  # torch's threads do not survive a fork
        self._count = count
        self._done, self._stop = context.Array("l", most), context.Event()
        self._pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin, initargs=(threads, self._done, self._stop)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def work_off(self, jobs: Sequence[Job], title: str, unit: str) -> None:
        """Do all jobs, in their order as far as processes are free.

        Args:
            jobs: to do.
            title: of the bar.
            unit: of the bar.

        Raises:
            Refused: a process died.
            Exception: what a job raised first; after it there is nothing to do here but to leave.
        """
        if not jobs:
            return
        self._done[:] = [0] * len(self._done)
        left = {self._pool.submit(_do, index, job) for index, job in enumerate(jobs)}
        try:
            with tqdm(total=sum(job.units for job in jobs), desc=title, unit=unit, mininterval=1) as bar:
                while left:
                    finished, left = wait(left, timeout=1, return_when=FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    if (now := sum(self._done)) > bar.n:
                        bar.update(now - bar.n)
        except BrokenProcessPool as error:
            raise Refused(
                f"one of {self._count} workers died; use fewer if memory ran out; what is finished is kept"
            ) from error


_shared: tuple[SynchronizedArray, Event]


def _begin(threads: int, done: SynchronizedArray, stop: Event) -> None:
    global _shared
    _shared = done, stop
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Do not outlive a command that was killed: the next one does the same jobs."""
    parent_process().join()
    os._exit(1)


def _do(index: int, job: Job) -> None:
    done, stop = _shared

    def tick(units: int) -> None:
        done[index] = units
        if stop.is_set():
            raise Stopped

    job.do(*job.arguments, tick)
    done[index] = job.units
