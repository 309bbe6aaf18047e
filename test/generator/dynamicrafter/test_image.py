import pytest
import torch
from torch.nn import functional as F

from mask2iv_ros.generator.dynamicrafter.image import MEAN, STD, ClipImageEncoder, preprocess


@pytest.fixture(scope="module")
def io(reference) -> dict[str, torch.Tensor]:
    return reference("vae_clip_tiny_io.safetensors")


def to_unit(image: torch.Tensor) -> torch.Tensor:
    return image.float() / 127.5 - 1


@pytest.mark.parametrize("size", ["320x512", "64x96"])
def test_pixels_are_the_references(reference, io, largest, size):
    if size == "320x512":  # shrinks, so it blurs
        golden = reference("clip_preprocess_320x512.safetensors")
        image, pixels = golden["image_uint8"], golden["preprocessed"]
    else:
        image, pixels = io["clip.image_uint8"], io["clip.preprocessed"]
    assert largest(f"preprocess {size}", preprocess(to_unit(image)), pixels) <= 2e-6


def test_an_image_is_blurred_only_where_it_shrinks():
    stripes = torch.arange(512).mul(1.5).sin().expand(1, 3, 200, 512)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    plain = F.interpolate(stripes, (224, 224), mode="bicubic", align_corners=True)
    assert float((preprocess(stripes) - ((plain + 1) / 2 - mean) / std).abs().max()) > 0.05
    grown = stripes[..., :220]
    plain = F.interpolate(grown, (224, 224), mode="bicubic", align_corners=True)
    torch.testing.assert_close(preprocess(grown), ((plain + 1) / 2 - mean) / std)


def test_tokens_are_the_references(parts, io, largest):
    encoder = ClipImageEncoder(parts["image_encoder"])
    image = to_unit(io["clip.image_uint8"])
    assert largest("clip image", encoder.encode(image), io["clip.tokens"]) <= 1e-5
    assert largest("clip no image", encoder.encode(torch.zeros_like(image)), io["clip.tokens_zero_image"]) <= 1e-5
