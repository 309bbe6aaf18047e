"""The reference's numbers: a tiny model of DynamiCrafter's own code with random weights, and what it computed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from mask2iv_ros.generator.dynamicrafter.autoencoder import KLAutoencoder
from mask2iv_ros.generator.dynamicrafter.keys import PREFIXES, places
from mask2iv_ros.generator.dynamicrafter.resampler import Resampler
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet

_FOLDER = Path(__file__).parents[3] / "../shared/reference/dynamicrafter"


@pytest.fixture(scope="session")
def tiny_unet() -> dict[str, Any]:
    """The settings of the reference's tiny UNet."""
    return {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "attention_levels": 2,
        "cross_attention_dim": 48,
        "attention_head_dim": 16,
    }


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Any]:
    """Read a file of the reference by name: tensors of a safetensors file, or JSON."""
    if not _FOLDER.is_dir():
        pytest.skip("the reference's numbers are not beside this checkout")

    def read(name: str) -> Any:
        path = _FOLDER / name
        return json.loads(path.read_text()) if path.suffix == ".json" else load_file(path)

    return read


@pytest.fixture(scope="session")
def checkpoint(reference: Callable[[str], Any]) -> dict[str, Tensor]:
    """The whole tiny model as the reference would save it."""
    unet = {PREFIXES["denoiser"] + key: value for key, value in reference("unet_tiny_a_weights.safetensors").items()}
    return unet | reference("lvd_tiny_rest_weights.safetensors")


@pytest.fixture(scope="session")
def parts(checkpoint: dict[str, Tensor], tiny_unet: dict[str, Any]) -> dict[str, nn.Module]:
    """The same in our parts. Tests must not change them: copy first."""
    vae = {
        "block_out_channels": (32, 32, 64, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    text = {"vocab_size": 128, "hidden_size": 48, "intermediate_size": 192, "num_attention_heads": 3}
    vision = {"image_size": 224, "patch_size": 56, "hidden_size": 40, "intermediate_size": 160}
    tokens = {"bos_token_id": 126, "eos_token_id": 127}
    models = {
        "denoiser": DynamiCrafterUNet(**tiny_unet),
        "projector": Resampler(40, width=64, output_width=48, depth=2, heads=3, head_width=16, tokens=64),
        "autoencoder": KLAutoencoder(**vae),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text, **tokens, num_hidden_layers=2, hidden_act="gelu")),
        "image_encoder": CLIPVisionModel(
            CLIPVisionConfig(**vision, num_hidden_layers=3, num_attention_heads=2, hidden_act="gelu")
        ),
    }
    states = {part: {} for part in models}
    for source, targets in places(models).items():
        for place in targets:
            states[place.part][place.key] = place.take(checkpoint[source])
    for part, model in models.items():
        model.load_state_dict(states[part])
        model.eval().requires_grad_(False)
    return models


@pytest.fixture
def largest(record_property: Callable[[str, object], None]) -> Callable[[str, Tensor, Tensor], float]:
    """Return, record and print the largest absolute difference of two tensors."""

    def measure(name: str, ours: Tensor, theirs: Tensor) -> float:
        assert ours.shape == theirs.shape
        difference = float((ours - theirs).abs().max())
        record_property(name, difference)
        print(f"{name}: {difference:.1e}")
        return difference

    return measure
