"""What a build has done so far, in small JSON files: what was kept of which episode, and why the rest was not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from mask2iv_ros.errors import Refused


class Unit(NamedTuple):
    """What is built at once.

    Attributes:
        episode: id in the source.
        camera: of the source.
    """

    episode: str
    camera: str


@dataclass(frozen=True)
class Kept:
    """A clip in a dataset.

    Attributes:
        id: of the clip.
        split: the dataset.
        motion: its motion score.
        uneven: its frames are not equally far apart in the source.
    """

    id: str
    split: str
    motion: float
    uneven: bool


@dataclass(frozen=True)
class Left:
    """A clip or an episode that is in none.

    Attributes:
        id: of the clip, or of the episode.
        kind: of reason.
        words: the reason.
    """

    id: str
    kind: str
    words: str


@dataclass(frozen=True)
class Outcome:
    """What became of one episode as one camera saw it."""

    unit: Unit
    kept: tuple[Kept, ...]
    left: tuple[Left, ...]


@dataclass(frozen=True)
class Summary:
    """What became of a source.

    Attributes:
        outcomes: in the source's order.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def kept(self) -> list[Kept]:
        """All clips in the datasets."""
        return [one for outcome in self.outcomes for one in outcome.kept]

    @property
    def left(self) -> list[Left]:
        """All that is in none."""
        return [one for outcome in self.outcomes for one in outcome.left]

    @property
    def reasons(self) -> dict[str, int]:
        """How many were left out by kind of reason, most first."""
        return dict(Counter(one.kind for one in self.left).most_common())


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write a job's outcomes in one step."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps([asdict(one) | {"unit": list(one.unit)} for one in outcomes]))
    part.replace(path)


def read_outcomes(path: Path) -> list[Outcome]:
    """Read a job's outcomes.

    Raises:
        Refused: the file is damaged.
    """
    try:
        return [
            Outcome(
                Unit(*one["unit"]),
                tuple(Kept(**clip) for clip in one["kept"]),
                tuple(Left(**clip) for clip in one["left"]),
            )
            for one in json.loads(path.read_text())
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Refused(f"{path} cannot be read ({error}); remove it and what was built, and build again") from error


def in_order(outcomes: Iterable[Outcome], units: Sequence[Unit]) -> Summary:
    """Return the outcomes in the order of a source's units; of units that it has no more, last."""
    place = {unit: index for index, unit in enumerate(units)}
    return Summary(tuple(sorted(outcomes, key=lambda one: place.get(one.unit, len(place)))))
