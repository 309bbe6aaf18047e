"""What an imagination says of itself while it runs, and how it is ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8


class Cancelled(Exception):
    """Raised by an `on_step` callback to end an imagination at once."""


@dataclass(frozen=True)
class Progress:
    """How far an imagination is.

    Attributes:
        stage: which stage runs.
        step: denoising steps of it that are done.
        steps: denoising steps that it takes.
        preview: the present estimate of the middle frame of the first rollout, RGB; only on some steps.
    """

    stage: Literal["trajectory", "video"]
    step: int
    steps: int
    preview: UInt8[np.ndarray, "h w 3"] | None = None


OnStep = Callable[[Progress], None]
