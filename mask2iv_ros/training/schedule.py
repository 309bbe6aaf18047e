"""The learning rate of every training run here: a short warm-up, then half a cosine to zero."""

from __future__ import annotations

from math import cos, pi

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_cosine(optimiser: Optimizer, steps: int, warm_up: float = 0.04) -> LambdaLR:
    """Return the schedule; `warm_up` is a share of the steps."""
    warm = max(1, int(steps * warm_up))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + cos(pi * min(1.0, (step - warm) / max(1, steps - warm))))

    return LambdaLR(optimiser, factor)
