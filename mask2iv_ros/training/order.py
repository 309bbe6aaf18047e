"""Where a training stands decides everything random in it: seed, step and place in the batch, and nothing else.

A resumed run therefore draws what an unbroken one does without any random state being kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Sampler


def seed_at(*place: int) -> int:
    """Return a seed for a place, such as (seed, step, rank): neighbouring places share nothing."""
    # SeedSequence pads with zeros, which would make one place of (5,) and (5, 0).
    return int(np.random.SeedSequence((len(place), *place)).generate_state(1, np.uint64)[0] >> 1)


def generator_at(*place: int) -> torch.Generator:
    """Return a generator for a place, on the CPU, where the same seed means the same everywhere."""
    return torch.Generator().manual_seed(seed_at(*place))


class Order(Sampler[list[int]]):
    """The windows of every step: each epoch goes through all of them in another order.

    Args:
        windows: that there are.
        batch: windows a step over all GPUs.
        steps: from the first one still to do to the last.
        seed: of the order.
        rank: this GPU's number.
        world: number of GPUs; each takes an equal share of the batch.
    """

    def __init__(self, windows: int, batch: int, steps: range, seed: int, rank: int = 0, world: int = 1):
        self.windows, self.batch, self.steps, self.seed = windows, batch, steps, seed
        share = batch // world
        self.share = range(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield [self._at(step * self.batch + place) for place in self.share]

    def _at(self, place: int) -> int:
        epoch, place = divmod(place, self.windows)
        return _shuffled(self.windows, self.seed, epoch)[place]


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    return torch.randperm(count, generator=generator_at(seed, epoch)).tolist()
