"""Append rollouts to a LeRobot v3 dataset that is whole at every moment."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mask2iv_ros.errors import Refused
from mask2iv_ros.export import exchange
from mask2iv_ros.export.lock import DatasetLock
from mask2iv_ros.export.provenance import Provenance, digest, read_provenance
from mask2iv_ros.export.robot import RobotColumns
from mask2iv_ros.export.schema import ExportSettings, require_same
from mask2iv_ros.scene import Rollout


class DatasetWriter:
    """Appends rollouts to one dataset; at most one writer a dataset exists at a time.

    `append` builds the new episodes in a hidden folder beside the dataset
    (`.<name>.staging`), adds them to a copy that shares all old files by hard links, and puts
    that copy in the dataset's place in one step. Whatever `append` returned for is on the disk,
    and `LeRobotDataset(repo_id, root=root)` loads at any moment from the first append on, also
    while this runs and after a kill. The next writer throws away what a kill left behind. The
    cost of an append does not grow with the dataset but for the links: one a file.

    Beside the dataset lies `.<name>.lock`, empty or with the writer's process id.
    """

    def __init__(self, root: str | Path, settings: ExportSettings | None = None) -> None:
        """Open a dataset to append to, or the place for a new one; creates no dataset yet.

        Args:
            root: the dataset's folder: absent, empty, or a dataset made with these settings.
            settings: how rollouts are written; the default's if left out.

        Raises:
            Refused: the folder is something else (it is left as it was), cannot be written to,
                or has another writer.
        """
        self.root = Path(root).expanduser().resolve()
        self.settings = settings or ExportSettings()
        self._staging = self.root.with_name(f".{self.root.name}.staging")
        self._successor = self._staging / "successor"
        self._mutex = threading.Lock()
        self._check()
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(
                f"dataset {self.root} cannot be made: {error.strerror} at {error.filename}; "
                "expected a path whose folders exist or may be created"
            ) from error
        self._lock = DatasetLock(self.root.with_name(f".{self.root.name}.lock"), self.root)
        try:
            self._recover()
        except BaseException:
            self._lock.release()
            raise

    @property
    def episodes(self) -> int:
        """Number of episodes in the dataset."""
        return self._info.get("total_episodes", 0)

    @property
    def written(self) -> dict[str, Provenance]:
        """What is known of every episode, by id."""
        return dict(self._written)

    def append(self, rollouts: Sequence[Rollout], robots: Sequence[RobotColumns] | None = None) -> list[int]:
        """Add the rollouts as episodes, all of them or none; they are safe on disk on return.

        Args:
            rollouts: to add.
            robots: state and action of each, where the settings name some.

        A rollout that is already there (same id and same pixels) is not written again, so an
        append that was cut short can be repeated.

        Returns:
            The episode number of each rollout.

        Raises:
            Refused: a rollout does not fit the dataset or its id is taken by another, the
                writer is closed, or the disk is full or fails. The dataset is then as it was.
        """
        with self._mutex:
            if self._lock is None:
                raise Refused(f"the writer of dataset {self.root} is closed; expected an open one")
            if self._staging.exists():
                self._recover()
            fresh = self._fresh(rollouts)
            if fresh:
                told = dict(zip((one.id for one in rollouts), robots or [RobotColumns()] * len(rollouts), strict=True))
                with self._all_or_none(len(fresh)):
                    self._add(list(fresh.values()), [told[name] for name in fresh])
            return [self._written[rollout.id].episode for rollout in rollouts]

    def adopt(self, part: Path) -> None:
        """Add the episodes of a dataset that `shard.write_shard` finished, all of them or none.

        Raises:
            Refused: the writer is closed, an id of theirs is taken, they have another size or
                rate, the disk is full or fails. The dataset is then as it was.
        """
        with self._mutex:
            if self._lock is None:
                raise Refused(f"the writer of dataset {self.root} is closed; expected an open one")
            written = read_provenance(part, imagined_only=False)
            self._require_alike(part)
            if taken := [one.id for one in written if one.id in self._written]:
                raise Refused(f"rollout id {taken[0]!r} of {part} is taken in dataset {self.root}; expected new ones")
            with self._all_or_none(len(written)):
                self._staging.mkdir(exist_ok=True)
                self._absorb(part, written)

    def _require_alike(self, part: Path) -> None:
        info = json.loads((part / "meta/info.json").read_text())
        size, fps = require_same(info, self.settings, part), info["fps"]
        if self._info and (size, fps) != (
            found := (require_same(self._info, self.settings, self.root), self._info["fps"])
        ):
            raise Refused(f"{part} has frames of {size} at {fps} fps; dataset {self.root} has {found[0]} at {found[1]}")

    @contextmanager
    def _all_or_none(self, count: int) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._recover()
            if not (_disk_is_full(error) or isinstance(error, OSError)):
                raise
            reason = "its disk is full" if _disk_is_full(error) else str(error)
            raise Refused(
                f"dataset {self.root} cannot be written: {reason}; {count} rollouts were not added, "
                f"it holds {self.episodes} episodes; expected a folder with enough space"
            ) from error
        shutil.rmtree(self._staging, ignore_errors=True)

    def close(self) -> None:
        """Let another writer in; may be called twice."""
        with self._mutex:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recover(self) -> None:
        """Finish or throw away what an interrupted append left, and read what the dataset holds."""
        exchange.finish(self._successor, self.root)
        self._info = self._check()
        everything = read_provenance(self.root, imagined_only=False) if self._info else []
        self._written = {one.id: one for one in everything}
        shutil.rmtree(self._staging, ignore_errors=True)

    def _check(self) -> dict:
        """Return the dataset's `meta/info.json`, empty where there is no dataset yet."""
        root = self.root
        try:
            if os.path.ismount(root):
                raise Refused(f"dataset {root} is a mount point, which cannot be replaced; expected a folder in it")
            if not root.exists():
                return {}
            if not root.is_dir():
                raise Refused(f"dataset {root} is a file; expected a folder, or nothing")
            if not any(root.iterdir()):
                return {}
            if not (root / "meta/info.json").is_file():
                raise Refused(
                    f"dataset {root} holds other files ({next(root.iterdir()).name}) and no meta/info.json; "
                    "expected a LeRobot dataset, an empty folder, or nothing"
                )
            info = json.loads((root / "meta/info.json").read_text())
            require_same(info, self.settings, root)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"dataset {root} cannot be read ({error}); expected a LeRobot v3 dataset") from error
        if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
            raise Refused(f"dataset {root} cannot be written by this user; expected a folder with write permission")
        return info

    def _fresh(self, rollouts: Sequence[Rollout]) -> dict[str, Rollout]:
        """Return the rollouts that are to be written, by id, after checking all of them."""
        fresh: dict[str, Rollout] = {}
        for rollout in rollouts:
            self._require_fit(rollout, next(iter(fresh.values()), None))
            taken = self._written.get(rollout.id) or fresh.get(rollout.id)
            if taken is None:
                fresh[rollout.id] = rollout
            elif (taken.digest if isinstance(taken, Provenance) else digest(taken)) != digest(rollout):
                raise Refused(
                    f"rollout id {rollout.id!r} is taken by another rollout of dataset {self.root}; "
                    "expected an id of its own"
                )
        return fresh

    def _require_fit(self, rollout: Rollout, first: Rollout | None) -> None:
        frames, *size = rollout.video.shape[:3]
        if frames < 2:
            raise Refused(f"rollout {rollout.id!r} has {frames} frame; expected at least 2")
        if rollout.fps != int(rollout.fps):
            raise Refused(f"rollout {rollout.id!r} has {rollout.fps} fps; LeRobot datasets hold whole numbers only")
        if not -(2**63) <= rollout.seed < 2**63:
            raise Refused(f"rollout {rollout.id!r} has the seed {rollout.seed}; expected a 64 bit integer")
        if self._info:
            fps, expected = self._info["fps"], self._info["features"][self.settings.image_key]["shape"][:2]
        elif first is not None:
            fps, expected = first.fps, first.video.shape[1:3]
        else:
            return
        if rollout.fps != fps:
            raise Refused(f"rollout {rollout.id!r} has {rollout.fps:g} fps; dataset {self.root} has {fps:g}")
        if tuple(size) != tuple(expected):
            raise Refused(
                f"rollout {rollout.id!r} has frames of {size[1]} x {size[0]} pixels; "
                f"dataset {self.root} has {expected[1]} x {expected[0]}"
            )

    def _add(self, rollouts: Sequence[Rollout], robots: Sequence[RobotColumns]) -> None:
        # LeRobot takes seconds to import; whoever only opens a dataset does not wait for it.
        from mask2iv_ros.export import shard

        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir()
        part = self._staging / "shard"
        with shard.lerobot_contained(self._staging / "cache"):
            shard.write_shard(rollouts, part, self.settings, robots=robots)
        self._absorb(part, read_provenance(part))

    def _absorb(self, part: Path, written: list[Provenance]) -> None:
        from mask2iv_ros.export import shard

        with shard.lerobot_contained(self._staging / "cache"):
            if self._info:
                exchange.clone(self.root, self._successor, shard.rewritten(self.root))
                shard.absorb(self._successor, part, self.settings)
            else:
                part.rename(self._successor)
        info = json.loads((self._successor / "meta/info.json").read_text())
        exchange.publish(self._successor, self.root)
        self._written |= {one.id: replace(one, episode=one.episode + self.episodes) for one in written}
        self._info = info


def _disk_is_full(error: BaseException | None) -> bool:
    """Tell whether a full disk (or quota, or file size limit) is behind this error.

    PyAV, pyarrow and LeRobot's encoder thread each wrap the system's error in one of their own
    and some keep only its text.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    while error is not None:
        if getattr(error, "errno", None) in codes or any(os.strerror(code) in str(error) for code in codes):
            return True
        error = error.__cause__ or error.__context__
    return False
