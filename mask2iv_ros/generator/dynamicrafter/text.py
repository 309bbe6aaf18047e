"""The text encoder: OpenCLIP's ViT-H through transformers, read before its last layer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


class ClipTextEncoder:
    """A `TextEncoder`.

    Args:
        model: with one layer less than OpenCLIP has (23 of ViT-H) and the exact GELU: its last hidden state,
            after the final norm, is then what the reference reads.
        tokenizer: CLIP's.
    """

    def __init__(self, model: CLIPTextModel, tokenizer: PreTrainedTokenizerBase):
        self.model = model
        self.tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "b s d"]:
        """See `TextEncoder`."""
        return self.encode_ids(self.ids(texts))

    def ids(self, texts: Sequence[str]) -> Int[Tensor, "b s"]:
        """Return token ids, padded with 0, not with CLIP's end of text: the reference's encoder saw zeros."""
        length = self.model.config.max_position_embeddings
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = self.tokenizer(text, verbose=False)["input_ids"]
            if len(ids) > length:
                kept = self.tokenizer.decode(ids[1 : length - 1])
                _log.warning(
                    "%d tokens are more than the encoder's %d: text cut after %r", len(ids), length, kept[-40:]
                )
                ends = ids[-1] == self.tokenizer.eos_token_id
                ids = [*ids[: length - 1], ids[-1] if ends else ids[length - 1]]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    @torch.no_grad()
    def encode_ids(self, ids: Int[Tensor, "b s"]) -> Float[Tensor, "b s d"]:
        """Return the hidden states of token ids; the mask is causal only, so padding counts, as in the reference."""
        return self.model(ids.to(self.model.device)).last_hidden_state
