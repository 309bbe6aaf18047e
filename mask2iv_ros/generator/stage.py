"""A stage: conditioning layout, denoiser and sampler over an autoencoder's latents.

Stage 1 (masks) and stage 2 (frames) are both this class; they differ in their weights and in
the condition that they are given (`conditioning`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float
from torch import Tensor, nn

from mask2iv_ros.generator.denoiser import Denoiser
from mask2iv_ros.generator.flow import Flow

OnEstimate = Callable[[int, Float[Tensor, "b c t h w"]], None]


class Stage(nn.Module):
    """Samples and trains one denoiser.

    What it denoises is the change since the first frame, (z - z_first) / scale: most of a
    video does not move, and a small network need not copy what it already has.

    Args:
        denoiser: the network.
        scale: root mean square of z - z_first over the training set, per channel.
        flow: which noise levels are trained.
    """

    def __init__(self, denoiser: Denoiser, scale: Float[Tensor, "c"], flow: Flow = Flow()):  # noqa: B008 frozen
        super().__init__()
        self.denoiser = denoiser
        self.flow = flow
        self.register_buffer("scale", scale.clone())

    def loss(
        self,
        video: Float[Tensor, "b c t h w"],
        origin: Float[Tensor, "b c h w"],
        condition: Float[Tensor, "b k t h w"],
        weight: Float[Tensor, "b 1 t h w"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Return the weighted denoising loss.

        Args:
            video: clean latents.
            origin: the first frame's latent, which is given.
            condition: see `conditioning.beside_first_frame`.
            weight: of every position's error, on the latent grid.
            generator: of noise and noise levels.
        """
        clean = (video - origin.unsqueeze(2)) / self._scale()
        level = self.flow.draw_levels(len(clean), generator).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        estimate = self.denoiser(self.flow.add_noise(clean, noise, level), condition, level)
        error = weight * (estimate.float() - clean).square()
        return (error.mean((1, 2, 3, 4)) * self.flow.loss_weight(level)).mean() / weight.mean()

    @torch.inference_mode()
    def sample(
        self,
        origin: Float[Tensor, "b c h w"],
        condition: Float[Tensor, "b k t h w"],
        noise: Float[Tensor, "b c t h w"],
        steps: int,
        on_estimate: OnEstimate | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Return sampled latents.

        Args:
            origin: the first frame's latent.
            condition: see `conditioning.beside_first_frame`.
            noise: standard normal; decides the sample.
            steps: denoising steps, evenly spaced, each one call of the denoiser.
            on_estimate: called after every step with the number of steps done and the present
                estimate of the clean latents; what it raises ends the sampling.
        """
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], device=noise.device)
        sample, base = noise, origin.unsqueeze(2)
        for step, (level, timestep) in enumerate(zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True)):
            clean = self.denoiser(sample, condition, level.expand(len(sample)).to(sample))
            sample = scheduler.step(self.flow.velocity(sample, clean, float(level)), timestep, sample).prev_sample
            if on_estimate is not None:
                on_estimate(step + 1, base + self._scale() * clean)
        return base + self._scale() * sample

    def _scale(self) -> Float[Tensor, "c 1 1 1"]:
        return self.scale[:, None, None, None]
