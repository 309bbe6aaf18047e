"""What an ablation trains and measures, and where it keeps that.

```
OUT/full/seed-0/   run.json      settings and what the training began from: another may not go on here
                   training/     states and curves, see `training.state`
                   checkpoint/   appears with its stage when the training is finished
                   figures.json  appears when it is measured, with features.safetensors and shown.safetensors
OUT/ablation.json, ablation.html, sheets/
```
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mask2iv_ros.ablation.variants import VARIANTS, require_full, require_variants
from mask2iv_ros.errors import Refused
from mask2iv_ros.training.experiment import Experiment


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        variant: a key of `VARIANTS`.
        seed: of the training.
        folder: of all that is kept of it.
        experiment: that is trained.
    """

    variant: str
    seed: int
    folder: Path
    experiment: Experiment

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process, such as one that its builder's kill left behind, works in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class Ablation:
    """Settings.

    Attributes:
        data: folder with the splits train, validation and test, as mask2iv data makes it.
        out: folder for everything that is made.
        experiment: the training of the row `full`.
        base: checkpoint that gives the autoencoder: folder, name or hub id.
        variants: rows, keys of `VARIANTS`.
        seeds: trainings of a row, of seeds 0, 1, ...
        clips: test clips per task; None: all.
        workers: processes.
        threads: of torch in each.
        device: "auto" or "cpu".
    """

    data: Path
    out: Path
    experiment: Experiment
    base: str = "default"
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: int = 3
    clips: int | None = None
    workers: int = 2
    threads: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        require_full(self.experiment)
        require_variants(self.variants)
        for name in ("seeds", "workers", "threads"):
            if getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.clips is not None and self.clips < 1:
            raise Refused(f"clips is {self.clips}; expected at least 1 per task")

    @property
    def runs(self) -> tuple[Run, ...]:
        """All trainings, a seed of every row before the next seed: what is stopped early has all rows."""
        return tuple(
            Run(name, seed, self.out / name / f"seed-{seed}", VARIANTS[name].experiment(self.experiment, seed))
            for seed in range(self.seeds)
            for name in self.variants
        )
