"""Where every tensor of a DynamiCrafter checkpoint goes.

Read backwards: each function walks over the names that a model of ours has and says which name in the
checkpoint fills it. So nothing of a model can be forgotten, whatever its widths and depth, and what a
checkpoint has beyond that is either listed in `why_unused` or foreign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

PREFIXES = {
    "denoiser": "model.diffusion_model.",
    "projector": "image_proj_model.",
    "autoencoder": "first_stage_model.",
    "text_encoder": "cond_stage_model.model.",
    "image_encoder": "embedder.model.",
}

SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "scale_arr",
)


@dataclass(frozen=True)
class Place:
    """One tensor of ours, and how the checkpoint's tensor becomes it.

    Attributes:
        part: which of `PREFIXES`.
        key: its name in that part's state dict.
        slice: (i, n): the i-th of n equal slices of the first axis; fused query, key and value are one tensor there.
        flat: the weight of a convolution with kernel 1 there is that of a linear layer here.
    """

    part: str
    key: str
    slice: tuple[int, int] = (0, 1)
    flat: bool = False

    def take(self, source: Tensor) -> Tensor:
        """Return a view of the checkpoint's tensor as this one."""
        index, count = self.slice
        tensor = source.chunk(count)[index] if count > 1 else source
        return tensor.flatten(1) if self.flat else tensor


def places(models: Mapping[str, nn.Module]) -> dict[str, tuple[Place, ...]]:
    """Return for every name that the checkpoint must have the places that it fills.

    Args:
        models: per part (see `PREFIXES`) a model of the right configuration; on the meta device is enough.
    """
    found: dict[str, list[Place]] = {}
    for part, model in models.items():
        for source, place in _RULES[part](model):
            found.setdefault(PREFIXES[part] + source, []).append(place)
    return {source: tuple(targets) for source, targets in found.items()}


def unet_keys(model: nn.Module) -> dict[str, Place]:
    """Return for every name in the checkpoint's UNet, without its prefix, the place in a `DynamiCrafterUNet`."""
    return dict(_unet(model))


def canonical(source: str) -> str:
    """Return a checkpoint's name as the 512 layout has it; the released 256 file names the fps embedding otherwise."""
    return source.replace("framestride_embed", "fps_embedding")


def why_unused(source: str, text_layers: int) -> str | None:
    """Return why a tensor of the checkpoint is read by nothing, or None if it is not known to be superfluous.

    Args:
        source: its name, prefix included.
        text_layers: that the text encoder runs, of which the checkpoint has one more.
    """
    if source in SCHEDULE_BUFFERS:
        return "the schedule is computed from its settings"
    text, image = PREFIXES["text_encoder"], PREFIXES["image_encoder"]
    if source.startswith(f"{text}transformer.resblocks.{text_layers}."):
        return "the text is read before the last layer"
    if source in {text + name for name in ("text_projection", "logit_scale")}:
        return "the text's hidden states are read, not their projection"
    if source in {image + name for name in ("visual.proj", "logit_scale")}:
        return "the image's hidden states are read, not their projection"
    text_tower = (
        "token_embedding.weight",
        "positional_embedding",
        "text_projection",
        "ln_final.weight",
        "ln_final.bias",
    )
    if source in {image + name for name in text_tower}:
        return "the image encoder carries the remains of a text encoder"
    return None


type _Pairs = Iterable[tuple[str, Place]]


def _rename(key: str, names: Mapping[str, str]) -> str:
    """Replace the first pattern that occurs in the key; a key that none occurs in stays."""
    for pattern, replacement in names.items():
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key


def _unet(model: nn.Module) -> _Pairs:
    modules = _unet_modules(
        len(model.config.block_out_channels),
        model.config.layers_per_block,
        [type(block).__name__.startswith("CrossAttn") for block in model.down_blocks],
    )
    for key in model.state_dict():
        prefix = next(prefix for prefix in modules if key.startswith(prefix))
        source = modules[prefix] + _rename(key.removeprefix(prefix), _UNET_LEAVES)
        # Only this transformer of the reference projects by convolutions.
        flat = bool(re.fullmatch(r"transformer_in\.proj_(in|out)\.weight", key))
        yield source, Place("denoiser", key, flat=flat)


def _unet_modules(levels: int, depth: int, attends: list[bool]) -> dict[str, str]:
    """Return our module prefixes and theirs: the reference numbers its blocks through, level after level."""
    modules = {
        "conv_in.": "input_blocks.0.0.",
        "transformer_in.": "init_attn.0.",
        "time_embedding.": "time_embed.",
        "fps_embedding.": "fps_embedding.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
        "mid_block.attentions.0.": "middle_block.1.",
        "mid_block.temp_attentions.0.": "middle_block.2.",
    }

    def add(ours: str, layer: int, theirs: str, attention: bool) -> None:
        modules[f"{ours}.resnets.{layer}."] = f"{theirs}.0."
        modules[f"{ours}.temp_convs.{layer}."] = f"{theirs}.0.temopral_conv."
        if attention:
            modules[f"{ours}.attentions.{layer}."] = f"{theirs}.1."
            modules[f"{ours}.temp_attentions.{layer}."] = f"{theirs}.2."

    for layer, theirs in enumerate((0, 3)):
        modules[f"mid_block.resnets.{layer}."] = f"middle_block.{theirs}."
        modules[f"mid_block.temp_convs.{layer}."] = f"middle_block.{theirs}.temopral_conv."
    for level in range(levels):
        first = 1 + level * (depth + 1)  # block 0 is the input convolution; every level ends with its downsampling
        for layer in range(depth):
            add(f"down_blocks.{level}", layer, f"input_blocks.{first + layer}", attends[level])
        modules[f"down_blocks.{level}.downsamplers.0.conv."] = f"input_blocks.{first + depth}.0.op."
    for level in range(levels):
        first, attention = level * (depth + 1), attends[levels - 1 - level]
        for layer in range(depth + 1):
            add(f"up_blocks.{level}", layer, f"output_blocks.{first + layer}", attention)
        last = 3 if attention else 1
        modules[f"up_blocks.{level}.upsamplers.0.conv."] = f"output_blocks.{first + depth}.{last}.conv."
    return modules


_UNET_LEAVES = {
    r"^norm1\.": "in_layers.0.",
    r"^conv1\.(?=[wb])": "in_layers.2.",  # temporal convolutions have a conv1.0
    r"^time_emb_proj\.": "emb_layers.1.",
    r"^norm2\.": "out_layers.0.",
    r"^conv2\.(?=[wb])": "out_layers.3.",
    r"^conv_shortcut\.": "skip_connection.",
    r"^linear_1\.": "0.",
    r"^linear_2\.": "2.",
    r"attn2\.processor\.": "attn2.",
}


def _projector(model: nn.Module) -> _Pairs:
    for key in model.state_dict():
        source = _rename(key.removeprefix("projection."), _PROJECTOR_LEAVES)
        fused = re.search(r"\.attn\.to_([kv])\.", key)
        yield source, Place("projector", key, slice=("kv".index(fused[1]), 2) if fused else (0, 1))


_PROJECTOR_LEAVES = {
    r"(?<=\d)\.ln0\.": ".0.norm1.",
    r"(?<=\d)\.ln1\.": ".0.norm2.",
    r"(?<=\d)\.attn\.to_q\.": ".0.to_q.",
    r"(?<=\d)\.attn\.to_[kv]\.": ".0.to_kv.",
    r"(?<=\d)\.attn\.to_out\.0\.": ".0.to_out.",
    r"(?<=\d)\.ff\.0\.": ".1.0.",
    r"(?<=\d)\.ff\.1\.net\.0\.proj\.": ".1.1.",
    r"(?<=\d)\.ff\.1\.net\.2\.": ".1.3.",
}


def _autoencoder(model: nn.Module) -> _Pairs:
    last = len(model.config.block_out_channels) - 1
    for key in model.state_dict():
        source = re.sub(r"up_blocks\.(\d+)", lambda level: f"up.{last - int(level[1])}", key)
        source = re.sub(r"mid_block\.resnets\.(\d+)", lambda block: f"mid.block_{int(block[1]) + 1}", source)
        for pattern, replacement in _AUTOENCODER_LEAVES.items():
            source = re.sub(pattern, replacement, source)
        yield source, Place("autoencoder", key, flat=bool(re.search(r"attentions\.0\.to_.*weight$", key)))


_AUTOENCODER_LEAVES = {
    r"down_blocks\.": "down.",
    r"(?<=\d)\.resnets\.": ".block.",
    r"samplers\.0\.": "sample.",
    r"mid_block\.attentions\.0\.": "mid.attn_1.",
    r"group_norm\.": "norm.",
    r"to_([qkv])\.": r"\1.",
    r"to_out\.0\.": "proj_out.",
    r"conv_shortcut\.": "nin_shortcut.",
    r"conv_norm_out\.": "norm_out.",
}


def _clip(part: str, tower: str) -> Callable[[nn.Module], _Pairs]:
    def pairs(model: nn.Module) -> _Pairs:
        for key in model.state_dict():
            source = re.sub(r"^(text|vision)_model\.", "", key)
            for pattern, replacement in _CLIP_LEAVES.items():
                source = re.sub(pattern, replacement, source)
            fused = re.search(r"self_attn\.([qkv])_proj\.", key)
            yield tower + source, Place(part, key, slice=("qkv".index(fused[1]), 3) if fused else (0, 1))

    return pairs


_CLIP_LEAVES = {
    r"^embeddings\.position_embedding\.weight": "positional_embedding",
    r"^embeddings\.patch_embedding\.": "conv1.",
    r"^embeddings\.": "",
    r"^encoder\.layers\.": "transformer.resblocks.",
    r"self_attn\.[qkv]_proj\.": "attn.in_proj_",
    r"self_attn\.out_proj\.": "attn.out_proj.",
    r"layer_norm([12])\.": r"ln_\1.",
    r"mlp\.fc1\.": "mlp.c_fc.",
    r"mlp\.fc2\.": "mlp.c_proj.",
    r"^final_layer_norm\.": "ln_final.",
    r"^pre_layrnorm\.": "ln_pre.",
    r"^post_layernorm\.": "ln_post.",
}

_RULES: dict[str, Callable[[nn.Module], _Pairs]] = {
    "denoiser": _unet,
    "projector": _projector,
    "autoencoder": _autoencoder,
    "text_encoder": _clip("text_encoder", ""),
    "image_encoder": _clip("image_encoder", "visual."),
}
