"""What the benchmark trains on what, and where it keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.errors import Refused

REAL, IMAGINED, PHOTOGRAPHED = "real", "imagined", "photographed"
MADE = (IMAGINED, PHOTOGRAPHED)  # arms whose episodes the benchmark imagines itself
ARMS: dict[str, str] = {
    REAL: "the demonstrations alone",
    IMAGINED: "the demonstrations and episodes imagined from their first frames towards other goals, merged",
    PHOTOGRAPHED: "the demonstrations and as many episodes imagined from photographs of other scenes, merged",
    "augmented": "the demonstrations alone, their pictures changed in brightness, contrast and saturation as they are "
    "read (LeRobot's image transforms)",
    "ceiling": "as many demonstrations as the imagined arms have episodes",
    "blind": "the demonstrations alone, without sight: zeros for picture and goal mask",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class Extra:
    """An arm with a dataset of one's own.

    Attributes:
        name: of the arm; small letters, digits, "_", "." and "-".
        pattern: the dataset's folder, "{task}" standing for the task.
        alone: train on it alone; else it is merged with the demonstrations.
    """

    name: str
    pattern: str
    alone: bool = False

    @classmethod
    def parse(cls, text: str) -> Extra:
        """Return the arm that NAME=PATTERN, or NAME:=PATTERN for alone, stands for.

        Raises:
            Refused: it is neither.
        """
        name, found, pattern = text.partition("=")
        if not found or not pattern:
            raise Refused(f"extra is {text!r}; expected NAME=FOLDER to merge with the demonstrations, or NAME:=FOLDER")
        return cls(name.removesuffix(":"), pattern, name.endswith(":"))

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in ARMS:
            raise Refused(f"an arm is named {self.name!r}; expected small letters, digits, '_', '.', '-', not {ARMS}")


@dataclass(frozen=True)
class Run:
    """One training and what its policy does."""

    task: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Unique in a benchmark and a valid file name."""
        return f"{self.task}-{self.arm}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """The whole benchmark.

    Attributes:
        out: folder for datasets, runs and results.
        tasks: keys of `cameras.tasks.TASKS`.
        demonstrations: real ones per task.
        imagined: folder of the dataset of the arm `imagined`, "{task}" standing for the task; empty: it is made.
        more: episodes that are imagined for an arm, where its dataset is not given.
        photographs: scenes that are photographed: those of which the arm `ceiling` has demonstrations first.
        ceiling: demonstrations of the arm `ceiling`; None for as many as the arm `imagined` has episodes.
        arms: keys of `ARMS`.
        extra: arms with datasets of one's own.
        seeds: of the trainings.
        steps: gradient steps, the same for all arms.
        batch: samples a step.
        episodes: scenes that every policy is tried on, the same for all.
        device: to train and try on, as LeRobot names it; empty for the best there is.
        options: further options of `lerobot-train` for all arms, as they stand on its command line.
    """

    out: Path
    tasks: tuple[str, ...] = ("coffee-push", "push-back")
    demonstrations: int = 5
    imagined: str = ""
    more: int = 90
    photographs: int = 30
    ceiling: int | None = None
    arms: tuple[str, ...] = tuple(ARMS)
    extra: tuple[Extra, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 2500
    batch: int = 32
    episodes: int = 50
    device: str = ""
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := [task for task in self.tasks if task not in TASKS]:
            raise Refused(f"task {unknown[0]!r} is unknown; accepted are {', '.join(TASKS)}")
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise Refused(f"arm {unknown[0]!r} is unknown; accepted are {', '.join(ARMS)}")
        names = [*self.arms, *(one.name for one in self.extra)]
        for kind, values in (("tasks", self.tasks), ("arms", names), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise Refused(f"{kind} are {' '.join(map(str, values)) or 'none'}; expected at least one, each once")
        if self.ceiling is not None and self.ceiling < self.demonstrations:
            raise Refused(f"ceiling is {self.ceiling}; expected at least the {self.demonstrations} demonstrations")
        for name in ("demonstrations", "more", "photographs", "steps", "batch", "episodes"):
            if getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least 1")
        if any(seed < 0 for seed in self.seeds):
            raise Refused(f"seeds are {self.seeds}; expected 0 or more")

    @property
    def runs(self) -> list[Run]:
        """All trainings; the first seed of all arms comes before the second of any."""
        arms = [*self.arms, *(one.name for one in self.extra)]
        return [Run(task, arm, seed) for seed in self.seeds for task in self.tasks for arm in arms]

    def settings_of(self, arm: str) -> dict[str, Any]:
        """Return what results of an arm must have been made with to stand in one table."""
        own = {}
        if arm == PHOTOGRAPHED or (arm == IMAGINED and not self.imagined):
            own["more"] = self.more
        if arm == PHOTOGRAPHED:
            own["photographs"] = self.photographs
        if arm == "ceiling":
            own["ceiling"] = self.ceiling or (None if self.imagined else self.demonstrations + self.more)
        return own | {
            "demonstrations": self.demonstrations,
            "steps": self.steps,
            "batch": self.batch,
            "episodes": self.episodes,
            "options": list(self.options),
        }

    def dataset(self, task: str, arm: str) -> Path:
        """Return where the dataset of an arm is, whoever made it."""
        for one in self.extra:
            if one.name == arm and one.alone:
                return Path(one.pattern.replace("{task}", task))
        own = arm if arm in (*MADE, "ceiling") or arm not in ARMS else REAL
        return self.out / "data" / task / own

    def source(self, task: str, arm: str) -> Path:
        """Return the dataset that is merged with the demonstrations."""
        if arm == PHOTOGRAPHED or (arm == IMAGINED and not self.imagined):
            return self.out / "data" / task / f"{arm}_rollouts"
        pattern = {one.name: one.pattern for one in self.extra}.get(arm, self.imagined)
        return Path(pattern.replace("{task}", task))

    def work(self, run: Run) -> Path:
        """Return the folder of a run's checkpoints and logs."""
        return self.out / "runs" / run.name

    def result(self, run: Run) -> Path:
        """Return where a run's figures are; its films lie in a folder of the same name beside it."""
        return self.out / "results" / f"{run.name}.json"
