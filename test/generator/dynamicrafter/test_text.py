import logging

import pytest
import torch

from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder
from mask2iv_ros.generator.dynamicrafter.tokenizer import clip_tokenizer


@pytest.fixture(scope="module")
def encoder(parts) -> ClipTextEncoder:
    pytest.importorskip("open_clip", reason="CLIP's vocabulary is in the package open_clip_torch")
    return ClipTextEncoder(parts["text_encoder"], clip_tokenizer())


def test_hidden_states_are_the_references(parts, reference, largest):
    io = reference("vae_clip_tiny_io.safetensors")
    encoder = ClipTextEncoder(parts["text_encoder"], None)
    for name in ("prompt", "empty"):
        assert largest(f"clip text {name}", encoder.encode_ids(io[f"text.ids_{name}"]), io[f"text.emb_{name}"]) <= 1e-5


def test_padding_with_the_end_of_text_is_something_else(parts, reference):
    io = reference("vae_clip_tiny_io.safetensors")
    ids = io["text.ids_prompt"].clone()
    ids[ids == 0] = ids.max()
    other = ClipTextEncoder(parts["text_encoder"], None).encode_ids(ids)
    assert float((other - io["text.emb_prompt"]).abs().max()) > 1


def test_ids_are_the_references(encoder, reference):
    prompts = reference("clip_token_ids.json")["prompts"]
    assert encoder.ids(list(prompts)).tolist() == list(prompts.values())


def test_a_text_too_long_is_cut_and_that_is_said(encoder, caplog):
    text = " ".join(["push"] * 70 + ["left", "then"] * 30)
    with caplog.at_level(logging.WARNING, "mask2iv_ros"):
        ids = encoder.ids([text, "push left"])
    assert ids.shape == (2, 77)
    assert ids[0, -1] == 49407, "the end of text is kept"
    assert (ids[1, 4:] == 0).all()
    assert torch.equal(ids[0, :76], encoder.ids([text.replace("then", "then", 1)])[0, :76])
    (record,) = caplog.records[:1]
    message = record.getMessage()
    assert "132 tokens are more than the encoder's 77" in message
    assert message.endswith("push left then left then left'")


def test_a_text_that_just_fits_is_not_cut(encoder, caplog):
    with caplog.at_level(logging.WARNING, "mask2iv_ros"):
        ids = encoder.ids([" ".join(["push"] * 75)])
    assert ids[0, -1] == 49407
    assert (ids[0, 1:-1] == ids[0, 1]).all()
    assert not caplog.records
