"""CLIP's tokenizer, which no DynamiCrafter checkpoint carries."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mask2iv_ros.errors import Refused

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_WORDS = 49406  # without start and end of text


def clip_tokenizer(length: int = 77) -> CLIPTokenizer:
    """Return CLIP's tokenizer, made of the vocabulary in the package open_clip_torch.

    Its ids are those of OpenCLIP, except that OpenCLIP mends text first: HTML entities, ligatures and
    curly quotes become plain characters.

    Args:
        length: of the encoder in tokens.

    Raises:
        Refused: the package is not installed.
    """
    package = find_spec("open_clip")
    if package is None:
        raise Refused(
            "the vocabulary of CLIP is not installed; expected the package open_clip_torch: "
            "pip install 'mask2iv_ros[convert]'"
        )
    packed = Path(package.submodule_search_locations[0]) / _VOCABULARY
    lines = (
        gzip.decompress(packed.read_bytes()).decode().split("\n")
    )  # not splitlines: some words hold other line breaks
    letters = list(bytes_to_unicode().values())
    merges = [tuple(line.split()) for line in lines[1 : 1 + _WORDS - 2 * len(letters)]]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)
