"""Trains the small default's autoencoder on frames and on their coloured label maps, which begins a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mask2iv_ros.data.clips import require_training_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.generator.checkpoint import CheckpointConfig
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.generator.small_text import small_text_encoder
from mask2iv_ros.masks import Role, encode_colours
from mask2iv_ros.training.order import seed_at
from mask2iv_ros.training.schedule import rate_factor


@dataclass(frozen=True)
class AutoencoderExperiment:
    """Settings.

    Attributes:
        size: (height, width) in pixels, multiples of 8.
        frames: of a rollout, which the checkpoint tells the stages.
        channels: of the latent.
        width: features of the autoencoder at its coarsest resolution.
        text_width: features per token of the text encoder beside it, drawn at random with a vocabulary of the
            dataset's texts; None: no text encoder, and goals are masks alone.
        steps: gradient steps.
        batch: images a step, half of them frames and half label maps.
        rate: peak of the cosine learning rate.
        pool: frames that images are drawn from, spread evenly over the episodes.
        seed: of the initial weights and the order of images.
    """

    size: tuple[int, int] = (96, 128)
    frames: int = 16
    channels: int = 32
    width: int = 128
    text_width: int | None = 64
    steps: int = 2000
    batch: int = 16
    rate: float = 8e-4
    pool: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        if any(side < 8 or side % 8 for side in self.size):
            raise Refused(f"size is {self.size}; expected (height, width), multiples of 8")
        for name, least in (("steps", 1), ("batch", 2), ("pool", 1), ("seed", 0), ("frames", 2)):
            if getattr(self, name) < least:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least {least}")
        if not 1 <= self.channels <= 3 * PatchAutoencoder.patch**2:
            raise Refused(f"channels is {self.channels}; expected 1 to {3 * PatchAutoencoder.patch**2}")
        if self.width < 32 or self.width % 32:
            raise Refused(f"width is {self.width}; expected a multiple of 32")
        if self.text_width is not None and (self.text_width < 16 or self.text_width % 16):
            raise Refused(f"text_width is {self.text_width}; expected a multiple of 16, or null")
        if not 0 < self.rate < 1:
            raise Refused(f"rate is {self.rate}; expected above 0 and below 1")


@dataclass(frozen=True)
class Pool:
    """Frames to draw images from.

    Attributes:
        frames: RGB.
        labels: one `Role` per pixel.
    """

    frames: UInt8[np.ndarray, "n h w 3"]
    labels: UInt8[np.ndarray, "n h w"]


def train_autoencoder(
    experiment: AutoencoderExperiment,
    data: Path,
    out: Path,
    work: Path,
    camera: str | None = None,
    dtype: torch.dtype = torch.float16,
    base: str | Path | None = None,
) -> list[float]:
    """Train an autoencoder, write the checkpoint that stages are then added to, return the loss of every step.

    Args:
        experiment: see `AutoencoderExperiment`.
        data: a LeRobot v3 dataset with a label image per frame.
        out: folder of the checkpoint.
        work: for the loss curve.
        camera: whose frames and labels, where the dataset has several.
        dtype: of the weights in the checkpoint.
        base: checkpoint whose autoencoder is trained on, so that stages trained with it are near what they will
            be with the new one; None: it begins with the principal components of the data.

    Raises:
        Refused: the dataset cannot be read or has clips that are held out of training, `out` exists, the
            base's autoencoder is of another kind or shape, or the loss is no longer finite.
    """
    if out.exists():
        raise Refused(f"{out} exists; expected another folder, as its stages would no longer fit a new autoencoder")
    dataset = LabelledDataset.open(data, camera)
    require_training_clips(data)
    pool = gather(dataset, experiment.size, experiment.pool)
    torch.manual_seed(seed_at(experiment.seed))
    model = _begin(experiment, base)
    losses = fit(model, pool, experiment, work, anew=base is None)
    parts = {"autoencoder": model.eval()}
    if experiment.text_width is not None:
        texts = sorted({episode.task for episode in dataset.episodes})
        text = small_text_encoder(texts, width=experiment.text_width, seed=experiment.seed)
        parts |= {"text_encoder": text.model, "tokenizer": text.tokenizer}
    config = CheckpointConfig(out.name, experiment.frames, experiment.size, float(dataset.fps), {})
    checkpoints.create(out, config, parts, dtype)
    return losses


def _begin(experiment: AutoencoderExperiment, base: str | Path | None) -> PatchAutoencoder:
    if base is None:
        return PatchAutoencoder(channels=experiment.channels, width=experiment.width)
    model = checkpoints.load(base, torch.device("cpu"), stages=()).autoencoder
    found = (
        type(model).__name__,
        *(getattr(getattr(model, "config", None), name, None) for name in ("channels", "width")),
    )
    if found != ("PatchAutoencoder", experiment.channels, experiment.width):
        raise Refused(
            f"base {str(base)!r} has the autoencoder {found} (kind, channels, width); expected a PatchAutoencoder with "
            f"{experiment.channels} channels of width {experiment.width}"
        )
    return model.train().requires_grad_(True)


def gather(dataset: LabelledDataset, size: tuple[int, int], count: int) -> Pool:
    """Return about `count` frames at `size`, as many of each episode."""
    share = max(1, count // len(dataset.episodes))
    every = max(1, len(dataset.episodes) // count)
    framing = Framing(dataset.size, size)
    frames, labels = [], []
    for info in tqdm(dataset.episodes[::every], desc="frames", unit="episode", mininterval=5):
        episode = dataset.read(info.index)
        for index in np.unique(np.linspace(0, info.frames - 1, share).round().astype(int)):
            frames.append(framing.image(episode.video[index]))
            labels.append(framing.labels(episode.labels[index]))
    return Pool(np.stack(frames), np.stack(labels))


def fit(
    model: PatchAutoencoder, pool: Pool, experiment: AutoencoderExperiment, work: Path, anew: bool = True
) -> list[float]:
    """Train in place; return the loss of every step.

    With `anew` its linear part begins as the principal components of the data, and in the end its latents have
    zero mean and unit variance; without, both stay as they were.
    """
    rng = np.random.default_rng(experiment.seed)
    image, _ = _draw(pool, rng, 256)
    if anew:
        patches = F.pixel_unshuffle(image, model.patch).movedim(1, -1).flatten(0, -2)
        model.set_principal_components(patches)
    optimiser = torch.optim.AdamW(model.parameters(), lr=experiment.rate, weight_decay=0.0)
    warm_up = max(1, experiment.steps // 25)
    losses: list[float] = []
    bar = tqdm(range(experiment.steps), desc="autoencoder", unit="step", mininterval=5)
    with SummaryWriter(work) as writer:
        for step in bar:
            image, weight = _draw(pool, rng, experiment.batch)
            with torch.autocast(image.device.type, torch.bfloat16):
                difference = model.decode(model.encode(image)).float() - image
            loss = (weight * (difference.square() + 0.02 * difference.abs())).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = experiment.rate * rate_factor(step, experiment.steps, warm_up)
            optimiser.step()
            losses.append(loss.item())
            if not isfinite(losses[-1]):
                raise Refused(
                    f"the loss of step {step + 1} is {losses[-1]}; expected a rate below {experiment.rate} to converge"
                )
            if step % 10 == 0:
                writer.add_scalar("loss", losses[-1], step)
                bar.set_postfix(loss=f"{np.mean(losses[-50:]):.5f}", refresh=False)
    if anew:
        model.set_statistics(_draw(pool, rng, 256)[0])
    return losses


def _draw(
    pool: Pool, rng: np.random.Generator, count: int
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n 1 h w"]]:
    """Return frames and coloured label maps, half and half, and the weight of their pixels."""
    images: list[UInt8[np.ndarray, "h w 3"]] = []
    weights = []
    for place, row in enumerate(_rows(pool, rng, count)):
        labels = pool.labels[row]
        if place % 2:
            images.append(pool.frames[row])
        else:
            if place % 16 == 0:
                # The goal slot holds the object alone.
                labels = np.where(labels == Role.OBJECT, labels, np.uint8(0))
            images.append(encode_colours(labels))
        # A puck is 0.5 % of the image: unweighted it is not worth a component.
        weights.append(1.0 + (labels == Role.INTERACTOR) + 4.0 * (labels == Role.OBJECT))
    return to_unit(np.stack(images)), torch.from_numpy(np.stack(weights)).float()[:, None]


def _rows(pool: Pool, rng: np.random.Generator, count: int) -> Sequence[int]:
    return rng.integers(len(pool.frames), size=count).tolist()
