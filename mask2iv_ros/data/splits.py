"""Which Meta-World scenes train, which choose settings, and which are only ever measured on.

A scene's seed says where it belongs, once and for all; whatever reads clips holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mask2iv_ros.cameras.looks import HELD_OUT_STATION, TRAINED_STATION, Station
from mask2iv_ros.cameras.tasks import HELD_OUT_TASKS, TASKS, TRAINED_TASKS
from mask2iv_ros.errors import Refused


@dataclass(frozen=True)
class Split:
    """A part of all scenes.

    Attributes:
        seeds: of its scenes.
        tasks: in it.
        station: of its cameras.
        clips: per task, of the benchmark.
    """

    seeds: range
    tasks: tuple[str, ...]
    station: Station
    clips: int


SPLITS: dict[str, Split] = {
    "train": Split(range(0, 1_000_000), TRAINED_TASKS, TRAINED_STATION, 160),
    "validation": Split(range(1_000_000, 2_000_000), TRAINED_TASKS, TRAINED_STATION, 10),
    "test": Split(range(2_000_000, 3_000_000), TRAINED_TASKS, TRAINED_STATION, 30),
    "unseen_tasks": Split(range(3_000_000, 4_000_000), HELD_OUT_TASKS, TRAINED_STATION, 30),
    "unseen_camera": Split(range(4_000_000, 5_000_000), TRAINED_TASKS, HELD_OUT_STATION, 6),
}
# Demonstrations of one robot before one camera (`cameras.looks.Rig`), and the scenes that its policies are tried on.
DEMONSTRATIONS = range(5_000_000, 6_000_000)
TRIALS = range(6_000_000, 7_000_000)


def split_of(seed: int) -> str:
    """Return the split that a Meta-World seed belongs to; demonstrations are of none, and so are "other"."""
    return next((name for name, split in SPLITS.items() if seed in split.seeds), "other")


def require_split(scenes: Iterable[tuple[str, int]], split: str) -> None:
    """Check that Meta-World scenes belong to a split; scenes of other tasks than Meta-World's pass.

    Args:
        scenes: (task, seed).
        split: a key of `SPLITS`.

    Raises:
        Refused: a scene belongs to another split.
    """
    for task, seed in scenes:
        if task in TASKS and (split_of(seed) != split or task not in SPLITS[split].tasks):
            tasks = ", ".join(SPLITS[split].tasks)
            raise Refused(
                f"scene {task}-{seed} is not of the split {split!r}; expected seeds "
                f"{SPLITS[split].seeds.start} to {SPLITS[split].seeds.stop - 1} of {tasks}"
            )
