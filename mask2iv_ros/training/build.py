"""Where a training begins: the stage of a base model, widened for mask latents, or a small one from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.checkpoint import Checkpoint
from mask2iv_ros.generator.checkpoint_config import CheckpointConfig
from mask2iv_ros.generator.control_branch import ControlledUNet
from mask2iv_ros.generator.parts import dtype_named
from mask2iv_ros.generator.runtime import MOST_SEQUENCES
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.experiment import Experiment, Optimiser
from mask2iv_ros.training.freeze import choose_trained
from mask2iv_ros.training.lora import Adapters
from mask2iv_ros.training.order import seed_at


@dataclass(frozen=True)
class Beginning:
    """A stage before its training.

    Attributes:
        stage: with `requires_grad` set where it is trained.
        sampling: that its checkpoint suggests.
        adapters: in the denoiser, if it is trained by adapters.
    """

    stage: Stage
    sampling: Sampling
    adapters: Adapters | None = None

    @property
    def undecayed(self) -> frozenset[nn.Parameter]:
        """Weights that the optimiser must not shrink."""
        return self.adapters.undecayed if self.adapters else frozenset()


def source_of(experiment: Experiment, base: CheckpointConfig) -> str | None:
    """Return the base's stage whose weights the training begins with, None if it begins with random ones.

    Raises:
        Refused: the base has no stage to begin with.
    """
    if experiment.network is not None:
        return None
    for name in (experiment.stage, "base"):
        if name in base.stages:
            return name
    raise Refused(
        f"base {base.name!r} has no stage {experiment.stage!r} and no stage 'base' (it has "
        f"{', '.join(base.stages) or 'none'}); expected a converted base model, or an experiment with a network"
    )


def check_fit(experiment: Experiment, base: Checkpoint, source: str | None) -> None:
    """Check that a base, loaded with the stage `source`, fits the experiment, before hours of encoding are lost.

    Raises:
        Refused: it does not.
    """
    wants_text = "text" in experiment.conditions
    if wants_text and base.text_encoder is None:
        raise Refused(f"goals is {experiment.goals} and base {base.config.name!r} has no text encoder; expected 1.0")
    _check_sequences(experiment.optimiser, prod(side // base.autoencoder.patch for side in experiment.data.size))
    if source is None:
        return
    denoiser, scale = base.stages[source].denoiser, base.stages[source].scale
    multiple, frames = base.autoencoder.patch * denoiser.multiple, experiment.data.windows.frames
    if any(side % multiple for side in experiment.data.size):
        raise Refused(f"size is {experiment.data.size}; stage {source!r} takes multiples of {multiple} pixels")
    if frames > getattr(denoiser.config, "frames", frames):
        raise Refused(f"windows.frames is {frames}; stage {source!r} takes at most {denoiser.config.frames}")
    if experiment.change != (scale is not None):
        raise Refused(
            f"change is {experiment.change} and stage {source!r} of {base.config.name!r} was trained with the "
            f"opposite; expected {not experiment.change}"
        )
    if source == experiment.stage and experiment.origin != base.config.stages[source].origin:
        raise Refused(
            f"origin is {experiment.origin!r} and stage {source!r} of {base.config.name!r} was trained with "
            f"{base.config.stages[source].origin!r}; expected the same"
        )
    if wants_text and getattr(denoiser.config, "text_width", True) is None:
        raise Refused(f"goals is {experiment.goals} and stage {source!r} takes no text; expected 1.0")


def _check_sequences(asked: Optimiser, positions: int) -> None:
    """Refuse windows that are more at once than attention over time, a sequence per latent position, can take."""
    if min(asked.micro, asked.batch) * positions > MOST_SEQUENCES:
        fitting = [micro for micro in range(1, MOST_SEQUENCES // positions + 1) if asked.batch % micro == 0]
        expected = f"micro {fitting[-1]}" if fitting else "a smaller data.size"
        raise Refused(
            f"micro is {asked.micro} windows of {positions} latent positions each; expected {expected}, as CUDA's "
            f"attention takes at most {MOST_SEQUENCES} positions at once"
        )


def begin(
    experiment: Experiment, base: Checkpoint, source: str | None, scale: Float[Tensor, "c"] | None, device: torch.device
) -> Beginning:
    """Return the stage to train.

    Args:
        experiment: see `Experiment`.
        base: loaded with the stage `source`, which is trained in place; it fits (`check_fit`).
        source: see `source_of`.
        scale: of the change, for a network to be trained on changes; a base's stage has its own.
        device: of the stage.

    Raises:
        Refused: the temporal attention is to be frozen and there is none.
    """
    torch.manual_seed(seed_at(experiment.seed))
    if source is None:
        stage = Stage(_small(experiment, base), experiment.schedule, scale=scale if experiment.change else None)
        sampling, new_columns = experiment.sampling, 0
    else:
        stage, told = base.stages[source], base.config.stages[source]
        wanted = _channels(experiment, base)
        new_columns = wanted - stage.denoiser.config.in_channels
        if new_columns:
            stage.denoiser = stage.denoiser.widened(wanted)
        stage.schedule = experiment.schedule or told.schedule
        sampling = experiment.sampling or told.sampling
    if isinstance(stage.denoiser, SpaceTimeUNet | ControlledUNet):
        # A third faster on a CPU, which is where it is trained.
        stage.denoiser.to(memory_format=torch.channels_last)
    choose_trained(stage, experiment.trained)
    stage.to(device)
    adapters = None
    if experiment.trained.lora is not None:
        trained = experiment.trained
        adapters = Adapters(
            stage.denoiser, trained.lora, new_columns, trained.freeze_time, dtype_named(trained.weights)
        )
    return Beginning(stage, sampling, adapters)


def _channels(experiment: Experiment, base: Checkpoint) -> int:
    """Return the channels of sample, first frame, masks and, where it is the origin, pasted video."""
    return base.autoencoder.channels * (4 if experiment.origin == "pasted" else 3)


def _small(experiment: Experiment, base: Checkpoint) -> SpaceTimeUNet | ControlledUNet:
    asked, channels = experiment.network, base.autoencoder.channels
    text_width = base.text_encoder.model.config.hidden_size if "text" in experiment.conditions else None
    follow = experiment.origin == "pasted"
    kind = ControlledUNet if asked.branch else partial(SpaceTimeUNet, gates=asked.gates, follow=follow)
    return kind(
        in_channels=_channels(experiment, base),
        out_channels=channels,
        frames=experiment.data.windows.frames,
        widths=asked.widths,
        depth=asked.depth,
        head_width=asked.head_width,
        text_width=text_width,
    )
