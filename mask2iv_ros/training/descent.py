"""The loop of a training of minutes, which begins anew after a kill: gradient steps, a cosine rate, curves, a bar."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.curves import Curves
from mask2iv_ros.training.schedule import rate_factor


class Descent(Protocol):
    """Settings of the loop: steps, peak of the cosine rate, steps between two points of the curves."""

    steps: int
    rate: float
    every: int


def descend(
    model: nn.Module,
    loss_at: Callable[[int], Float[Tensor, ""]],
    settings: Descent,
    decay: float,
    warm_up: int,
    work: Path,
    words: str,
) -> list[float]:
    """Train in place; return the loss of every step.

    Args:
        model: to train.
        loss_at: draws a batch and returns its loss, given the step.
        settings: see `Descent`.
        decay: of the weights.
        warm_up: steps over which the rate rises.
        work: for the curves.
        words: before the bar.

    Raises:
        Refused: the loss is no longer finite.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=decay)
    losses: list[float] = []
    bar = tqdm(range(settings.steps), desc=words, unit="step", mininterval=5)
    curves = Curves(work, 0)
    for step in bar:
        loss = loss_at(step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * rate_factor(step, settings.steps, warm_up)
        optimiser.step()
        losses.append(loss.item())
        if not isfinite(losses[-1]):
            raise Refused(
                f"the loss of step {step + 1} is {losses[-1]}; expected a rate below {settings.rate} to converge"
            )
        if (step + 1) % settings.every == 0:
            point = {"loss": float(np.mean(losses[-settings.every :]))}
            curves.points(step + 1, point)
            curves.line(step + 1, point)
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
    curves.close()
    return losses
