"""The autoencoder: what the stages ask of it, and the small default."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F


class Autoencoder(Protocol):
    """Turns RGB images in [-1, 1] into latents and back; masks go through as colour images.

    Attributes:
        patch: pixels per latent position along each axis.
        channels: of the latent.
    """

    patch: int
    channels: int

    def encode(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Return the latent, about zero mean and unit variance."""
        ...

    def decode(self, latent: Float[Tensor, "n c h2 w2"]) -> Float[Tensor, "n 3 h w"]:
        """Return the image."""
        ...


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """Principal components of 8 x 8 patches, mended by small convolutional residuals.

    The linear part alone reconstructs at 30 dB and is known before training starts; the
    convolutions begin at zero and learn what it leaves out.

    Args:
        channels: of the latent.
        width: features of the residual branches at the coarsest resolution.
    """

    patch = 8

    @register_to_config
    def __init__(self, channels: int = 32, width: int = 128):
        super().__init__()
        pixels = 3 * self.patch**2
        self.analysis = nn.Conv2d(pixels, channels, 1)
        self.synthesis = nn.Conv2d(channels, pixels, 1)
        half, quarter = width // 2, width // 4
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, quarter, 3, padding=1),
            _Residual(quarter),
            nn.Conv2d(quarter, half, 3, stride=2, padding=1),
            _Residual(half),
            nn.Conv2d(half, width, 3, stride=2, padding=1),
            _Residual(width),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            _Residual(width),
            _Residual(width),
            nn.Conv2d(width, 4 * half, 1),
            nn.PixelShuffle(2),
            _Residual(half),
            nn.Conv2d(half, 4 * quarter, 1),
            nn.PixelShuffle(2),
            _Residual(quarter),
            nn.Conv2d(quarter, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        for branch in (self.encoder[-1], self.decoder[-2]):
            nn.init.zeros_(branch.weight)
            nn.init.zeros_(branch.bias)
        self.channels = channels
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def encode(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h2 w2"]:
        """See `Autoencoder`; h and w are multiples of 8."""
        latent = self.analysis(F.pixel_unshuffle(image, self.patch)) + self.encoder(image)
        return (latent - self.mean[:, None, None]) / self.std[:, None, None]

    def decode(self, latent: Float[Tensor, "n c h2 w2"]) -> Float[Tensor, "n 3 h w"]:
        """See `Autoencoder`."""
        latent = latent * self.std[:, None, None] + self.mean[:, None, None]
        return F.pixel_shuffle(self.synthesis(latent), self.patch) + self.decoder(latent)

    @torch.no_grad()
    def set_principal_components(self, patches: Float[Tensor, "n p"]) -> None:
        """Make the linear part the principal components of sampled patches (in pixel-unshuffle order)."""
        mean = patches.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov(patches.T))
        basis = vectors.flip(1)[:, : self.config.channels].T  # c p, largest variance first
        self.analysis.weight.copy_(basis[..., None, None])
        self.analysis.bias.copy_(-basis @ mean)
        self.synthesis.weight.copy_(basis.T[..., None, None])
        self.synthesis.bias.copy_(mean)

    @torch.no_grad()
    def set_statistics(self, image: Float[Tensor, "n 3 h w"]) -> None:
        """Make latents of images like these zero mean and unit variance, channel by channel."""
        self.mean.zero_()
        self.std.fill_(1)
        latent = self.encode(image)
        self.mean.copy_(latent.mean((0, 2, 3)))
        # A channel that these images leave constant must not be divided by zero.
        self.std.copy_(latent.std((0, 2, 3)).clamp_min(1e-4))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.branch(x)


def to_unit(image: UInt8[np.ndarray, "*n h w 3"]) -> Float[Tensor, "*n 3 h w"]:
    """Return 8-bit RGB as a tensor in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, -3).float().div_(127.5).sub_(1)


def to_bytes(image: Float[Tensor, "*n 3 h w"]) -> UInt8[np.ndarray, "*n h w 3"]:
    """Return a tensor in [-1, 1] as 8-bit RGB, clipped."""
    return image.float().add(1).mul(127.5).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()


def encode_video(autoencoder: Autoencoder, video: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b c t h2 w2"]:
    """Encode frame by frame."""
    batch = video.shape[0]
    return rearrange(
        autoencoder.encode(rearrange(video, "b t c h w -> (b t) c h w")), "(b t) c h w -> b c t h w", b=batch
    )


def decode_video(autoencoder: Autoencoder, latent: Float[Tensor, "b c t h2 w2"]) -> Float[Tensor, "b t 3 h w"]:
    """Decode frame by frame."""
    batch = latent.shape[0]
    return rearrange(
        autoencoder.decode(rearrange(latent, "b c t h w -> (b t) c h w")), "(b t) c h w -> b t c h w", b=batch
    )
