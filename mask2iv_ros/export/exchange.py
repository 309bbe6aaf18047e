"""Replace a dataset's folder by its successor so that no moment shows anything in between.

The successor is a copy that shares all files by hard links except those that are about to be
rewritten, so it costs no more than the new data. Where the file system can exchange two
folders in one step (Linux: ext4, xfs, btrfs, tmpfs, overlayfs), a reader sees the old dataset
or the new one and nothing else, whenever the writer is killed. Elsewhere (NFS, exFAT) the files
are replaced one by one, in an order in which every intermediate state loads as the old dataset,
and a marker lets the next writer finish what a kill cut short.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV}


def clone(source: Path, target: Path, rewritten: Callable[[Path], bool]) -> None:
    """Copy a folder by hard links.

    Args:
        source: a folder.
        target: must not exist, on the same file system.
        rewritten: whether a file (its path relative to `source`) will be written to in
            `target`; it is then really copied, because a write through a hard link would reach
            `source` too.
    """

    def copy(one: str, other: str) -> None:
        if not rewritten(Path(one).relative_to(source)):
            try:
                os.link(one, other)
                return
            except OSError as error:
                if error.errno not in _UNSUPPORTED | {errno.EPERM, errno.EMLINK}:
                    raise
        shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=copy)


def sync(folder: Path) -> None:
    """Wait until the folder's own files and all its directories are on the disk."""
    for directory, _, names in folder.walk():
        for path in map(directory.joinpath, names):
            if path.stat().st_nlink == 1:  # files linked to the old dataset were synced when it was written
                _sync_one(path)
        _sync_one(directory)


def publish(successor: Path, root: Path) -> None:
    """Put the successor in the dataset's place; both are on the same file system.

    On return `successor` holds what is to be thrown away.
    """
    sync(successor)
    if not root.exists() or not any(root.iterdir()):
        successor.rename(root)
    elif not _exchange(successor, root):
        marker(successor).touch()
        _sync_one(marker(successor))
        _sync_one(successor.parent)
        replace_files(successor, root)
        marker(successor).unlink()
    _sync_one(root.parent)


def finish(successor: Path, root: Path) -> None:
    """Finish a `publish` that a kill cut short while it replaced files one by one."""
    if marker(successor).exists():
        replace_files(successor, root)
        marker(successor).unlink()


def marker(successor: Path) -> Path:
    """Return the file whose presence says that the successor is complete and is being put in place."""
    return successor.with_name(successor.name + ".complete")


def replace_files(successor: Path, root: Path) -> None:
    """Move the files that differ into `root`, `meta/info.json` last.

    The counts in `meta/info.json` decide what of a dataset is read, so until then additional
    videos, rows and tasks go unnoticed.
    """
    rank = {"videos": 0, "data": 1, "meta/tasks.parquet": 2, "meta/episodes": 3, "meta/stats.json": 4}

    def order(path: Path) -> int:
        name = path.relative_to(successor).as_posix()
        return next((place for start, place in rank.items() if name.startswith(start)), 5)

    for path in sorted((path for path in successor.rglob("*") if path.is_file()), key=order):
        target = root / path.relative_to(successor)
        if target.exists() and path.samefile(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        _sync_one(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
