"""Which weights of a stage move."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.experiment import Trained


def choose_trained(stage: Stage, trained: Trained) -> None:
    """Set `requires_grad` of all weights, which leaves out adapters: those come after.

    Stage 1 keeps the temporal attention of its base, the motion prior, and trains everything else
    (method, stage 1).

    Raises:
        Refused: the temporal attention is to be kept and the denoiser has none to name.
    """
    stage.denoiser.requires_grad_(trained.lora is None)
    if stage.projector is not None:
        stage.projector.requires_grad_(trained.projector)
    if trained.freeze_time:
        names = set()
        for name, parameter in stage.denoiser.temporal_layers():
            parameter.requires_grad_(False)
            names.add(name)
        if not names:
            raise Refused(f"{type(stage.denoiser).__name__} has no temporal attention to freeze; set freeze_time false")


def trained_parameters(stage: Stage) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield name and parameter of all that moves."""
    return ((name, parameter) for name, parameter in stage.named_parameters() if parameter.requires_grad)
