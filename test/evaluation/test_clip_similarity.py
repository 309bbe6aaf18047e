import json
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.clip_similarity import ClipSimilarity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of the true classes, tiny and untrained, as transformers saves it."""
    path = tmp_path_factory.mktemp("clip")
    letters = [*string.ascii_lowercase, *(letter + "</w>" for letter in string.ascii_lowercase)]
    vocabulary = {token: n for n, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=layer | {"vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": 53},
        vision_config=layer | {"image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(path)
    CLIPProcessor(images, tokenizer).save_pretrained(path)
    return path


def frames(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 20, 28, 3), np.uint8)


def test_a_video_is_as_like_itself_as_can_be(folder: Path):
    model = ClipSimilarity(folder)
    truth, other = model.frames(frames(0)), model.frames(frames(1))
    assert truth.shape == (3, 8)
    assert model.to_video(truth, truth) == pytest.approx(1)
    assert model.to_video(other, truth) < 0.999
    # Corresponding frames: backwards it is another video.
    assert model.to_video(truth.flip(0), truth) < 0.9999


def test_both_are_means_of_cosines(folder: Path):
    model = ClipSimilarity(folder)
    made, true = model.frames(frames(0)), model.frames(frames(1))
    cosines = torch.cosine_similarity(made, true)
    assert model.to_video(made, true) == pytest.approx(float(cosines.mean()))
    net, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    inputs = processor(text=["push it"], images=list(frames(0)), return_tensors="pt")
    with torch.inference_mode():
        outputs = net(**inputs)
    expected = torch.cosine_similarity(outputs.image_embeds, outputs.text_embeds).mean()
    assert model.to_text(made, "push it") == pytest.approx(float(expected), abs=1e-6)
    assert model.to_text(made, "pull it") != model.to_text(made, "push it")


def test_a_text_too_long_for_clip_is_cut(folder: Path):
    model = ClipSimilarity(folder)
    made = model.frames(frames(0))
    assert model.to_text(made, "slide the block " * 20) == model.to_text(made, "slide the block " * 30)


def test_what_is_no_whole_model_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(Refused, match=r"has no config\.json; expected a CLIP model"):
        ClipSimilarity(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    removed = state.pop("visual_projection.weight")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(Refused, match=r"has no weights for .*visual_projection\.weight"):
        ClipSimilarity(tmp_path)
    save_file(state | {"visual_projection.weight": removed[:, :4].contiguous()}, tmp_path / "model.safetensors")
    with pytest.raises(Refused, match="cannot be loaded"):
        ClipSimilarity(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(Refused, match="cannot be loaded"):
        ClipSimilarity(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(Refused, match=r"cannot be loaded|has no weights"):
        ClipSimilarity(tmp_path)
