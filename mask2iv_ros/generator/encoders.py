"""What a stage asks of a text encoder and of an image encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor


class TextEncoder(Protocol):
    """Turns texts into tokens for cross-attention."""

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "b s d"]:
        """Return the hidden states, padding included; that a text is too long and was cut is logged."""
        ...


class ImageEncoder(Protocol):
    """Turns images into tokens for cross-attention."""

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """Return the hidden states of RGB images in [-1, 1] of any size."""
        ...
