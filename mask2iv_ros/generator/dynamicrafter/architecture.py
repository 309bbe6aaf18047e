"""The networks of a checkpoint: the released ones, or of another width as its tensors' shapes say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.autoencoder import KLAutoencoder
from mask2iv_ros.generator.dynamicrafter.keys import PREFIXES
from mask2iv_ros.generator.dynamicrafter.layouts import Layout
from mask2iv_ros.generator.dynamicrafter.resampler import Resampler
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet
from mask2iv_ros.generator.parts import build_empty

IMAGE_TOKENS = 16  # of every frame, fixed in the reference

# Settings per part (see `keys.PREFIXES`) of the released models; the denoiser's and the projector's are defaults.
RELEASED = {
    "denoiser": {
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "attention_levels": 3,
        "cross_attention_dim": 1024,
        "attention_head_dim": 64,
    },
    "projector": {
        "image_width": 1280,
        "width": 1024,
        "output_width": 1024,
        "depth": 4,
        "heads": 12,
        "head_width": 64,
        "tokens": 256,
    },
    "autoencoder": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4},
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
    },
    "image_encoder": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    },
}

type Shapes = Mapping[str, tuple[int, ...]]
type Settings = dict[str, dict[str, object]]


def settings_of(shapes: Shapes) -> Settings:
    """Return what to build, per part.

    A checkpoint that is as wide as the released ones must be like them to the last key, or a missing
    layer would pass for a shallower network; one of another width is taken as it says itself.

    Raises:
        Refused: this is no DynamiCrafter.
    """
    prefix = PREFIXES["denoiser"]
    if not any(name.startswith(prefix) for name in shapes):
        raise Refused(
            f"this is no DynamiCrafter: none of its {len(shapes)} keys begins with {prefix!r}, the first is "
            f"{next(iter(shapes))!r}"
        )
    width = shapes.get(f"{prefix}input_blocks.0.0.weight")
    if width is None or width[:1] == (RELEASED["denoiser"]["block_out_channels"][0],):
        return RELEASED
    try:
        return read_settings(shapes)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise Refused(
            f"this is no DynamiCrafter of any width: its key {error} is missing or has an unexpected shape"
        ) from error


def read_settings(shapes: Shapes) -> Settings:
    """Read the settings from the shapes alone. Only numbers of heads are not in them: widths of heads are proportional.

    Raises:
        KeyError: a telling tensor is missing.
    """
    parts = {
        part: {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }
    denoiser = _denoiser(parts["denoiser"])
    head = denoiser["attention_head_dim"]
    return {
        "denoiser": denoiser,
        "projector": _projector(parts["projector"], head),
        "autoencoder": _autoencoder(parts["autoencoder"]),
        "text_encoder": _text_encoder(parts["text_encoder"], head),
        # ViT-H has heads of 80 in its image tower and of 64 in its text tower, where the denoiser has 64.
        "image_encoder": _image_encoder(parts["image_encoder"], head * 5 // 4),
    }


def build(settings: Settings, layout: Layout) -> dict[str, nn.Module]:
    """Return the networks of all parts, without memory for their weights."""
    denoiser = settings["denoiser"] | {
        "image_tokens": IMAGE_TOKENS,
        "learnable_image_scale": layout.learnable_image_scale,
        "default_fps": layout.fps,
    }
    autoencoder = settings["autoencoder"]
    levels = len(autoencoder["block_out_channels"])
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    vocabulary = settings["text_encoder"]["vocab_size"]
    tokens = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": 0}
    text = CLIPTextConfig(**settings["text_encoder"], **tokens, hidden_act="gelu")
    image = CLIPVisionConfig(**settings["image_encoder"], hidden_act="gelu")
    return {
        "denoiser": build_empty(DynamiCrafterUNet, denoiser),
        "projector": build_empty(Resampler, settings["projector"]),
        "autoencoder": build_empty(KLAutoencoder, autoencoder | blocks),
        "text_encoder": build_empty(CLIPTextModel, text.to_dict()),
        "image_encoder": build_empty(CLIPVisionModel, image.to_dict()),
    }


def _count(shapes: Shapes, pattern: str) -> int:
    """Return how many numbers the names have where the pattern has its group."""
    return len({found[1] for name in shapes if (found := re.match(pattern, name))})


def _denoiser(shapes: Shapes) -> dict[str, object]:
    blocks = _count(shapes, r"input_blocks\.(\d+)\.")
    ends = [block for block in range(blocks) if f"input_blocks.{block}.0.op.weight" in shapes]
    starts = [1, *(end + 1 for end in ends)]
    levels = [f"input_blocks.{start}" for start in starts]
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": tuple(shapes[f"{level}.0.out_layers.3.weight"][0] for level in levels),
        "layers_per_block": [*ends, blocks][0] - starts[0],
        "attention_levels": sum(f"{level}.1.proj_in.weight" in shapes for level in levels),
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": shapes["init_attn.0.proj_in.weight"][0] // 8,  # always 8 heads
    }


def _projector(shapes: Shapes, head: int) -> dict[str, object]:
    return {
        "image_width": shapes["proj_in.weight"][1],
        "width": shapes["proj_in.weight"][0],
        "output_width": shapes["proj_out.weight"][0],
        "depth": _count(shapes, r"layers\.(\d+)\."),
        "heads": shapes["layers.0.0.to_q.weight"][0] // head,
        "head_width": head,
        "tokens": shapes["latents"][1],
    }


def _autoencoder(shapes: Shapes) -> dict[str, object]:
    levels = _count(shapes, r"encoder\.down\.(\d+)\.")
    widths = [shapes[f"encoder.down.{level}.block.0.conv2.weight"][0] for level in range(levels)]
    return {
        "block_out_channels": tuple(widths),
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": shapes["post_quant_conv.weight"][0],
    }


def _text_encoder(shapes: Shapes, head: int) -> dict[str, object]:
    vocabulary, width = shapes["token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": _count(shapes, r"transformer\.resblocks\.(\d+)\.") - 1,  # the last is not run
        "num_attention_heads": width // head,
        "max_position_embeddings": shapes["positional_embedding"][0],
    }


def _image_encoder(shapes: Shapes, head: int) -> dict[str, object]:
    width, patch = shapes["visual.conv1.weight"][0], shapes["visual.conv1.weight"][-1]
    side = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)  # the first is the class token's
    return {
        "hidden_size": width,
        "intermediate_size": shapes["visual.transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": _count(shapes, r"visual\.transformer\.resblocks\.(\d+)\."),
        "num_attention_heads": width // head,
        "image_size": side * patch,
        "patch_size": patch,
    }
