"""Trains a whole default from clips: autoencoder, then each stage, then the checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mask2iv_ros.data.clips import Clip, load_clips
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.checkpoint import CheckpointConfig, load_part, save
from mask2iv_ros.generator.denoiser import SpaceTimeUNet
from mask2iv_ros.generator.imagine import MAX_STEPS
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.autoencoder import AutoencoderTraining, train_autoencoder
from mask2iv_ros.training.latents import LatentClips, encode_clips
from mask2iv_ros.training.stages import StageTraining, train_stage

STAGES = ("trajectory", "video")


@dataclass(frozen=True)
class PairTraining:
    """Settings of a pair.

    Attributes:
        clips: folder of clips.
        work: folder for everything that a resumed run needs.
        channels: of the latents.
        widths: of both denoisers.
        depth: blocks per level of both denoisers.
        sampling_steps: that the checkpoint uses unless asked otherwise.
        autoencoder: its training.
        trajectory: stage 1's training.
        video: stage 2's training.
        limit: training clips per task, all if None.
        seed: of the initial weights.
    """

    clips: Path
    work: Path
    channels: int = 32
    widths: tuple[int, ...] = (96, 192)
    depth: int = 2
    sampling_steps: int = 10
    autoencoder: AutoencoderTraining = field(default_factory=AutoencoderTraining)
    trajectory: StageTraining = field(default_factory=lambda: StageTraining("trajectory"))
    video: StageTraining = field(default_factory=lambda: StageTraining("video"))
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.sampling_steps <= MAX_STEPS:
            raise Refused(f"sampling_steps is {self.sampling_steps}; expected 1 to {MAX_STEPS}")
        if not 1 <= self.channels <= 3 * PatchAutoencoder.patch**2:
            raise Refused(f"channels is {self.channels}; expected 1 to {3 * PatchAutoencoder.patch**2}")
        if self.limit is not None and self.limit < 1:
            raise Refused(f"limit is {self.limit}; expected at least 1 training clip per task")


def autoencoder(settings: PairTraining, clips: list[Clip]) -> PatchAutoencoder:
    """Return the trained autoencoder, from the work folder if it is there.

    Raises:
        Refused: the one in the work folder is corrupt or has another number of channels.
    """
    folder = settings.work / "autoencoder"
    if (folder / "config.json").exists():
        model = load_part(PatchAutoencoder, folder)
        if model.config.channels != settings.channels:
            raise Refused(
                f"{folder} has {model.config.channels} channels; expected {settings.channels}: use another work folder"
            )
        return model.eval().requires_grad_(False)
    torch.manual_seed(settings.seed)
    model = PatchAutoencoder(channels=settings.channels)
    train_autoencoder(model, clips, settings.autoencoder)
    part = settings.work / "autoencoder.part"
    model.save_pretrained(part)
    os.replace(part, folder)
    return model.eval().requires_grad_(False)


def stage(settings: PairTraining, name: str, train: LatentClips, validation: LatentClips) -> Stage:
    """Return a trained stage; what an earlier run has done is not done again."""
    torch.manual_seed(settings.seed + 1 + STAGES.index(name))
    denoiser = SpaceTimeUNet(
        channels=settings.channels,
        condition_channels=2 * settings.channels,
        frames=train.video.shape[2],
        widths=settings.widths,
        depth=settings.depth,
    ).to(memory_format=torch.channels_last)
    model = Stage(denoiser, train.change_scale(name))
    return train_stage(model, train, validation, getattr(settings, name), settings.work / name)


def train_pair(settings: PairTraining, out: Path, name: str, only: str | None = None) -> Path | None:
    """Train what is missing and write the checkpoint.

    Args:
        settings: see `PairTraining`.
        out: folder of the checkpoint.
        name: of the checkpoint.
        only: "autoencoder", "trajectory" or "video": train that part and write no checkpoint,
            so that the two stages can train side by side.

    Returns:
        The checkpoint's folder, or None with `only`.
    """
    if only not in (None, "autoencoder", *STAGES):
        raise Refused(f"part {only!r} is unknown; accepted are autoencoder, {', '.join(STAGES)}")
    settings.work.mkdir(parents=True, exist_ok=True)
    train_clips = load_clips(settings.clips, "train", settings.limit)
    model = autoencoder(settings, train_clips)
    if only == "autoencoder":
        return None
    video = settings.video
    train, validation = (
        encode_clips(model, clips, video.weights, video.kernels, video.seed, settings.work)
        for clips in (train_clips, load_clips(settings.clips, "validation"))
    )
    stages = {part: stage(settings, part, train, validation) for part in STAGES if only in (None, part)}
    if only:
        return None
    frames, height, width, _ = train_clips[0].video.shape
    config = CheckpointConfig(
        name=name,
        frames=frames,
        size=(height, width),
        fps=train_clips[0].fps,
        conditions=("mask",),
        steps=settings.sampling_steps,
        scales={part: stages[part].scale.tolist() for part in STAGES},
    )
    save(out, config, model, stages)
    return out
