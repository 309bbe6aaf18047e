"""Trains a stage on cached latents; a killed run goes on where its last checkpoint stands."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from diffusers.training_utils import EMAModel
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import beside_first_frame, goal_slots
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.contact import RegionWeights
from mask2iv_ros.training.latents import LatentClips
from mask2iv_ros.training.schedule import warm_cosine


@dataclass(frozen=True)
class StageTraining:
    """Settings.

    Attributes:
        stage: "trajectory" (stage 1, masks) or "video" (stage 2, frames).
        steps: gradient steps.
        batch: clips a step.
        rate: peak learning rate.
        decay: of the weights' moving average, which is what is shipped.
        imperfect: share of stage 2's clips whose masks are perturbed or stage 1's own (method: 0.2).
        kernels: sides in pixels of the perturbing squares (method: 3, 5, 7 at 320 x 512).
        weights: of the loss's regions.
        save_every: steps between checkpoints and validations.
        seed: of data order, noise and initial weights.
    """

    stage: Literal["trajectory", "video"]
    steps: int = 6000
    batch: int = 4
    rate: float = 4e-4
    decay: float = 0.999
    imperfect: float = 0.4
    kernels: tuple[int, ...] = (3,)
    weights: RegionWeights = field(default_factory=RegionWeights)
    save_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stage not in ("trajectory", "video"):
            raise Refused(f"stage {self.stage!r} is unknown; accepted are trajectory, video")
        if self.steps < 1 or self.batch < 1 or self.save_every < 1:
            raise Refused(
                f"steps={self.steps}, batch={self.batch}, save_every={self.save_every}; expected at least 1 each"
            )
        if not 0 <= self.imperfect <= 1:
            raise Refused(f"imperfect is {self.imperfect}; expected 0 to 1")
        if not 0 < self.rate < 1 or not 0 <= self.decay < 1:
            raise Refused(f"rate={self.rate}, decay={self.decay}; expected above 0 and from 0, both below 1")


def train_stage(
    model: Stage, train: LatentClips, validation: LatentClips, settings: StageTraining, folder: Path
) -> Stage:
    """Train in place and return the stage with its averaged weights.

    Args:
        model: the stage; its denoiser's weights are trained.
        train: what to learn from.
        validation: measured at every checkpoint with the same noise each time.
        settings: see `StageTraining`.
        folder: for `state.pt`, from which a later call goes on, and `log.jsonl`.

    Raises:
        Refused: `state.pt` is corrupt or of another network, or the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = list(model.denoiser.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = warm_cosine(optimiser, settings.steps)
    average = EMAModel(parameters, decay=settings.decay, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    parts = {"denoiser": model.denoiser, "optimiser": optimiser, "schedule": schedule, "average": average}
    state, log = folder / "state.pt", folder / "log.jsonl"
    begin = _resume(state, parts, model)
    bar = tqdm(range(begin, settings.steps), initial=begin, total=settings.steps, desc=settings.stage, mininterval=10)
    losses: list[float] = []
    for step in bar:
        # Data order and noise follow from the step alone, so a resumed run repeats an unbroken one.
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        rows = torch.randint(len(train), (settings.batch,), generator=generator)
        loss = _loss(model, train, rows, settings, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        average.step(parameters)
        losses.append(loss.item())
        done = step + 1
        if not isfinite(losses[-1]):
            raise Refused(f"the loss of step {done} is {losses[-1]}; expected a rate below {settings.rate} to converge")
        if done % settings.save_every == 0 or done == settings.steps:
            held_out = _validate(model, average, validation, settings)
            recent = sum(losses[-settings.save_every :]) / len(losses[-settings.save_every :])
            with log.open("a") as file:
                file.write(json.dumps({"step": done, "loss": recent, "validation": held_out}) + "\n")
            _save(state, parts, model, done)
            bar.set_postfix(loss=f"{recent:.4f}", validation=f"{held_out:.4f}", refresh=False)
    average.copy_to(parameters)
    return model


def _loss(
    model: Stage, clips: LatentClips, rows: Int[Tensor, "b"], settings: StageTraining, generator: torch.Generator
) -> Tensor:
    device = next(model.parameters()).device
    video, masks = (part[rows].to(device).float() for part in (clips.video, clips.masks))
    weight = clips.weight[rows].to(device).float()
    first = video[:, :, 0]
    if settings.stage == "trajectory":
        target = masks
        told = goal_slots(masks[:, :, 0], clips.goal[rows].to(device).float(), masks.shape[2])
    else:
        target = video
        imperfect = torch.rand(len(rows), generator=generator).to(device) < settings.imperfect
        other = clips.other_masks[rows].to(device).float()
        told = torch.where(imperfect[:, None, None, None, None], other, masks)
    with torch.autocast(device.type, torch.bfloat16):
        return model.loss(target, target[:, :, 0], beside_first_frame(first, told), weight, generator)


@torch.no_grad()
def _validate(model: Stage, average: EMAModel, clips: LatentClips, settings: StageTraining) -> float:
    parameters = list(model.denoiser.parameters())
    average.store(parameters)
    average.copy_to(parameters)
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.arange(len(clips)).split(8)
    losses = [_loss(model, clips, batch, settings, generator).item() for batch in rows]
    average.restore(parameters)
    return sum(losses) / len(losses)


def _save(path: Path, parts: dict, model: Stage, step: int) -> None:
    part = path.with_suffix(".part")
    torch.save({name: value.state_dict() for name, value in parts.items()} | {"scale": model.scale, "step": step}, part)
    os.replace(part, path)


def _resume(path: Path, parts: dict, model: Stage) -> int:
    if not path.exists():
        return 0
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, value in parts.items():
            value.load_state_dict(saved[name])
        # The weights know the scale that they were trained with; clips that came since have another.
        model.scale.copy_(saved.get("scale", model.scale))
        return int(saved["step"])
    except UnpicklingError as error:
        # torch's own words advise to load it unsafely.
        raise Refused(f"{path} cannot be resumed (it is no training state); remove it") from error
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError) as error:
        why = " ".join(str(error).split())[:200]
        raise Refused(f"{path} cannot be resumed ({why}); train into another folder or remove it") from error
