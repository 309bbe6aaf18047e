"""Between pixels and words and what the stages are told: every encoder of a checkpoint at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mask2iv_ros.generator.autoencoder import decode_video, encode_video, to_bytes, to_unit
from mask2iv_ros.generator.checkpoint import Checkpoint
from mask2iv_ros.generator.conditioning import Condition, Masks, beside_first_frame, told_labels
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.masks import Role, encode_colours
from mask2iv_ros.scene import Goal, Scene

_TEXTS_KEPT = 100  # each is asked for by every rollout and stage; "" always is


@dataclass(frozen=True)
class SceneCode:
    """What both stages are told of a scene.

    Attributes:
        scene: the scene, at the generator's size.
        first: latent of the frame.
        initial: latent of its coloured label map.
        image: the frame's tokens.
        no_image: tokens of a mid-grey frame, which is how the base model drops the image in training.
    """

    scene: Scene
    first: Float[Tensor, "1 c h w"]
    initial: Float[Tensor, "1 c h w"]
    image: Float[Tensor, "1 n d"] | None
    no_image: Float[Tensor, "1 n d"] | None


@dataclass(frozen=True)
class Pasted:
    """A scene with its pixels pasted along a trajectory (`Origin`), as pixels and as latents."""

    video: UInt8[np.ndarray, "t h w 3"]
    latent: Float[Tensor, "1 c t h2 w2"]


class Coder:
    """Encodes scenes, goals, masks and texts with a checkpoint's parts, and decodes latents."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device):
        self._parts, self._device = checkpoint, device
        self._fps = round(checkpoint.config.fps)
        self._latest: SceneCode | None = None
        self._texts: dict[str, Float[Tensor, "1 s d"]] = {}

    def scene(self, scene: Scene) -> SceneCode:
        """Encode a scene once; the latest one is kept for its other goals and seeds."""
        code = self._latest
        if code is None or not (
            np.array_equal(code.scene.image, scene.image) and np.array_equal(code.scene.labels, scene.labels)
        ):
            first = self.encode(scene.image[None])[:, :, 0]
            initial = self.encode(encode_colours(scene.labels)[None])[:, :, 0]
            self._latest = code = SceneCode(scene, first, initial, *self._image_tokens(scene.image))
        return code

    def goal(self, goal: Goal) -> Float[Tensor, "1 c h w"] | None:
        """Return the latent of the goal mask alone, in the object's colour."""
        if goal.mask is None:
            return None
        alone = np.where(goal.mask, np.uint8(Role.OBJECT), np.uint8(Role.BACKGROUND))
        return self.encode(encode_colours(alone)[None])[:, :, 0]

    def trajectory(self, labels: UInt8[np.ndarray, "t h w"], masks: Masks) -> Float[Tensor, "1 c t h w"]:
        """Return the latents of what stage 2 is told of a trajectory."""
        latent = self.encode(encode_colours(told_labels(labels, masks)))
        return torch.zeros_like(latent) if masks == "none" else latent

    def pasted(self, code: SceneCode, labels: UInt8[np.ndarray, "t h w"]) -> Pasted:
        """Return the scene with its pixels pasted along a trajectory."""
        video = paste_and_move(code.scene.image, labels)
        return Pasted(video, self.encode(video))

    def condition(
        self,
        code: SceneCode,
        masks: Float[Tensor, "b c t h w"],
        texts: Sequence[str],
        image: Float[Tensor, "1 n d"] | None,
        pasted: Float[Tensor, "b c t h w"] | None = None,
    ) -> Condition:
        """Return a stage's condition for a batch of rollouts of one scene."""
        batch = len(masks)
        first = code.first.expand(batch, -1, -1, -1)
        return Condition(
            beside=beside_first_frame(first, masks, pasted),
            text=self._text_tokens(texts),
            image=None if image is None else image.expand(batch, -1, -1),
            fps=torch.full((batch,), self._fps, device=self._device),
        )

    @torch.inference_mode()
    def encode(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "1 c t h2 w2"]:
        """Return the latents of a video or of one image."""
        autoencoder = self._parts.autoencoder
        return encode_video(autoencoder, to_unit(frames)[None].to(self._device, _dtype(autoencoder)))

    @torch.inference_mode()
    def decode(self, latent: Float[Tensor, "b c t h2 w2"]) -> UInt8[np.ndarray, "b t h w 3"]:
        """Return the pictures of latents."""
        autoencoder = self._parts.autoencoder
        return to_bytes(decode_video(autoencoder, latent.to(_dtype(autoencoder))))

    @torch.inference_mode()
    def decode_onto(
        self, latent: Float[Tensor, "b c t h2 w2"], pasted: Sequence[Pasted]
    ) -> UInt8[np.ndarray, "b t h w 3"]:
        """Return the pictures of latents whose origin was pasted.

        Where nothing was pasted the scene's own pixels stand and only what the latents add to theirs is decoded,
        so that what rests stays as sharp as the camera saw it.
        """
        autoencoder = self._parts.autoencoder
        made, shown = (
            decode_video(autoencoder, one.to(_dtype(autoencoder))).float()
            for one in (latent, torch.cat([one.latent for one in pasted]))
        )
        pixels = to_unit(np.stack([one.video for one in pasted])).to(made)
        rests = (pixels == pixels[:, :1]).all(2, keepdim=True)
        return to_bytes(made + rests * (pixels - shown))

    @torch.inference_mode()
    def _image_tokens(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[Tensor | None, Tensor | None]:
        encoder = self._parts.image_encoder
        if encoder is None:
            return None, None
        pixels = to_unit(image)[None].to(self._device)
        return encoder.encode(pixels), encoder.encode(torch.zeros_like(pixels))

    @torch.inference_mode()
    def _text_tokens(self, texts: Sequence[str]) -> Float[Tensor, "b s d"] | None:
        encoder = self._parts.text_encoder
        if encoder is None:
            return None
        if len(self._texts) > _TEXTS_KEPT:
            self._texts.clear()
        for text in {*texts} - self._texts.keys():
            self._texts[text] = encoder.encode([text])
        return torch.cat([self._texts[text] for text in texts])


def _dtype(module: torch.nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
