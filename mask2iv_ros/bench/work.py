"""The work of one stage, part by part, on inputs of the right shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mask2iv_ros.bench.subject import Subject
from mask2iv_ros.generator.autoencoder import decode_video
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.guidance import guided as guide


@dataclass(frozen=True)
class Part:
    """A piece of a stage's work.

    Attributes:
        name: of the part.
        calls: how often a stage does it.
        run: does it once.
    """

    name: str
    calls: int
    run: Callable[[], object]


class Work:
    """One stage's work for one scene; inputs are made once, on the device that the networks run on.

    Args:
        subject: the networks.
        device: "meta" to count without computing.
        dtype: of the networks.
        batch: rollouts of the scene at once.
    """

    def __init__(self, subject: Subject, device: torch.device, dtype: torch.dtype, batch: int = 1):
        self.subject, self.device, self.batch = subject, device, batch
        self.guided = subject.sampling.guidance != 1
        height, width = (side // subject.autoencoder.patch for side in subject.size)
        channels = subject.autoencoder.channels
        self._latent = (batch, channels, subject.frames, height, width)
        beside = subject.stage.denoiser.config.in_channels - channels
        self._image = self._draw(1, 3, *subject.size).clamp(-1, 1).to(dtype)
        self._noise = self._draw(*self._latent)
        self._beside = self._draw(batch, beside, *self._latent[2:]).to(dtype)
        self._origin = self._noise[:, :, :1]
        self._fps = torch.full((batch,), subject.fps, device=device)

    def parts(self) -> list[Part]:
        """Return the parts in the order in which a stage does them; guidance doubles what precedes the decoding."""
        subject, _ = self.subject, self._prepared  # encoded now, or it would be counted to the first step
        found = [Part("autoencoder, encode a frame", 1, self._encode)]
        if subject.text_encoder is not None:
            found.append(Part("text encoder", 1, self._text))
        if subject.image_encoder is not None:
            found.append(Part("image encoder", 1, self._image_tokens))
        if subject.stage.projector is not None:
            found.append(Part("projector", 1, self._project))
        step = "denoiser, guided step" if self.guided else "denoiser, step"
        found.append(Part(step, subject.sampling.steps, self.step))
        found.append(Part("autoencoder, decode a video", 1, self._decode))
        return found

    @torch.inference_mode()
    def whole(self) -> Tensor:
        """Do all of a stage: from pixels and text to a video, b t c h w."""
        subject = self.subject
        self._encode()
        told, nothing = self._told()
        latent = subject.stage.sample(
            self._origin,
            told,
            self._noise,
            subject.sampling,
            unconditional=nothing,
            step_noise=lambda step: self._noise,
        )
        return decode_video(subject.autoencoder, latent.to(self._image.dtype))

    @torch.inference_mode()
    def step(self, guided: bool = True) -> Tensor:
        """Call the denoiser as every step of sampling does.

        Args:
            guided: False: with the condition alone, as no step does that has guidance.
        """
        stage, sampling = self.subject.stage, self.subject.sampling
        dtype = next(stage.denoiser.parameters()).dtype

        def denoise(noisy: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
            return stage.denoiser(noisy.to(dtype), timestep, condition.to(self.device, dtype))

        predict = guide(denoise, *self._prepared, None, sampling if guided else replace(sampling, guidance=1.0))
        return predict(self._noise, torch.full((self.batch,), 500, device=self.device))

    def training_condition(self) -> Condition:
        """Return a condition as training reads it from the cache: encoded, not projected."""
        told, _ = self._told()
        return told.map(torch.Tensor.clone)

    def training_video(self) -> Tensor:
        """Return latents of a video as training reads them from the cache."""
        return self._noise.clone()

    @cached_property
    @torch.inference_mode()
    def _prepared(self) -> tuple[Condition, Condition | None]:
        """The conditions as the denoiser takes them."""
        return tuple(None if one is None else self.subject.stage.prepare(one) for one in self._told())

    @torch.inference_mode()
    def _encode(self) -> Tensor:
        return self.subject.autoencoder.encode(self._image)

    @torch.inference_mode()
    def _decode(self) -> Tensor:
        return decode_video(self.subject.autoencoder, self._noise.to(self._image.dtype))

    @torch.inference_mode()
    def _text(self) -> Tensor:
        encoder = self.subject.text_encoder
        ids = torch.zeros(1 + self.guided, encoder.model.config.max_position_embeddings, dtype=torch.long)
        return encoder.encode_ids(ids)

    @torch.inference_mode()
    def _image_tokens(self) -> Tensor:
        return self.subject.image_encoder.encode(
            torch.cat([self._image, torch.zeros_like(self._image)][: 1 + self.guided])
        )

    @torch.inference_mode()
    def _project(self) -> Tensor:
        projector, config = self.subject.stage.projector, self.subject.image_encoder.model.config
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        return projector(self._image.new_zeros(1 + self.guided, tokens, config.hidden_size))

    @torch.inference_mode()
    def _told(self) -> tuple[Condition, Condition | None]:
        """Return the condition and, for guidance, the unconditional one."""
        subject = self.subject
        text = None if subject.text_encoder is None else self._text()
        image = None if subject.image_encoder is None else self._image_tokens()

        def condition(index: int) -> Condition:
            own = [None if one is None else one[index : index + 1].expand(self.batch, -1, -1) for one in (text, image)]
            return Condition(self._beside, *own, self._fps)

        return condition(0), condition(1) if self.guided else None

    def _draw(self, *shape: int) -> Tensor:
        if self.device.type == "meta":
            return torch.empty(shape, device="meta")
        return torch.randn(shape, generator=torch.Generator(self.device).manual_seed(1), device=self.device)
