"""One writer at a time: a lock that vanishes with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mask2iv_ros.errors import Refused


class DatasetLock:
    """Holds the lock file of a dataset until `release` or the end of the process.

    The file lies beside the dataset, because the dataset's folder is exchanged as a whole. It
    stays there when the lock is released: removing it would let two writers lock two files of
    the same name.
    """

    def __init__(self, path: Path, dataset: Path) -> None:
        """Take the lock.

        Raises:
            Refused: another writer holds it (named by its process id), or the file cannot be written.
        """
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Refused(
                f"dataset {dataset} cannot be written: {error.strerror} at {path}; "
                "expected a folder in which this user may create files"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Refused(f"dataset {dataset} is being written by process {holder}; expected no other writer") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another writer in."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1
