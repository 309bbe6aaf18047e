"""What a checkpoint's config.json says: what it makes, and how every stage was trained and samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Masks, Origin
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.scoring.verdict import Thresholds

STAGES = ("trajectory", "video", "base")
CONDITIONS = ("mask", "text")


@dataclass(frozen=True)
class StageConfig:
    """How a stage was trained and samples.

    Attributes:
        schedule: of the noise.
        sampling: unless asked otherwise.
        conditions: what a goal may be for stage 1, "mask" (PT-Gen), "text" (TT-Gen) or both.
        scale: see `Stage`; None: latents themselves are denoised.
        masks: what stage 2 is told of a trajectory; less than both where that was trained for comparison.
        origin: what the change is measured from.
    """

    schedule: NoiseSchedule
    sampling: Sampling
    conditions: tuple[str, ...] = ()
    scale: tuple[float, ...] | None = None
    masks: Masks = "both"
    origin: Origin = "first"

    def __post_init__(self) -> None:
        if set(self.conditions) - set(CONDITIONS):
            raise Refused(f"conditions are {self.conditions}; accepted are {', '.join(CONDITIONS)}")
        if self.scale is not None and not np.all(np.isfinite(self.scale) & (np.array(self.scale) > 0)):
            raise Refused(f"scale is {self.scale}; expected positive numbers")
        if self.masks not in get_args(Masks):
            raise Refused(f"masks is {self.masks!r}; accepted are {', '.join(get_args(Masks))}")
        if self.origin not in get_args(Origin):
            raise Refused(f"origin is {self.origin!r}; accepted are {', '.join(get_args(Origin))}")
        if self.origin == "pasted" and (self.scale is None or self.conditions or self.masks != "both"):
            raise Refused("origin is 'pasted'; expected it of a stage 2 that is told both masks and has a scale")

    def scale_tensor(self) -> Float[Tensor, "c"] | None:
        """Return the scale as `Stage` takes it."""
        return None if self.scale is None else torch.tensor(self.scale)


@dataclass(frozen=True)
class CheckpointConfig:
    """What a checkpoint makes.

    Attributes:
        name: of the checkpoint.
        frames: of a rollout.
        size: (height, width) of a rollout in pixels.
        fps: of the imagined time, in frames per second.
        stages: by name: "trajectory", "video", or "base", a base model without masks.
        thresholds: of a good rollout, as they were calibrated for these stages; None: never.
    """

    name: str
    frames: int
    size: tuple[int, int]
    fps: float
    stages: Mapping[str, StageConfig]
    thresholds: Thresholds | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(value, int) for value in (self.frames, *self.size)):
            raise Refused(f"frames={self.frames}, size={self.size}; expected whole numbers")
        if not 2 <= self.frames <= 1024:
            raise Refused(f"frames is {self.frames}; expected 2 to 1024")
        if len(self.size) != 2 or any(side < 8 or side % 8 for side in self.size):
            raise Refused(f"size {self.size} cannot be generated; expected (height, width), multiples of 8")
        if not np.isfinite(self.fps) or self.fps <= 0:
            raise Refused(f"fps is {self.fps}; expected a positive number")
        if unknown := set(self.stages) - set(STAGES):
            raise Refused(f"stages are {sorted(unknown)}; accepted are {', '.join(STAGES)}")
        if "trajectory" in self.stages and not self.stages["trajectory"].conditions:
            raise Refused(f"stage trajectory takes no condition; expected {' or '.join(CONDITIONS)}")


def parse(folder: Path, about: dict) -> CheckpointConfig:
    """Return what the config.json of a checkpoint's folder says, whose `about` is its content.

    Raises:
        Refused: it does not describe a checkpoint, or one that cannot be used.
    """
    try:
        stages = {
            name: StageConfig(
                NoiseSchedule(**told["schedule"]),
                Sampling(**told["sampling"]),
                tuple(told["conditions"]),
                None if told["scale"] is None else tuple(told["scale"]),
                told.get("masks", "both"),  # added within format 2
                told.get("origin", "first"),  # added within format 2
            )
            for name, told in about["stages"].items()
        }
        told = about.get("thresholds")  # added within format 2
        thresholds = None if told is None else Thresholds(**told)
        return CheckpointConfig(about["name"], about["frames"], tuple(about["size"]), about["fps"], stages, thresholds)
    except Refused as refusal:
        raise Refused(f"{folder / 'config.json'} cannot be used: {refusal}") from None
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Refused(f"{folder / 'config.json'} does not describe a checkpoint ({error!r})") from error
