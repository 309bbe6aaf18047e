"""The noise process: how a clean latent turns to noise over the timesteps, and what a network's output means.

    x_t = a_t (s_t x) + sigma_t n,    v_t = a_t n - sigma_t (s_t x),    a_t^2 + sigma_t^2 = 1

with clean latent x and noise n (v: Salimans and Ho 2022, arXiv 2202.00512). s_t is the dynamic rescale: the
signal shrinks linearly from 1 to `rescale` over the first `rescale_steps` timesteps and keeps that size, so that
the noisier steps do not see the first frame through the signal (DynamiCrafter's 512 and 1024 layouts).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isfinite
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mask2iv_ros.errors import Refused

Prediction = Literal["v", "epsilon", "sample"]

_LEAST_LEVEL = 0.3


@dataclass(frozen=True)
class NoiseSchedule:
    """Noise levels of every timestep; the defaults are DynamiCrafter's 512 layout.

    Every method broadcasts t over a batch's samples and computes in at least float32.

    Attributes:
        prediction: what the network puts out: v; "epsilon", the noise n; or "sample", the clean latent x.
        steps: timesteps of the process, 2 or more.
        beta_start: the first timestep's variance of added noise, in (0, 1).
        beta_end: the last one's; between them the square roots are evenly spaced.
        zero_terminal_snr: shift the levels so that the last timestep is pure noise (Lin et al. 2023,
            arXiv 2305.08891, algorithm 1). A network that predicts noise has nothing to say there.
        rescale: the floor of the dynamic rescale in (0, 1]: 0.7 (512), 0.3 (1024); None (256): the signal keeps
            its size.
        rescale_steps: timesteps until the floor is reached, 2 or more.
    """

    prediction: Prediction = "v"
    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal_snr: bool = True
    rescale: float | None = 0.7
    rescale_steps: int = 400

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            raise Refused(f"prediction is {self.prediction!r}; accepted are {', '.join(get_args(Prediction))}")
        for name in ("steps", "rescale_steps"):
            count = getattr(self, name)
            if type(count) is not int or not 2 <= count <= 100_000:
                raise Refused(f"{name} is {count!r}; expected a whole number from 2 to 100000")
        if not (_is_number(self.beta_start) and _is_number(self.beta_end) and 0 < self.beta_start < self.beta_end < 1):
            raise Refused(
                f"beta_start={self.beta_start!r} and beta_end={self.beta_end!r}; expected 0 < beta_start < beta_end < 1"
            )
        if type(self.zero_terminal_snr) is not bool:
            raise Refused(f"zero_terminal_snr is {self.zero_terminal_snr!r}; expected true or false")
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise Refused('prediction "epsilon" says nothing where the signal is gone; set zero_terminal_snr to false')
        if self.rescale is not None and not (_is_number(self.rescale) and 0 < self.rescale <= 1):
            raise Refused(f"rescale is {self.rescale!r}; expected a number above 0 and up to 1, or null")

    @cached_property
    def alphas_cumprod(self) -> np.ndarray:
        """The signal's share of the variance, a_t^2, of every timestep in float64."""
        betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.steps) ** 2
        share = np.cumprod(1 - betas)
        if self.zero_terminal_snr:
            signal = np.sqrt(share)
            share = ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2
        return share

    @cached_property
    def scale(self) -> np.ndarray:
        """The dynamic rescale s_t of every timestep in float64."""
        if self.rescale is None:
            return np.ones(self.steps)
        falling = np.linspace(1, self.rescale, self.rescale_steps)
        return np.append(falling, np.full(self.steps, self.rescale))[: self.steps]

    def add_noise(
        self, clean: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b ..."]:
        """Return x_t."""
        signal, level, scale = self._at(t, clean)
        return signal * (scale * clean) + level * noise

    def velocity(
        self, clean: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b ..."]:
        """Return v_t, which the loss is measured on."""
        signal, level, scale = self._at(t, clean)
        return signal * noise - level * (scale * clean)

    def velocity_of(
        self, output: Float[Tensor, "b ..."], noisy: Float[Tensor, "b ..."], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b ..."]:
        """Return the v_t that a network's output for x_t stands for."""
        signal, level, scale = self._at(t, noisy)
        match self.prediction:
            case "v":
                return output
            case "epsilon":  # v = a n - sigma (x_t - sigma n) / a
                return (output - level * noisy) / signal
            case "sample":  # v = a (x_t - a s x) / sigma - sigma s x
                return (signal * noisy - scale * output) / level

    def clean_of(
        self, output: Float[Tensor, "b ..."], noisy: Float[Tensor, "b ..."], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b ..."]:
        """Return the clean latent that a network's output for x_t stands for, dynamic rescale divided out."""
        if self.prediction == "sample":
            return output
        signal, level, scale = self._at(t, noisy)
        return (signal * noisy - level * self.velocity_of(output, noisy, t)) / scale

    def noise_of(
        self, output: Float[Tensor, "b ..."], noisy: Float[Tensor, "b ..."], t: Int[Tensor, "b"]
    ) -> Float[Tensor, "b ..."]:
        """Return the noise that a network's output for x_t stands for."""
        if self.prediction == "epsilon":
            return output
        signal, level, _ = self._at(t, noisy)
        return signal * self.velocity_of(output, noisy, t) + level * noisy

    def loss_weight(self, t: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Return the weight of each sample's squared error of v.

        For "v" it is 1, as in the reference. For "epsilon" it is a^2, which makes it the squared error of the
        noise, also as in the reference (the 256 layout). For "sample" the error of v is s/sigma times that of
        x and without bound as sigma goes to 0, where x_t tells x anyway: sigma^2 / max(sigma, 0.3)^2.
        """
        signal, level, _ = self._at(t, t)
        match self.prediction:
            case "v":
                return torch.ones_like(signal)
            case "epsilon":
                return signal.square()
            case "sample":
                return (level / level.clamp_min(_LEAST_LEVEL)).square()

    def _at(self, t: Int[Tensor, "b"], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a_t, sigma_t and s_t, each b 1 1 ... to fit `like`."""
        found = _tables(self, like.device)[:, t.to(like.device)]
        return found.view(3, -1, *[1] * (like.ndim - 1)).unbind()


@lru_cache(maxsize=16)
def _tables(schedule: NoiseSchedule, device: torch.device) -> Float[Tensor, "3 steps"]:
    """Return a, sigma and s of every timestep, copied to a device once: a copy in every step would wait for it."""
    share = schedule.alphas_cumprod
    with torch.inference_mode(False):  # the table outlives the sampling that asked for it
        table = np.stack([np.sqrt(share), np.sqrt(1 - share), schedule.scale])
        return torch.from_numpy(table).float().to(device)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
