"""The image encoder: OpenCLIP's ViT-H through transformers, fed as the reference feeds it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModel

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class ClipImageEncoder:
    """An `ImageEncoder`: all tokens of the last layer, class token first, neither normalised nor projected.

    Args:
        model: whose activation is the exact GELU; that of ViT-H has 257 tokens of 1280 features.
    """

    def __init__(self, model: CLIPVisionModel):
        self.model = model

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """See `ImageEncoder`; an image of zeros (mid-grey) is the reference's unconditional one."""
        pixels = preprocess(image, self.model.config.image_size)
        return self.model(pixels.to(self.model.device, self.model.dtype)).last_hidden_state


def preprocess(image: Float[Tensor, "b 3 h w"], side: int = 224) -> Float[Tensor, "b 3 side side"]:
    """Squeeze RGB in [-1, 1] into a square, whatever its shape, and normalise it as CLIP was trained.

    A Gaussian blur before a bicubic resize with aligned corners (reference section 4): leaving the blur out
    changes pixels by up to 0.20, torch's own antialiasing by 0.58.
    """
    image = image.float()
    shrinks = [length / side for length in image.shape[-2:]]
    if max(shrinks) > 1:
        for axis, shrink in zip((-2, -1), shrinks, strict=True):
            image = _blur(image, axis, sigma=max((shrink - 1) / 2, 1e-3))
    image = F.interpolate(image, (side, side), mode="bicubic", align_corners=True)
    mean, std = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((image + 1) / 2 - mean) / std


def _blur(image: Float[Tensor, "b 3 h w"], axis: int, sigma: float) -> Float[Tensor, "b 3 h w"]:
    size = int(max(4 * sigma, 3)) | 1
    reach = torch.arange(size, device=image.device, dtype=image.dtype) - size // 2
    kernel = (-(reach**2) / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    kernel = (kernel[:, None] if axis == -2 else kernel[None, :]).expand(3, 1, -1, -1)
    pad = (0, 0, size // 2, size // 2) if axis == -2 else (size // 2, size // 2, 0, 0)
    return F.conv2d(F.pad(image, pad, mode="reflect"), kernel, groups=3)
