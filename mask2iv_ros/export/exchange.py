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
                # Resolved: a hub's cache is symbolic links, and a link to one of them would hang in the air.
                os.link(Path(one).resolve(), other)
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
        _replace_files(successor, root)
    _sync_one(root.parent)


def finish(successor: Path, root: Path) -> None:
    """Finish a `publish` that a kill cut short while it replaced files one by one."""
    if marker(successor).exists():
        _replace_files(successor, root)


def marker(successor: Path) -> Path:
    """Return the file whose presence says that the successor is complete and is being put in place."""
    return successor.with_name(successor.name + ".complete")


def changed_files(successor: Path, root: Path) -> list[Path]:
    """List the files of the successor that `root` has not, in the order in which they may take their place.

    The counts in `meta/info.json` decide what of a dataset is read, so it comes last: until
    then additional videos, rows and tasks go unnoticed.
    """
    order = ("videos/", "data/", "meta/tasks.parquet", "meta/episodes/", "meta/stats.json", "meta/info.json")

    def rank(path: Path) -> tuple[int, Path]:
        name = path.relative_to(successor).as_posix()
        return next((place for place, start in enumerate(order) if name.startswith(start)), -1), path

    def changed(path: Path) -> bool:
        target = root / path.relative_to(successor)
        return not (target.exists() and path.samefile(target))

    return sorted((path for path in successor.rglob("*") if path.is_file() and changed(path)), key=rank)


def _replace_files(successor: Path, root: Path) -> None:
    for path in changed_files(successor, root):
        target = root / path.relative_to(successor)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        _sync_one(target.parent)
    marker(successor).unlink()


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
