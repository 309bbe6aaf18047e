"""What is imagined, of which first frames, towards which goals, and what is kept of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.goals import KINDS, PLACES
from mask2iv_ros.scene import GOOD
from mask2iv_ros.scoring.verdict import MAX_BEST_OF

LIST = "list:"
_MOST_ROLLOUTS = 10_000


@dataclass(frozen=True)
class ImaginingSettings:
    """What to imagine.

    Attributes:
        source: folder of a LeRobot dataset with labels: what rollouts are to be merged with, and goals drawn from.
        out: folder for the dataset, `OUT/train`, notes and report.
        labeller: folder of what estimates actions; None: none.
        without_actions: leave out state and action, which the source has, for want of a labeller.
        goals: kinds of `goals.KINDS`, and "list:" with a planner's file.
        rollouts: for each first frame, of kinds in turn; a list has its own.
        best_of: each rollout is the best of so many.
        keep: "all", or those that are "good".
        every: begin rollouts at every so manieth frame of an episode; None: at `frames`.
        frames: numbers of the frames that rollouts begin at.
        episodes: a selection such as "0-9,12"; empty: all that a camera has seen.
        checkpoint: folder, name or hub id.
        steps: of denoising; None: the checkpoint's.
        seed: of goals and noise.
        batch: rollouts at once.
        device: "auto", "cpu" or "cuda".
        scenes: folder of another dataset of the same camera, with labels, at whose frames rollouts begin instead: a
            photograph takes no operator; None: at the source's.
    """

    source: Path
    out: Path
    labeller: Path | None = None
    without_actions: bool = False
    goals: tuple[str, ...] = (PLACES,)
    rollouts: int = 4
    best_of: int = 1
    keep: Literal["all", "good"] = GOOD
    every: int | None = None
    frames: tuple[int, ...] = (0,)
    episodes: str = ""
    checkpoint: str = "default"
    steps: int | None = None
    seed: int = 0
    batch: int = 1
    device: str = "auto"
    scenes: Path | None = None

    def __post_init__(self) -> None:
        for name, most in (("rollouts", _MOST_ROLLOUTS), ("best_of", MAX_BEST_OF), ("batch", 1024)):
            if not 1 <= getattr(self, name) <= most:
                raise Refused(f"{name} is {getattr(self, name)}; expected 1 to {most}")
        if not 0 <= self.seed < 1 << 63:
            raise Refused(f"seed is {self.seed}; expected 0 to {(1 << 63) - 1}")
        if self.steps is not None and self.steps < 1:
            raise Refused(f"steps is {self.steps}; expected at least 1")
        if self.keep not in ("all", GOOD):
            raise Refused(f"keep is {self.keep!r}; accepted are all, {GOOD}")
        if not self.goals or len(set(self.goals)) < len(self.goals):
            raise Refused(f"goals are {', '.join(self.goals) or 'none'}; expected at least one kind, each once")
        for kind in self.goals:
            if kind not in KINDS and not (kind.startswith(LIST) and len(kind) > len(LIST)):
                raise Refused(f"goals are {kind!r}; accepted are {', '.join(KINDS)} and list:FILE")
        if self.every is not None and self.every < 1:
            raise Refused(f"every is {self.every}; expected at least 1")
        if not self.frames or min(self.frames) < 0 or len(set(self.frames)) < len(self.frames):
            raise Refused(f"frames are {self.frames}; expected numbers from 0 on, each once")
        if self.labeller is not None and self.without_actions:
            raise Refused(f"labeller is {self.labeller} and actions are to be left out; expected one of both")
        parse_selection(self.episodes, [])

    @property
    def begun(self) -> Path:
        """Folder of the dataset at whose frames rollouts begin."""
        return self.source if self.scenes is None else self.scenes

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of goals that are drawn."""
        return tuple(kind for kind in self.goals if kind in KINDS)

    @property
    def lists(self) -> tuple[Path, ...]:
        """The planners' files."""
        return tuple(Path(kind.removeprefix(LIST)) for kind in self.goals if kind.startswith(LIST))

    @property
    def dataset(self) -> Path:
        """Folder of the dataset."""
        return self.out / "train"

    @property
    def notes(self) -> Path:
        """Folder of what is known of every rollout, kept or not."""
        return self.out / ".imagine"

    def facts(self) -> dict[str, Any]:
        """Return what must not change from one run into a folder to the next, in words that JSON keeps."""
        return {
            "kinds of goals": list(self.kinds),
            "best_of": self.best_of,
            "keep": self.keep,
            "every": self.every,
            "frames": sorted(self.frames) if self.every is None else None,
            "steps": self.steps,
            "seed": self.seed,
        }


def parse_selection(text: str, there: Sequence[int]) -> list[int]:
    """Return the numbers that a text such as "0-9,12" selects, ascending; empty: all that are there.

    Raises:
        Refused: it is no selection.
    """
    if not text.strip():
        return list(there)
    chosen: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if not found or (found[2] and int(found[2]) < int(found[1])):
            raise Refused(f"episodes are {text[:80]!r}; expected numbers and ranges such as 0-9,12")
        # Cut at what is there before it is spelled out: a range may name billions.
        last = int(found[2] or found[1])
        chosen |= {number for number in there if int(found[1]) <= number <= last}
        if there and last not in there:
            raise Refused(f"episodes are {text[:80]!r} and {last} is not one to begin from; expected {_span(there)}")
    return sorted(chosen)


def _span(there: Sequence[int]) -> str:
    return f"some of {min(there)} to {max(there)}, seen by a camera"
