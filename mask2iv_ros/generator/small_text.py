"""The small default's text encoder: CLIP's text model, narrow and untrained, with a small vocabulary.

It stays as it is drawn. What a random transformer makes of a short instruction tells its words
and their order apart, and the denoiser's cross-attention learns what they mean; weights that are
never trained can be encoded once and cached, as the full-size model's are.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder

_PAD, _BEGIN, _END = "<pad>", "<begin>", "<end>"


def small_text_encoder(
    texts: Iterable[str], width: int = 64, longest: int = 32, vocabulary: int = 512, seed: int = 0
) -> ClipTextEncoder:
    """Return an encoder whose vocabulary (bytes and their frequent pairs) comes from these texts; it takes any text.

    Args:
        texts: that the words come from.
        width: features per token.
        longest: tokens of a text; what is longer is cut.
        vocabulary: tokens, 260 at least.
        seed: of the weights.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[_PAD, _BEGIN, _END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, bos_token=_BEGIN, eos_token=_END, model_max_length=longest
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=2,
                num_attention_heads=max(1, width // 32),
                max_position_embeddings=longest,
                bos_token_id=fast.bos_token_id,
                eos_token_id=fast.eos_token_id,
                pad_token_id=fast.pad_token_id,
            )
        )
        # transformers' initial weights leave tokens nearly alike (standard deviation 0.02).
        torch.nn.init.normal_(model.get_input_embeddings().weight)
    return ClipTextEncoder(model.eval().requires_grad_(False), fast)
