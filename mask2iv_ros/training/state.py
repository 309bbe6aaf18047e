"""The state of a training: a folder that appears whole or not at all, and goes when the next one is there.

```
step-00000500/  state.json             step, experiment, what it began from, micro-batch, fp16's loss scale
                weights.safetensors    what is trained, and the stage's scale
                average.safetensors    its moving average, if there is one
                optimiser.pt           moments; read without running code
```
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.exchange import sync

_FREE = {"log", "data.workers", "optimiser.steps", "optimiser.micro", "optimiser.checkpointing"}


@dataclass(frozen=True)
class State:
    """A training after some step.

    Attributes:
        step: steps done.
        experiment: its settings.
        micro: windows that a GPU takes at once, which may have been halved.
        weights: by name.
        optimiser: its state dict.
        average: the weights' moving average by name, if there is one.
        scaler: state dict of fp16's loss scale.
        origin: by name what the settings do not tell and a resumed training may not change either, such as a
            hash of its base and of its dataset.
    """

    step: int
    experiment: dict
    micro: int
    weights: Mapping[str, Tensor]
    optimiser: dict
    average: Mapping[str, Tensor] | None = None
    scaler: dict = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)


def save_state(folder: Path, state: State) -> None:
    """Write a state into the training's folder and, once it is on the disk, remove the one before it.

    Raises:
        Refused: the disk is full or the folder cannot be written.
    """
    target = folder / f"step-{state.step:08d}"
    part = folder / f"{target.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_file(_plain(state.weights), part / "weights.safetensors")
        if state.average is not None:
            save_file(_plain(state.average), part / "average.safetensors")
        torch.save(state.optimiser, part / "optimiser.pt")
        about = {name: getattr(state, name) for name in ("step", "experiment", "origin", "micro", "scaler")}
        (part / "state.json").write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        sync(part)
        os.replace(part, target)
        sync(folder)
    except OSError as error:
        raise Refused(f"{target} cannot be written ({error}); expected a folder with room for a state") from error
    for other in folder.glob("step-*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def load_state(folder: Path) -> tuple[Path, State] | None:
    """Return the latest state in the training's folder and where it lies, None where there is none.

    Raises:
        Refused: it is corrupt.
    """
    found = sorted(path for path in folder.glob("step-*") if path.suffix != ".part")
    if not found:
        return None
    path = found[-1]
    try:
        about = json.loads((path / "state.json").read_text())
        average = path / "average.safetensors"
        state = State(
            step=int(about["step"]),
            experiment=dict(about["experiment"]),
            micro=int(about["micro"]),
            weights=load_file(path / "weights.safetensors"),
            optimiser=torch.load(path / "optimiser.pt", map_location="cpu", weights_only=True),
            average=load_file(average) if average.exists() else None,
            scaler=dict(about["scaler"]),
            origin=dict(about["origin"]),
        )
    except Exception as error:
        # A torn or foreign state raises many kinds, and torch's own words advise to load it unsafely.
        raise unusable(path, type(error).__name__) from error
    return path, state


def changed_settings(before: Mapping, now: Mapping, place: str = "") -> str:
    """Return in words the first setting that a resumed training may not change and does; "" if there is none.

    How long it lasts, what it logs and how it fits into memory may change.
    """
    now = json.loads(json.dumps(now))
    for name in sorted({*before, *now}):
        where = f"{place}{name}"
        old, new = before.get(name), now.get(name)
        if where in _FREE or old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := changed_settings(old, new, f"{where}."):
                return inner
            continue
        return f"{where} was {old!r} and is {new!r}"
    return ""


def check_origin(path: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that a state began from what its training is resumed with.

    Raises:
        Refused: something is another one.
    """
    for name in sorted(now):
        old, new = before.get(name), now[name]
        if old != new:
            # A video is told from another by its file's time.
            same = "the same, its files' times too" if name == "dataset" else "the same"
            raise Refused(f"{path} was trained with {name} {old!r}, not {new!r}; expected {same}, or another folder")


def unusable(path: Path, why: str) -> Refused:
    """Return the refusal of a state that does not fit."""
    return Refused(f"{path} cannot be resumed ({why}); remove it or train into another folder")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
