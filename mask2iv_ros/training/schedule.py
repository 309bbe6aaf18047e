"""The learning rate of every training run here: a warm-up, then constant or half a cosine to zero."""

from __future__ import annotations

from math import cos, pi
from typing import Literal


def rate_factor(step: int, steps: int, warm_up: int, schedule: Literal["constant", "cosine"] = "cosine") -> float:
    """Return the share of the peak learning rate that the step, counted from 0, is done with."""
    if step < warm_up:
        return (step + 1) / warm_up
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + cos(pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))
