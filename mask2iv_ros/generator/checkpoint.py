"""Checkpoints: a folder with config.json and, per part, the weights as safetensors.

```
config.json                       what the pair makes, and the SHA-256 of every part
autoencoder/  trajectory/  video/ each config.json + diffusion_pytorch_model.safetensors (diffusers' layout)
```
"""

from __future__ import annotations

import hashlib
import json
import os
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.denoiser import SpaceTimeUNet
from mask2iv_ros.generator.flow import Flow
from mask2iv_ros.generator.stage import Stage

FORMAT = 1
PARTS = ("autoencoder", "trajectory", "video")
CONDITIONS = ("mask",)  # the denoiser here takes no text


@dataclass(frozen=True)
class CheckpointConfig:
    """What a pair of stages makes.

    Attributes:
        name: of the checkpoint.
        frames: of a rollout.
        size: (height, width) of a rollout in pixels.
        fps: of the imagined time, in frames per second.
        conditions: what a goal may be: "mask".
        steps: denoising steps of each stage unless asked otherwise.
        scales: per stage, the latent scale of `Stage`.
    """

    name: str
    frames: int
    size: tuple[int, int]
    fps: float
    conditions: tuple[str, ...]
    steps: int
    scales: dict[str, list[float]]

    def __post_init__(self) -> None:
        if not all(isinstance(value, int) for value in (self.frames, self.steps, *self.size)):
            raise Refused(f"frames={self.frames}, steps={self.steps}, size={self.size}; expected whole numbers")
        if not 2 <= self.frames <= 1024 or self.steps < 1:
            raise Refused(f"frames={self.frames}, steps={self.steps}; expected 2 to 1024 and at least 1")
        if len(self.size) != 2 or any(side < 8 or side % 8 for side in self.size):
            raise Refused(f"size {self.size} cannot be generated; expected (height, width), multiples of 8")
        if not np.isfinite(self.fps) or self.fps <= 0:
            raise Refused(f"fps is {self.fps}; expected a positive number")
        if not self.conditions or set(self.conditions) - set(CONDITIONS):
            raise Refused(f"conditions are {self.conditions}; accepted are {', '.join(CONDITIONS)}")
        if set(self.scales) != {"trajectory", "video"}:
            raise Refused(f"scales are given for {sorted(self.scales)}; expected trajectory and video")
        for stage, scale in self.scales.items():
            if not np.all(np.isfinite(scale) & (np.array(scale) > 0)):
                raise Refused(f"scales of {stage} are {scale}; expected positive numbers")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded pair.

    Attributes:
        config: what it makes.
        sha256: of its configuration and all its parts.
        autoencoder: shared by both stages.
        trajectory: stage 1.
        video: stage 2.
    """

    config: CheckpointConfig
    sha256: str
    autoencoder: PatchAutoencoder
    trajectory: Stage
    video: Stage


def find(name: str | Path) -> Path:
    """Return the folder of a checkpoint: a path, or the name of one that the package carries.

    Raises:
        Refused: neither exists.
    """
    shipped = Path(str(files("mask2iv_ros") / "weights"))
    for folder in (Path(name), shipped / str(name)):
        try:
            if (folder / "config.json").is_file():
                return folder
        except OSError as error:
            raise Refused(f"checkpoint {str(name)!r} cannot be looked up ({error.strerror})") from error
    carried = sorted(path.parent.name for path in shipped.glob("*/config.json"))
    raise Refused(
        f"checkpoint {str(name)!r} has no config.json; expected a folder made by mask2iv train, "
        f"or one of the package's own: {', '.join(carried) or 'none'}"
    )


def save(folder: Path, config: CheckpointConfig, autoencoder: PatchAutoencoder, stages: dict[str, Stage]) -> None:
    """Write a checkpoint, weights in half precision; config.json comes last, so a torn one is not taken for whole."""
    modules = {"autoencoder": autoencoder} | {name: stage.denoiser for name, stage in stages.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        deepcopy(modules[name]).half().save_pretrained(folder / name)
    about = asdict(config) | {"format": FORMAT, "sha256": {name: _hash_part(folder / name) for name in PARTS}}
    part = folder / "config.json.part"
    part.write_text(json.dumps(about, indent=1) + "\n")
    os.replace(part, folder / "config.json")


def load(name: str | Path, device: torch.device) -> Checkpoint:
    """Load a checkpoint in single precision.

    Raises:
        Refused: it is missing, of another format, altered, torn, not finite or does not fit together.
    """
    folder = find(name)
    about = _read_config(folder)
    hashes = about.pop("sha256")
    for part in PARTS:
        found = _hash_part(folder / part)
        if found != hashes.get(part):
            raise Refused(
                f"{folder / part} has SHA-256 {found[:12]}, expected {str(hashes.get(part))[:12]}; "
                "the checkpoint is corrupt: copy it again"
            )
    try:
        config = CheckpointConfig(**about | {"size": tuple(about["size"]), "conditions": tuple(about["conditions"])})
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Refused(f"{folder / 'config.json'} does not describe a checkpoint ({error})") from error
    autoencoder = load_part(PatchAutoencoder, folder / "autoencoder")
    stages = {}
    for stage in ("trajectory", "video"):
        denoiser = load_part(SpaceTimeUNet, folder / stage)
        scale = torch.tensor(config.scales[stage])
        channels = autoencoder.config.channels
        told = denoiser.config.condition_channels
        if not len(scale) == denoiser.config.channels == channels or told != 2 * channels:
            raise Refused(
                f"{folder / stage} has {denoiser.config.channels} channels, {told} of the condition and {len(scale)} "
                f"scales; expected the autoencoder's {channels}, twice that and as many"
            )
        if denoiser.config.frames < config.frames:
            raise Refused(f"{folder / stage} knows {denoiser.config.frames} frames; expected {config.frames}")
        stages[stage] = Stage(denoiser, scale, Flow()).to(device).eval().requires_grad_(False)
    autoencoder = autoencoder.to(device).eval().requires_grad_(False)
    sha256 = hashlib.sha256(json.dumps([asdict(config), hashes], sort_keys=True).encode()).hexdigest()
    return Checkpoint(config, sha256, autoencoder, stages["trajectory"], stages["video"])


def _read_config(folder: Path) -> dict:
    try:
        about = json.loads((folder / "config.json").read_text())
        found = about.pop("format")
        about["sha256"]["video"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{folder / 'config.json'} does not describe a checkpoint ({error!r})") from error
    if found != FORMAT:
        raise Refused(f"{folder} is a checkpoint of format {found!r}; this version reads format {FORMAT}")
    return about


def load_part[Part: (PatchAutoencoder, SpaceTimeUNet)](kind: type[Part], folder: Path) -> Part:
    """Load one network, in single precision, on the CPU.

    Raises:
        Refused: its config.json and its weights are not those of this kind of network, or not finite.
    """
    try:
        # Not from_pretrained: it would follow an index file to weights whose hash nobody checked.
        model = kind.from_config(kind.load_config(folder, local_files_only=True))
        model.load_state_dict(load_file(folder / SAFETENSORS_WEIGHTS_NAME))
    except Exception as error:
        # A torn or foreign folder raises many kinds; all mean the same to a user.
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise Refused(f"{folder} cannot be loaded as a {kind.__name__} ({why})") from error
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise Refused(f"{name} in {folder} is not finite; expected the weights of a training that converged")
    return model


def _hash_part(folder: Path) -> str:
    """Return the hash of a part's config.json and weights: an altered config makes another network of them."""
    digest = hashlib.sha256()
    for path in (folder / "config.json", folder / SAFETENSORS_WEIGHTS_NAME):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise Refused(f"{path} cannot be read ({error.strerror}); expected a part of the checkpoint") from error
    return digest.hexdigest()
