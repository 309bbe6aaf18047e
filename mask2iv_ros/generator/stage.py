"""A stage: denoiser, noise schedule and sampler over an autoencoder's latents.

Stage 1 (masks) and stage 2 (frames), small or full-size, are all this class; they differ in
their weights, their configuration and the condition that they are given (`conditioning`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.denoiser import Denoiser
from mask2iv_ros.generator.guidance import guided
from mask2iv_ros.generator.sampler import Near, Sampling, sample
from mask2iv_ros.generator.schedule import NoiseSchedule

OnEstimate = Callable[[int, Float[Tensor, "b c t h w"]], None]


class Stage(nn.Module):
    """Trains and samples one denoiser.

    Args:
        denoiser: the network.
        schedule: of the noise, and what the network's output means.
        projector: turns the image encoder's tokens into those that the denoiser takes; it is
            trained with the denoiser, as the base model's Resampler is.
        scale: None to denoise latents as they are, as the base model does. Otherwise the root mean
            square per channel of z - z_origin over the training set: the change since the origin,
            in these units, is then denoised. Most of a video does not move, and a small network
            need not copy what it already has.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: NoiseSchedule = NoiseSchedule(),  # noqa: B008 frozen
        projector: nn.Module | None = None,
        scale: Float[Tensor, "c"] | None = None,
    ):
        super().__init__()
        self.denoiser = denoiser
        self.schedule = schedule
        self.projector = projector
        self.register_buffer("scale", None if scale is None else scale.clone())

    def forward(
        self,
        video: Float[Tensor, "b c t h w"],
        origin: Float[Tensor, "b c #t h w"],
        condition: Condition,
        weight: Float[Tensor, "b #1 t h w"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Return the training loss: the weighted squared error of v, at a uniformly drawn timestep.

        Args:
            video: clean latents.
            origin: latents that the change is measured from: the first frame's, or one a frame.
            condition: as the image encoder left it.
            weight: of every position's error, on the latent grid: lambda inside the contact map,
                1 elsewhere (method, stage 2).
            generator: of timesteps and noise, on the CPU, so that a seed means the same anywhere.
        """
        clean = self._normalised(video, origin)
        timestep = torch.randint(self.schedule.steps, (len(clean),), generator=generator).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        noisy = self.schedule.add_noise(clean, noise, timestep)
        output = self.denoiser(noisy, timestep, self.prepare(condition)).float()
        error = self.schedule.velocity_of(output, noisy, timestep) - self.schedule.velocity(clean, noise, timestep)
        loss = (weight * error.square()).mean((1, 2, 3, 4))
        return (loss * self.schedule.loss_weight(timestep)).mean()

    def prepare(self, condition: Condition) -> Condition:
        """Return the condition as the denoiser takes it; for sampling this is done once, not at every step."""
        if self.projector is None or condition.image is None:
            return condition
        return replace(condition, image=self.projector(condition.image))

    @torch.inference_mode()
    def sample(
        self,
        origin: Float[Tensor, "b c #t h w"],
        condition: Condition,
        noise: Float[Tensor, "b c t h w"],
        sampling: Sampling,
        *,
        unconditional: Condition | None = None,
        without_text: Condition | None = None,
        step_noise: Callable[[int], Float[Tensor, "b c t h w"]] | None = None,
        on_estimate: OnEstimate | None = None,
        near: Near | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Return sampled latents.

        Args:
            origin: see `forward`.
            condition: as the image encoder left it.
            noise: standard normal; decides the sample.
            sampling: method, steps and guidance.
            unconditional: for guidance other than 1.
            without_text: for a guidance of its own for the image (`Sampling.image_guidance`).
            step_noise: standard normal for the step given, for eta above 0.
            on_estimate: called after every step with the number of steps done and the present
                estimate of the clean latents; what it raises ends the sampling.
            near: latents that the sample is to stay near; None: it is free.
        """
        told, nothing, picture = (
            None if one is None else self.prepare(one) for one in (condition, unconditional, without_text)
        )
        report = None if on_estimate is None else lambda step, clean: on_estimate(step, self._restored(clean, origin))
        predict = guided(self._denoise, told, nothing, picture, sampling)
        start = None if near is None else replace(near, clean=self._normalised(near.clean, origin))
        return self._restored(
            sample(predict, self.schedule, sampling, noise.float(), step_noise, report, start), origin
        )

    def _denoise(
        self, noisy: Float[Tensor, "b c t h w"], timestep: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c t h w"]:
        # The sampler's sums stay in single precision whatever the network computes in.
        dtype = next(self.denoiser.parameters()).dtype
        return self.denoiser(noisy.to(dtype), timestep, condition.to(noisy.device, dtype)).float()

    def _normalised(self, video: Tensor, origin: Tensor) -> Tensor:
        return video if self.scale is None else (video - origin) / self.scale[:, None, None, None]

    def _restored(self, latent: Tensor, origin: Tensor) -> Tensor:
        return latent if self.scale is None else origin + self.scale[:, None, None, None] * latent
