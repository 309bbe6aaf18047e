"""Trains the small default's autoencoder on frames and on their coloured label maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.masks import Role, encode_colours
from mask2iv_ros.training.schedule import warm_cosine


@dataclass(frozen=True)
class AutoencoderTraining:
    """Settings.

    Attributes:
        steps: gradient steps.
        batch: images a step, half of them frames and half label maps.
        rate: peak of the cosine learning rate.
        seed: of the order of images.
    """

    steps: int = 2000
    batch: int = 16
    rate: float = 8e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise Refused(f"steps={self.steps}, batch={self.batch}; expected at least 1 and 2")
        if not 0 < self.rate < 1:
            raise Refused(f"rate is {self.rate}; expected above 0 and below 1")


def train_autoencoder(
    model: PatchAutoencoder, clips: list[Clip], settings: AutoencoderTraining, progress: bool = True
) -> list[float]:
    """Train in place; return the loss of every step."""
    rng = np.random.default_rng(settings.seed)
    image, _ = _draw(clips, rng, 256)
    patches = F.pixel_unshuffle(image, model.patch).movedim(1, -1).flatten(0, -2)
    model.set_principal_components(patches)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=0.0)
    schedule = warm_cosine(optimiser, settings.steps)
    losses = []
    bar = tqdm(range(settings.steps), desc="autoencoder", unit="step", disable=not progress, mininterval=5)
    for _ in bar:
        image, weight = _draw(clips, rng, settings.batch)
        with torch.autocast(image.device.type, torch.bfloat16):
            difference = model.decode(model.encode(image)).float() - image
        loss = (weight * (difference.square() + 0.02 * difference.abs())).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.5f}", refresh=False)
    model.set_statistics(_draw(clips, rng, 256)[0])
    return losses


def _draw(
    clips: list[Clip], rng: np.random.Generator, count: int
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n 1 h w"]]:
    """Return frames and coloured label maps, half and half, and the weight of their pixels."""
    images: list[UInt8[np.ndarray, "h w 3"]] = []
    weights = []
    for index in range(count):
        clip = clips[rng.integers(len(clips))]
        frame = rng.integers(len(clip.video))
        labels = clip.labels[frame]
        if index % 2:
            images.append(clip.video[frame])
        elif index % 16 == 0:
            # The goal slot holds the object alone.
            labels = np.where(clip.goal_mask, np.uint8(Role.OBJECT), np.uint8(0))
            images.append(encode_colours(labels))
        else:
            images.append(encode_colours(labels))
        # A puck is 0.5 % of the image: unweighted it is not worth a component.
        weights.append(1.0 + (labels == Role.INTERACTOR) + 4.0 * (labels == Role.OBJECT))
    weight = torch.from_numpy(np.stack(weights)).float()[:, None]
    return to_unit(np.stack(images)), weight
