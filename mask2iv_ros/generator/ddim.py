"""DDIM (Song et al. 2021, arXiv 2010.02502, equation 12) with the base model's dynamic rescale.

    x_prev = sqrt(a_prev) s_prev x + sqrt(1 - a_prev - sigma^2) n + sigma z
    sigma^2 = eta^2 (1 - a_prev) / (1 - a) (1 - a / a_prev)

with the clean latent x and noise n that the network's output stands for, fresh noise z, and a the signal's share
of the variance. Written out here and not diffusers' because that has no dynamic rescale and divides by zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from mask2iv_ros.generator.schedule import NoiseSchedule


class Step(NamedTuple):
    """One step from timestep t: what each part is multiplied by in x_prev."""

    t: int
    clean: float
    noise: float
    fresh: float


def ddim_steps(schedule: NoiseSchedule, timesteps: Sequence[int], eta: float) -> Iterator[Step]:
    """Yield the steps down `timesteps`, the noisiest first; `eta` from 0 (deterministic) to 1.

    As in the reference, the last step ends at timestep 0's noise level (0.085 % of the variance) and keeps the
    rescale of the timestep it comes from: of 50 trailing steps the latent comes out at 0.9857 of its size, of 5
    at 0.85, of 1 at 0.7. Computed in float64 and clamped: in float32 sqrt(1 - a_prev - sigma^2), which is 0 where
    eta is 1 and the signal gone, is not a number for 16 of the step counts up to 100.
    """
    share, scale = schedule.alphas_cumprod, schedule.scale
    last = timesteps[-1]
    for t, following in pairwise([*timesteps, 0]):
        before, after = float(share[t]), float(share[following])
        variance = eta**2 * (1 - after) / (1 - before) * (1 - before / after)
        kept = float(scale[last if t == last else following])
        yield Step(t, sqrt(after) * kept, sqrt(max(1 - after - variance, 0)), sqrt(max(variance, 0)))
