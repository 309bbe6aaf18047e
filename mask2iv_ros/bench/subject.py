"""What is benchmarked: the networks of one stage, full-size or tiny with random weights, or a checkpoint's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import Autoencoder
from mask2iv_ros.generator.dynamicrafter.architecture import IMAGE_TOKENS, RELEASED, build
from mask2iv_ros.generator.dynamicrafter.image import ClipImageEncoder
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS
from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder
from mask2iv_ros.generator.parts import build_empty
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.stage import Stage

# The released networks with mask latents beside the first frame's, as both stages have them.
FULL = RELEASED | {"denoiser": RELEASED["denoiser"] | {"in_channels": 12}}

# The same classes at every turn, a thousandth of the size.
TINY = {
    "denoiser": FULL["denoiser"]
    | {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "attention_levels": 2,
        "cross_attention_dim": 48,
        "attention_head_dim": 16,
    },
    "projector": {
        "image_width": 40,
        "width": 64,
        "output_width": 48,
        "depth": 2,
        "heads": 3,
        "head_width": 16,
        "tokens": 4 * IMAGE_TOKENS,
    },
    "autoencoder": FULL["autoencoder"] | {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1},
    "text_encoder": {
        "vocab_size": 128,
        "hidden_size": 48,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 77,
    },
    "image_encoder": {
        "hidden_size": 40,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 224,
        "patch_size": 56,
    },
}


@dataclass(frozen=True)
class Subject:
    """The networks of one stage, and what they make.

    Attributes:
        name: of the model.
        autoencoder: of pixels.
        text_encoder: None where the stage reads no text.
        image_encoder: None where the stage has no tokens of the first frame.
        stage: denoiser, noise schedule and projector.
        sampling: how it is sampled.
        frames: of a video.
        size: (height, width) in pixels.
        fps: that the denoiser is told.
    """

    name: str
    autoencoder: Autoencoder
    text_encoder: ClipTextEncoder | None
    image_encoder: ClipImageEncoder | None
    stage: Stage
    sampling: Sampling
    frames: int
    size: tuple[int, int]
    fps: int

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by part."""
        found = {
            "autoencoder": self.autoencoder,
            "text_encoder": self.text_encoder and self.text_encoder.model,
            "image_encoder": self.image_encoder and self.image_encoder.model,
            "projector": self.stage.projector,
            "denoiser": self.stage.denoiser,
        }
        return {part: module for part, module in found.items() if module is not None}


def random_subject(name: str, device: torch.device, dtype: torch.dtype) -> Subject:
    """Return "full" or "tiny" with random weights that keep the size of what passes through; "meta" has none."""
    empty = {"full": FULL, "tiny": TINY}[name]
    layout = LAYOUTS["512"]
    modules = build(empty, layout)
    for module in modules.values():
        _fill(module, device, dtype)
    frames = empty["projector"]["tokens"] // IMAGE_TOKENS
    size = layout.size if name == "full" else (64, 96)
    return Subject(
        name,
        modules["autoencoder"],
        ClipTextEncoder(modules["text_encoder"], None),
        ClipImageEncoder(modules["image_encoder"]),
        Stage(modules["denoiser"], layout.schedule, modules["projector"]),
        layout.sampling,
        frames,
        size,
        layout.fps,
    )


def loaded_subject(name: str, device: torch.device, dtype: torch.dtype) -> Subject:
    """Return the second stage of a checkpoint, which makes the video.

    Raises:
        Refused: see `checkpoint.load`.
    """
    found = checkpoints.load(name, device, dtype, stages=("video",))
    config = found.config
    return Subject(
        config.name,
        found.autoencoder,
        found.text_encoder,
        found.image_encoder,
        found.stages["video"],
        config.stages["video"].sampling,
        config.frames,
        config.size,
        round(config.fps),
    )


def without_weights(subject: Subject) -> Subject:
    """Return the same networks on the meta device, where work is counted and none is done."""
    twins = {}
    for part, module in subject.modules().items():
        config = module.config if isinstance(module.config, dict) else module.config.to_dict()
        twins[part] = build_empty(type(module), config).to("meta").eval().requires_grad_(False)
    stage = subject.stage
    scale = None if stage.scale is None else stage.scale.to("meta")
    return replace(
        subject,
        autoencoder=twins["autoencoder"],
        text_encoder=ClipTextEncoder(twins["text_encoder"], None) if subject.text_encoder else None,
        image_encoder=ClipImageEncoder(twins["image_encoder"]) if subject.image_encoder else None,
        stage=Stage(twins["denoiser"], stage.schedule, twins.get("projector"), scale),
    )


def _fill(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Draw a network's weights where they shall be: on a CPU 2.6 billion would take minutes and be copied."""
    generator = None if device.type == "meta" else torch.Generator(device).manual_seed(0)
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            value = torch.empty(parameter.shape, device=device, dtype=dtype)
            if parameter.ndim < 2:
                value.fill_(float(name == "weight"))  # norms, and biases
            else:
                value.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            setattr(owner, name, nn.Parameter(value, requires_grad=False))
    module.to(device).eval()  # buffers
