"""DynamiCrafter's denoiser: diffusers' UNet3DConditionModel, and what it lacks.

1480 of the reference's 1516 tensors are diffusers' own. The rest is here: the first frame's tokens as keys
and values of their own in every spatial cross-attention, tokens of its own for every frame, and the frame rate
beside the time step (reference section 3). Attention back ends, compilation and offloading are wrappers
around this model (`generator.runtime`), never edits in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

import torch
from diffusers import UNet3DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition

type _Context = tuple[Float[Tensor, "bt s d"], Float[Tensor, "bt n d"] | None]


class DynamiCrafterUNet(UNet3DConditionModel):
    """The denoiser of DynamiCrafter 256, 512 and 1024, a `Denoiser`; the defaults are the 512 model's.

    Parameters have diffusers' names; `keys` maps a checkpoint's to them.

    Args:
        in_channels: noisy latent and what stands beside it: 8 in the base model, 12 with mask latents.
        out_channels: of the output, those of the noisy latent.
        block_out_channels: features per level, multiples of 32; every level but the last halves h and w.
        layers_per_block: residual blocks per level.
        attention_levels: how many levels, from the finest, have attention; the rest have temporal convolutions only.
        cross_attention_dim: features of the text's and the image's tokens.
        attention_head_dim: features per attention head.
        image_tokens: of every frame.
        learnable_image_scale: the image's part of cross-attention is scaled by tanh(alpha) + 1 (256 model only).
        default_fps: what a condition without a frame rate means: 24 at 512, 10 at 1024, 3 at 256.
        dropout: in residual blocks and temporal convolutions, while training.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 8,
        out_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention_levels: int = 3,
        cross_attention_dim: int = 1024,
        attention_head_dim: int = 64,
        image_tokens: int = 16,
        learnable_image_scale: bool = False,
        default_fps: int = 24,
        dropout: float = 0.1,
    ):
        bare = len(block_out_channels) - attention_levels
        # Undecorated, or the settings that stay as they are would be in the config too.
        UNet3DConditionModel.__init__.__wrapped__(
            self,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=("CrossAttnDownBlock3D",) * attention_levels + ("DownBlock3D",) * bare,
            up_block_types=("UpBlock3D",) * bare + ("CrossAttnUpBlock3D",) * attention_levels,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
        )
        self.gradient_checkpointing = False
        self.fps_embedding = TimestepEmbedding(block_out_channels[0], 4 * block_out_channels[0])
        # The reference's training starts with a frame rate that changes nothing.
        nn.init.zeros_(self.fps_embedding.linear_2.weight)
        nn.init.zeros_(self.fps_embedding.linear_2.bias)
        for name, module in self.named_modules():
            if isinstance(module, nn.Dropout) and (".resnets." in name or ".temp_convs." in name):
                module.p = dropout
            if name.endswith("attn2") and "temp_attentions" not in name and not name.startswith("transformer_in"):
                module.set_processor(ImageCrossAttention(module.inner_dim, cross_attention_dim, learnable_image_scale))

    @property
    def multiple(self) -> int:
        """What height and width of a latent must be multiples of."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    def forward(
        self, sample: Float[Tensor, "b c t h w"], timestep: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c t h w"]:
        """See `Denoiser`; computes in the precision of its weights, returns the sample's.

        Raises:
            Refused: the condition has no text, or the latent's size cannot be halved as often as there are levels.
        """
        frames, (height, width) = sample.shape[2], sample.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise Refused(f"a latent of {height} x {width} cannot be denoised; expected multiples of {self.multiple}")
        if condition.text is None:
            raise Refused("the condition has no text; expected a text encoder's hidden states, those of '' if none")
        embedding = self._embed(timestep, condition.fps, frames)
        context = self._context(condition, frames)
        x = torch.cat([sample, condition.beside.to(sample.dtype)], 1).to(self.dtype)
        x = self.conv_in(rearrange(x, "b c t h w -> (b t) c h w"))
        x = self._run(_in_time, self.transformer_in, x, frames)
        skips = [x]
        for block in self.down_blocks:
            for modules in _layers(block):
                x = self._run(_layer, modules, x, embedding, context, frames)
                skips.append(x)
            for downsample in block.downsamplers or ():
                x = downsample(x)
                skips.append(x)
        x = self._run(_layer, _middle(self.mid_block, 0), x, embedding, context, frames)
        x = self._run(_layer, _middle(self.mid_block, 1), x, embedding, context, frames)
        for block in self.up_blocks:
            for modules in _layers(block):
                x = self._run(_layer, modules, torch.cat([x, skips.pop()], 1), embedding, context, frames)
            for upsample in block.upsamplers or ():
                x = upsample(x)
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return rearrange(x, "(b t) c h w -> b c t h w", t=frames).to(sample.dtype)

    def _embed(self, timestep: Int[Tensor, "b"], fps: Int[Tensor, "b"] | None, frames: int) -> Float[Tensor, "bt e"]:
        if fps is None:
            fps = torch.full_like(timestep, self.config.default_fps)
        embedding = self.time_embedding(self.time_proj(timestep).to(self.dtype))
        embedding = embedding + self.fps_embedding(self.time_proj(fps).to(self.dtype))
        return embedding.repeat_interleave(frames, 0)

    def _context(self, condition: Condition, frames: int) -> _Context:
        """Give every frame the text, and of the image its own tokens if there are as many as all frames need."""
        text = condition.text.to(self.dtype).repeat_interleave(frames, 0)
        if condition.image is None:
            return text, None
        image = condition.image.to(self.dtype)
        if image.shape[1] == self.config.image_tokens * frames:
            return text, rearrange(image, "b (t n) d -> (b t) n d", t=frames)
        return text, image.repeat_interleave(frames, 0)

    def _run(self, function: Callable[..., Tensor], *arguments: object) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable[..., Tensor] = checkpoint
    ) -> None:
        # Not diffusers' function, which the compiler cannot follow; and here alone, or the transformers
        # inside would recompute a second time what is recomputed already.
        self.gradient_checkpointing = enable

    def widened(self, in_channels: int) -> Self:
        """Return a model with more input channels, the new ones starting at zero, which changes no output.

        All other weights are shared with this model, not copied.

        Raises:
            Refused: this model has more channels already.
        """
        more = in_channels - self.config.in_channels
        if more < 0:
            raise Refused(f"a model of {self.config.in_channels} input channels cannot have {in_channels}")
        with torch.device("meta"):
            wide = self.from_config(self.config, in_channels=in_channels)
        state = self.state_dict()
        state["conv_in.weight"] = F.pad(state["conv_in.weight"], (0, 0, 0, 0, 0, more))
        wide.load_state_dict(state, assign=True)
        return wide.train(self.training)

    def temporal_layers(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield names and parameters of temporal attention, which stage 1 keeps as it is (method, stage 1).

        Temporal convolutions are not among them: the paper freezes the temporal attention layers and
        fine-tunes everything else.
        """
        for name, parameter in self.named_parameters():
            if name.startswith("transformer_in.") or ".temp_attentions." in name:
                yield name, parameter


class ImageCrossAttention(nn.Module):
    """Attention to text and image side by side: one query, two softmaxes, the results added (reference 3.9)."""

    def __init__(self, width: int, context_width: int, learnable_scale: bool):
        super().__init__()
        self.to_k_ip = nn.Linear(context_width, width, bias=False)
        self.to_v_ip = nn.Linear(context_width, width, bias=False)
        self.alpha = nn.Parameter(torch.zeros(())) if learnable_scale else None

    def forward(
        self,
        attention: Attention,
        hidden_states: Float[Tensor, "bt p c"],
        encoder_hidden_states: _Context,
        attention_mask: None = None,
    ) -> Float[Tensor, "bt p c"]:
        """Called by diffusers' `Attention`, whose projections serve the query and the text."""
        text, image = encoder_hidden_states

        def split(x: Tensor) -> Tensor:
            return rearrange(x, "b s (n d) -> b n s d", n=attention.heads)

        query = split(attention.to_q(hidden_states))
        mixed = F.scaled_dot_product_attention(query, split(attention.to_k(text)), split(attention.to_v(text)))
        if image is not None:
            seen = F.scaled_dot_product_attention(query, split(self.to_k_ip(image)), split(self.to_v_ip(image)))
            mixed = mixed + (seen if self.alpha is None else seen * (self.alpha.tanh() + 1))
        return attention.to_out[0](rearrange(mixed, "b n s d -> b s (n d)"))


type _Modules = tuple[nn.Module, nn.Module, nn.Module | None, nn.Module | None]


def _layers(block: nn.Module) -> Iterator[_Modules]:
    """Yield a level's layers: residual block, temporal convolution and, where it attends, both attentions."""
    for i, (resnet, temp_conv) in enumerate(zip(block.resnets, block.temp_convs, strict=True)):
        attends = hasattr(block, "attentions")
        yield resnet, temp_conv, *((block.attentions[i], block.temp_attentions[i]) if attends else (None, None))


def _middle(block: nn.Module, half: int) -> _Modules:
    attentions = (block.attentions[0], block.temp_attentions[0]) if half == 0 else (None, None)
    return block.resnets[half], block.temp_convs[half], *attentions


def _layer(
    modules: _Modules, x: Float[Tensor, "bt c h w"], embedding: Float[Tensor, "bt e"], context: _Context, frames: int
) -> Float[Tensor, "bt c2 h w"]:
    resnet, temp_conv, attention, temp_attention = modules
    x = temp_conv(resnet(x, embedding), num_frames=frames)
    if attention is not None:
        x = attention(x, encoder_hidden_states=context, return_dict=False)[0]
        x = _in_time(temp_attention, x, frames)
    return x


def _in_time(transformer: nn.Module, x: Float[Tensor, "bt c h w"], frames: int) -> Float[Tensor, "bt c h w"]:
    return transformer(x, num_frames=frames, return_dict=False)[0]
