"""One worker thread, one job at a time, and what happens to a second one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from mask2iv_ros.errors import Refused

LAST_WORDS = 0.1  # seconds


class Job:
    """Work that can be asked to stop.

    Args:
        work: run in the worker's thread; looks at `stop_reason` and leaves soon when it is set.

    Attributes:
        stop_reason: why to stop, empty while the job may go on.
    """

    def __init__(self, work: Callable[[Job], None]):
        self.stop_reason = ""
        self._work = work
        self.future: Future[None] | None = None

    def stop(self, reason: str) -> None:
        """Ask the job to stop; one that has not begun never does."""
        self.stop_reason = self.stop_reason or reason
        if self.future is not None:
            self.future.cancel()

    def run(self) -> None:
        """Do the work; called by the desk."""
        self._work(self)


class Desk:
    """Runs jobs in a thread of its own, so that whoever spins can still be talked to.

    One thread for all of them: torch keeps a thread pool for each thread that calls it.
    """

    def __init__(self, name: str):
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._current: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits for the one before to stop."""
        with self._lock:
            return self._busy()

    def _busy(self) -> bool:
        # Who has just received the last rollout may ask for the next before its job has quite ended.
        return self._current is not None and not wait([self._current.future], LAST_WORDS).done

    def submit(self, job: Job, preempt: bool) -> None:
        """Start a job; with `preempt` the job before is stopped first.

        Raises:
            Refused: a job runs and may not be preempted.
        """
        with self._lock:
            if preempt and self._current is not None:
                self._current.stop("preempted by a newer goal")
            elif self._busy():
                raise Refused("an imagination is running and when_busy is 'refuse'; expected a goal after its end")
            self._current = job
            job.future = self._worker.submit(job.run)

    def stop(self, reason: str) -> None:
        """Stop the job in work, if any, and wait until it has left."""
        with self._lock:
            job = self._current
        if job is not None:
            job.stop(reason)
            wait([job.future])

    def call[T](self, function: Callable[[], T]) -> T:
        """Run a function in the worker's thread, after the job in work, and return what it returns."""
        return self._worker.submit(function).result()

    def post(self, function: Callable[[], None]) -> None:
        """Have a function run in the worker's thread, after all that was given to it before."""
        self._worker.submit(function)

    def idle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for all that was given to the thread; return whether it is done."""
        return bool(wait([self._worker.submit(lambda: None)], timeout).done)

    def close(self) -> None:
        """Let the thread end when it is done."""
        self._worker.shutdown(wait=False)
