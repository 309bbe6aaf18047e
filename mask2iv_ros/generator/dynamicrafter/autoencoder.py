"""The base model's autoencoder: Stable Diffusion's, frame by frame."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor


class KLAutoencoder(AutoencoderKL):
    """diffusers' AutoencoderKL as an `Autoencoder`: latents carry its scaling factor, 0.18215.

    Images go through one by one: a frame of 320 x 512 is work enough for a GPU (1.6 TFLOP to decode), and
    the memory is a sixteenth (reference section 4, perframe_ae: the same result).
    """

    @property
    def patch(self) -> int:
        """Pixels per latent position along each axis."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """Channels of the latent."""
        return self.config.latent_channels

    def encode(
        self, image: Float[Tensor, "n 3 h w"], noise: Float[Tensor, "n c h2 w2"] | None = None
    ) -> Float[Tensor, "n c h2 w2"]:
        """Return the latent; h and w are multiples of `patch`.

        Args:
            image: RGB in [-1, 1].
            noise: standard normal for one draw from the posterior, as the reference makes of the first frame;
                None for its mode.
        """
        moments = torch.cat([self.quant_conv(self.encoder(one)) for one in image.split(1)])
        mean, log_variance = moments.chunk(2, 1)
        if noise is not None:
            mean = mean + (0.5 * log_variance.clamp(-30, 20)).exp() * noise
        return mean * self.config.scaling_factor

    def decode(self, latent: Float[Tensor, "n c h2 w2"]) -> Float[Tensor, "n 3 h w"]:
        """Return the image, about [-1, 1]."""
        latent = latent / self.config.scaling_factor
        return torch.cat([self.decoder(self.post_quant_conv(one)) for one in latent.split(1)])
