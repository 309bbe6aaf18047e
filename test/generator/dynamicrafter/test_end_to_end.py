from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mask2iv_ros.generator.autoencoder import decode_video
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.dynamicrafter.image import ClipImageEncoder
from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.stage import Stage


@pytest.fixture(scope="module")
def io(reference) -> dict[str, Tensor]:
    return reference("e2e_tiny_io.safetensors")


def to_unit(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1


@torch.no_grad()
def synthesise(parts, io, mode: str, guidance_rescale: float = 0.7, **changed: Tensor) -> Tensor:
    """From image and token ids to a video, b c t h w; `changed` are other parts of the condition."""
    prefix = "interp." if mode == "interpolation" else ""
    autoencoder, image = parts["autoencoder"], to_unit(io["image_uint8"])
    text, pictures = ClipTextEncoder(parts["text_encoder"], None), ClipImageEncoder(parts["image_encoder"])
    first = autoencoder.encode(image, io[prefix + "posterior_noise_frame0"])
    beside = first.unsqueeze(2).repeat(1, 1, 4, 1, 1)
    if mode == "interpolation":
        beside[:, :, 1:] = 0
        last = to_unit(io["interp.image2_uint8"])
        beside[:, :, -1] = autoencoder.encode(last, io["interp.posterior_noise_last"])
    fps = io[prefix + "fs"]
    condition = Condition(beside, text.encode_ids(io["ids_prompt"]), pictures.encode(image), fps)
    nothing = Condition(beside, text.encode_ids(io["ids_empty"]), pictures.encode(torch.zeros_like(image)), fps)
    latent = Stage(parts["denoiser"], projector=parts["projector"]).sample(
        first,
        replace(condition, **changed),
        io["x_T"],
        Sampling(steps=5, guidance_rescale=guidance_rescale),
        unconditional=nothing,
        step_noise=lambda step: io[prefix + "step_noise"][step],
    )
    return decode_video(autoencoder, latent).transpose(1, 2)


@pytest.mark.parametrize(("mode", "golden"), [("image to video", "video"), ("interpolation", "interp.video")])
def test_the_video_is_the_references(parts, io, largest, mode, golden):
    assert largest(f"end to end, {mode}", synthesise(parts, io, mode), io[golden][0]) <= 2e-4


@pytest.mark.parametrize("part", ["text", "image", "fps", "guidance_rescale"])
def test_every_part_of_the_condition_counts(parts, io, part):
    other = {
        "text": lambda: ClipTextEncoder(parts["text_encoder"], None).encode_ids(io["ids_empty"]),
        "image": lambda: torch.zeros(1, 17, 40),
        "fps": lambda: io["fs"] + 8,
        "guidance_rescale": lambda: 0.0,
    }[part]()
    video = synthesise(parts, io, "image to video", **{part: other})
    assert float((video - io["video"][0]).abs().max()) > 0.02
