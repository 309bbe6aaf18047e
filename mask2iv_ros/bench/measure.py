"""Seconds, floating-point operations and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What a piece of work takes.

    Attributes:
        name: of the work.
        calls: how often a stage does it.
        seconds: of one call, the median.
        fastest: of one call.
        first: seconds of the very first call, which compiles and warms up.
        tflop: 10^12 floating-point operations of one call, a multiply-add being two.
        memory: most bytes that the GPU held, weights of all networks included; None on a CPU.
    """

    name: str
    calls: int
    seconds: float
    fastest: float
    first: float
    tflop: float
    memory: int | None

    @property
    def speed(self) -> float:
        """TFLOP/s."""
        return self.tflop / self.seconds

    def share(self, peak: float | None) -> float | None:
        """Return the share of the floor, the time that the operations would take at `peak` TFLOP/s."""
        return None if peak is None else self.speed / peak


def measure(
    name: str, run: Callable[[], object], tflop: float, device: torch.device, repeats: int, calls: int = 1
) -> Cost:
    """Run once to warm up and then `repeats` times."""
    first = _seconds(run, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = [_seconds(run, device) for _ in range(repeats)]
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Cost(name, calls, statistics.median(seconds), min(seconds), first, tflop, memory)


def count_tflop(run: Callable[[], object]) -> float:
    """Return 10^12 floating-point operations of matrix products, convolutions and attention; norms are not counted.

    Args:
        run: works on the meta device.
    """
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _synchronise(device)
    begin = time.perf_counter()
    run()
    _synchronise(device)
    return time.perf_counter() - begin


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
