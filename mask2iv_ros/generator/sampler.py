"""Sampling: from noise to a clean latent with any network, by DDIM, DPM-Solver++ or UniPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, Self, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.ddim import ddim_steps
from mask2iv_ros.generator.schedule import NoiseSchedule

Method = Literal["ddim", "dpm++", "unipc"]
Spacing = Literal["trailing", "uniform"]
Predict = Callable[[Float[Tensor, "b c t h w"], Int[Tensor, "b"]], Float[Tensor, "b c t h w"]]
StepNoise = Callable[[int], Float[Tensor, "b c t h w"]]
OnEstimate = Callable[[int, Float[Tensor, "b c t h w"]], None]

# Where the signal is gone the ratio of noise to it is infinite; diffusers' stand-in, too small to be seen.
_HIGHEST_RATIO = 4096.0


@dataclass(frozen=True)
class Sampling:
    """Settings; the defaults are those published for the base model's 512 layout.

    Attributes:
        method: "ddim", which is the base model's; "dpm++" (DPM-Solver++ 2M, arXiv 2211.01095) or "unipc"
            (arXiv 2302.04867), which need fewer steps.
        steps: of denoising, 1 to 1000; each calls the network once.
        eta: share of DDIM's noise that is fresh, from 0 (deterministic) to 1. The other methods are deterministic.
        spacing: of the timesteps, see `timesteps`.
        guidance: of the text, or of text and image together where `image_guidance` is None; 0 to 100. 1 is none
            and saves the unconditional calls.
        guidance_rescale: share, 0 to 1, in which the guided output is brought back to the conditional's spread.
        image_guidance: of the image alone, 0 to 100, beside that of the text; None for one guidance of both.
        text_guidance: stage 1's `guidance` of a goal that is a text, 0 to 100; None: as of any other.
    """

    method: Method = "ddim"
    steps: int = 50
    eta: float = 1.0
    spacing: Spacing = "trailing"
    guidance: float = 7.5
    guidance_rescale: float = 0.7
    image_guidance: float | None = None
    text_guidance: float | None = None

    def __post_init__(self) -> None:
        for name, accepted in (("method", get_args(Method)), ("spacing", get_args(Spacing))):
            if getattr(self, name) not in accepted:
                raise Refused(f"{name} is {getattr(self, name)!r}; accepted are {', '.join(accepted)}")
        if type(self.steps) is not int or not 1 <= self.steps <= 1000:
            raise Refused(f"steps is {self.steps!r}; expected a whole number from 1 to 1000")
        guidances = [(name, 100) for name in ("guidance", "image_guidance", "text_guidance")]
        for name, most in (("eta", 1), ("guidance_rescale", 1), *guidances):
            value = getattr(self, name)
            if name in ("image_guidance", "text_guidance") and value is None:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not isfinite(value) or not 0 <= value <= most:
                raise Refused(f"{name} is {value!r}; expected a number from 0 to {most}")

    @property
    def guided(self) -> bool:
        """Whether the network is called without conditions too."""
        return self.guidance != 1 or self.image_guidance is not None

    def for_text(self) -> Self:
        """Return the settings of a goal that is a text."""
        return self if self.text_guidance is None else replace(self, guidance=self.text_guidance)


@dataclass(frozen=True)
class Near:
    """What a sample is to stay near: sampling starts from it, noised, and not from noise (SDEdit, arXiv 2108.01073).

    Attributes:
        clean: latents as the process knows them.
        strength: share of the timesteps that are gone through, above 0 and at most 1: the less, the nearer.
    """

    clean: Float[Tensor, "b c t h w"]
    strength: float

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise Refused(f"strength is {self.strength}; expected above 0 and at most 1")


def timesteps(schedule: NoiseSchedule, sampling: Sampling, strength: float = 1.0) -> list[int]:
    """Return the timesteps that are visited, the noisiest first: exactly as many as asked for, no two the same.

    They are spaced over the least noisy `strength` of all (`Near`).

    With 1000 timesteps and S steps "trailing" gives round(1000 - i 1000 / S) - 1, from 999 on, which a zero
    terminal SNR needs, and "uniform" floor(i 1000 / S) + 1, which never reaches 999.

    The reference's uniform spacing strides by 1000 // S. Where S divides 1000, ours is the same; elsewhere the
    reference takes more steps than asked for (63 for 60) or, for 3, 9, 27, 36 and 37, reads past the last timestep
    and fails. Its trailing spacing takes a 62nd step for 61. We keep to the count.

    Raises:
        Refused: more steps than the process has timesteps.
    """
    count, every = sampling.steps, round(strength * schedule.steps)
    if count > every:
        among = "" if strength == 1 else f", at strength {strength:g}"
        raise Refused(
            f"steps is {count}; expected at most the {every} timesteps that the model was trained with{among}"
        )
    if sampling.spacing == "trailing":
        return (np.round(np.arange(every, 0, -every / count)[:count]).astype(int) - 1).tolist()
    shift = 1 if count < every else 0  # all timesteps are 0 to 999, where a shift would read past the last
    return [step * every // count + shift for step in reversed(range(count))]


@torch.no_grad()
def sample(
    predict: Predict,
    schedule: NoiseSchedule,
    sampling: Sampling,
    noise: Float[Tensor, "b c t h w"],
    step_noise: StepNoise | None = None,
    on_estimate: OnEstimate | None = None,
    near: Near | None = None,
) -> Float[Tensor, "b c t h w"]:
    """Return sampled latents in float32.

    The samples of a batch do not influence each other.

    Args:
        predict: the network's output for noisy latents (float32) at timesteps, see `guidance.guided`.
        schedule: the process that the network was trained with.
        sampling: see `Sampling`; its guidance is `predict`'s business.
        noise: standard normal, where sampling starts.
        step_noise: standard normal noise for the step of that index from 0; asked for by DDIM with eta above 0.
        on_estimate: called after every step with the number of steps done and the present estimate of the clean
            latents; what it raises ends the sampling.
        near: what the sample is to stay near; None: it is free.

    Raises:
        Refused: more steps than the process has timesteps.
    """
    visited = timesteps(schedule, sampling, 1.0 if near is None else near.strength)
    start = None if near is None else schedule.add_noise(near.clean.float(), noise.float(), _batch(visited[0], noise))
    on_estimate = on_estimate or (lambda done, clean: None)
    if sampling.method == "ddim":
        x = noise.float() if start is None else start
        return _ddim(predict, schedule, sampling, visited, x, step_noise, on_estimate)
    return _solve(predict, schedule, sampling, visited, noise.float(), start, on_estimate)


def _ddim(
    predict: Predict,
    schedule: NoiseSchedule,
    sampling: Sampling,
    visited: list[int],
    x: Float[Tensor, "b c t h w"],
    step_noise: StepNoise | None,
    on_estimate: OnEstimate,
) -> Float[Tensor, "b c t h w"]:
    if sampling.eta > 0 and step_noise is None:
        raise ValueError(f"eta is {sampling.eta}; expected step_noise with it")
    for index, step in enumerate(ddim_steps(schedule, visited, sampling.eta)):
        t = _batch(step.t, x)
        output = predict(x, t).float()
        clean, noise = schedule.clean_of(output, x, t), schedule.noise_of(output, x, t)
        x = step.clean * clean + step.noise * noise
        if step.fresh > 0:
            x = x + step.fresh * step_noise(index).to(x)
        on_estimate(index + 1, clean)
    return x


def _solve(
    predict: Predict,
    schedule: NoiseSchedule,
    sampling: Sampling,
    visited: list[int],
    y: Float[Tensor, "b c t h w"],
    start: Float[Tensor, "b c t h w"] | None,
    on_estimate: OnEstimate,
) -> Float[Tensor, "b c t h w"]:
    """Sample with diffusers' solver, from pure noise `y` or from x_t = `start`.

    The solvers know processes whose variance is 1. The dynamic rescale's is a^2 s^2 + sigma^2, so they see
    y = x_t / sqrt(a^2 s^2 + sigma^2), which is such a process of the same clean latent, and are told the latter.

    They end where DDIM does, at timestep 0's noise level, in a first-order step, but at the latent's full size.
    Ending without noise, on the last clean estimate, narrows the samples: for normal data of spread 0.1 the
    exact network's error after 20 trailing steps is 0.060 then, and 0.034 so.
    """
    # Imported here: they bring scipy, a second that DDIM need not wait for.
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    levels = [*visited, 0]
    share = schedule.alphas_cumprod[levels]
    signal, noise = np.sqrt(share) * schedule.scale[levels], np.sqrt(1 - share)
    size, ratio = np.hypot(signal, noise), noise / np.maximum(signal, noise / _HIGHEST_RATIO)
    kind = DPMSolverMultistepScheduler if sampling.method == "dpm++" else UniPCMultistepScheduler
    solver = kind(num_train_timesteps=schedule.steps, prediction_type="sample")
    solver.set_timesteps(len(visited))
    # UniPC takes neither timesteps nor noise levels from outside.
    solver.timesteps, solver.sigmas = torch.tensor(visited), torch.from_numpy(ratio).float()
    solver.set_begin_index(0)
    if start is not None:
        y = start / float(size[0])
    for index, timestep in enumerate(visited):
        x, t = float(size[index]) * y, _batch(timestep, y)
        clean = schedule.clean_of(predict(x, t).float(), x, t)
        y = solver.step(clean, timestep, y).prev_sample
        on_estimate(index + 1, clean)
    return y


def _batch(timestep: int, like: Tensor) -> Int[Tensor, "b"]:
    return torch.full((len(like),), timestep, device=like.device)
