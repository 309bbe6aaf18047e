"""The projector: CLIP's tokens of the first frame, brought to as many tokens for every frame of the video."""

from __future__ import annotations

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from jaxtyping import Float
from torch import Tensor


class Resampler(ModelMixin, ConfigMixin):
    """A perceiver: learned queries gather from the image's tokens, layer after layer.

    It is diffusers' projection of IP-Adapter Plus (reference section 4); the defaults are those of the
    released models at every resolution.

    Args:
        image_width: features of the image encoder's tokens.
        width: features inside.
        output_width: features of the tokens that cross-attention reads.
        depth: layers.
        heads: attention heads in every layer.
        head_width: features of each; heads x head_width need not be the width.
        tokens: that it makes, those of all frames together, ordered (t l).
    """

    @register_to_config
    def __init__(
        self,
        image_width: int = 1280,
        width: int = 1024,
        output_width: int = 1024,
        depth: int = 4,
        heads: int = 12,
        head_width: int = 64,
        tokens: int = 256,
    ):
        super().__init__()
        self.projection = IPAdapterPlusImageProjection(
            embed_dims=image_width,
            output_dims=output_width,
            hidden_dims=width,
            depth=depth,
            dim_head=head_width,
            heads=heads,
            num_queries=tokens,
        )

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b m e"]:
        """Return the video's image tokens from the first frame's, all of them, class token included."""
        return self.projection(tokens)
