"""What became of every rollout, in small JSON files: what it was made of, whether it was kept, and why not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mask2iv_ros.errors import Refused


@dataclass(frozen=True)
class Outcome:
    """What became of one rollout.

    Attributes:
        id: of the rollout.
        kept: it is in the dataset.
        kind: of the reason that it is not; empty where it is.
        words: the reason in full, or the scores of one that was kept.
    """

    id: str
    kept: bool
    kind: str = ""
    words: str = ""


@dataclass(frozen=True)
class Job:
    """What became of rollouts that were made together.

    Attributes:
        outcomes: of each.
        wall: seconds that it took.
        cpu: seconds of processors that it took.
    """

    outcomes: tuple[Outcome, ...]
    wall: float
    cpu: float


@dataclass(frozen=True)
class Summary:
    """What became of all.

    Attributes:
        outcomes: in the order of the plan; those of earlier, larger plans last.
        wall: seconds of all jobs; those of workers side by side add up.
        cpu: seconds of processors.
    """

    outcomes: tuple[Outcome, ...]
    wall: float
    cpu: float

    @classmethod
    def of(cls, jobs: Sequence[Job], ids: Sequence[str]) -> Summary:
        """Put the outcomes of jobs into the order of a plan's ids."""
        place = {name: index for index, name in enumerate(ids)}
        outcomes = sorted((one for job in jobs for one in job.outcomes), key=lambda one: place.get(one.id, len(place)))
        return cls(tuple(outcomes), sum(job.wall for job in jobs), sum(job.cpu for job in jobs))

    @property
    def kept(self) -> list[Outcome]:
        """Those in the dataset."""
        return [one for one in self.outcomes if one.kept]

    @property
    def left(self) -> list[Outcome]:
        """Those that are not."""
        return [one for one in self.outcomes if not one.kept]

    @property
    def reasons(self) -> dict[str, int]:
        """How many were left out by kind of reason, most first."""
        return dict(Counter(one.kind for one in self.left).most_common())

    def lines(self) -> list[str]:
        """Return it in lines, for the terminal."""
        made, kept = len(self.outcomes), len(self.kept)
        told = [f"{kept} of {made} rollouts kept"]
        told += [f"left out, {kind}: {count}" for kind, count in self.reasons.items()]
        return [*told, f"{self.wall:.0f} s of work, {self.cpu:.0f} s of processor time"]


def write_job(path: Path, job: Job) -> None:
    """Write a job's outcomes in one step."""
    write_json(path, asdict(job))


def read_job(path: Path) -> Job:
    """Read a job's outcomes.

    Raises:
        Refused: the file is damaged.
    """
    try:
        told = json.loads(path.read_text())
        return Job(tuple(Outcome(**one) for one in told["outcomes"]), float(told["wall"]), float(told["cpu"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Refused(f"{path} cannot be read ({error}); imagine into another folder") from error


def write_json(path: Path, told: Any) -> None:
    """Write a JSON file that is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(told, indent=1))
    part.replace(path)


def require_begun_with(path: Path, wanted: dict[str, Any], out: Path) -> None:
    """Note what a folder was begun with, or check that it is what is wanted now.

    Raises:
        Refused: it was begun with something else, which the message names, or the file is damaged.
    """
    if not path.is_file():
        write_json(path, wanted)
        return
    try:
        before = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{path} cannot be read ({error}); imagine into another folder") from error
    for name in sorted(before.keys() | wanted.keys()):
        was, now = (json.dumps(one.get(name)) for one in (before, wanted))
        if was != now:
            raise Refused(
                f"{out} was begun with {name} {was[:120]} and {now[:120]} is wanted; imagine into another folder"
            )
