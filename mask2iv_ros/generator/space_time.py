"""The small default's denoiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition


class SpaceTimeUNet(ModelMixin, ConfigMixin):
    """A plain UNet with space and time factorised, small enough to train on a CPU.

    Args:
        in_channels: of the sample and the condition beside it.
        out_channels: of the sample and of the output.
        frames: length of the videos, at most; positions in time are learned.
        widths: features per level, each level halving h and w.
        depth: blocks per level and side.
        head_width: features per attention head.
        text_width: features per token of the text encoder; None: no text is taken.
        gates: ways in which the output takes over what is beside the first frame, each a matrix for all positions
            and a gate for every one. To clear away the arm where it was is to subtract the first frame, which
            hundreds of features learn slowly and a gate at once. They begin closed: new gates change nothing.
        follow: gates take over what is beside each frame itself, such as what was pasted into it.
    """

    multiple = 1  # of the latent's height and width: any is taken

    @register_to_config
    def __init__(
        self,
        in_channels: int = 96,
        out_channels: int = 32,
        frames: int = 16,
        widths: tuple[int, ...] = (128, 256),
        depth: int = 2,
        head_width: int = 32,
        text_width: int | None = None,
        gates: int = 0,
        follow: bool = False,
    ):
        super().__init__()
        if any(width % head_width or width % 8 for width in widths):
            raise Refused(f"widths are {widths}; expected multiples of 8 and of head_width, {head_width}")
        embedding = 2 * widths[0]
        self.noise = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.entry = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        last = len(widths) - 1
        for level, width in enumerate(widths):
            wide = level == last
            common = (width, embedding, frames, head_width, wide, text_width if wide else None)
            self.down.append(nn.ModuleList(_Block(width, *common) for _ in range(depth)))
            self.up.append(
                nn.ModuleList(_Block(2 * width if i == 0 and not wide else width, *common) for i in range(depth))
            )
            if level < last:
                self.shrink.append(nn.Conv2d(width, widths[level + 1], 3, stride=2, padding=1))
                self.grow.append(nn.Conv2d(widths[level + 1], width, 3, padding=1))
        last_layer = zeroed(nn.Conv2d(widths[0], out_channels, 3, padding=1))
        self.leave = nn.Sequential(nn.GroupNorm(8, widths[0]), nn.SiLU(), last_layer)
        self.gate = None
        if gates:
            self.gate = zeroed(nn.Conv2d(widths[0], gates, 3, padding=1))
            self.taken = nn.Conv2d(in_channels - out_channels, gates * out_channels, 1, bias=False)
            nn.init.normal_(self.taken.weight, std=0.1)
            for way in range(min(gates, (in_channels - out_channels) // out_channels)):
                # One for the first frame and one for the masks in it begin as what most are needed for.
                place = slice(way * out_channels, (way + 1) * out_channels)
                nn.init.zeros_(self.taken.weight[place])
                nn.init.eye_(self.taken.weight.data[place, place, 0, 0]).neg_()

    def forward(
        self,
        sample: Float[Tensor, "b c t h w"],
        timestep: Int[Tensor, "b"],
        condition: Condition,
    ) -> Float[Tensor, "b c t h w"]:
        """See `Denoiser`."""
        frames, text = sample.shape[2], condition.text
        embedding = self.embed(timestep, sample)
        levels = self.descend(self.enter(sample, condition.beside), embedding, frames, text)
        return self.ascend(levels, embedding, frames, text, condition.beside)

    def embed(self, timestep: Int[Tensor, "b"], sample: Float[Tensor, "b c t h w"]) -> Float[Tensor, "bt e"]:
        """Return the timestep's embedding, once a frame."""
        embedding = get_timestep_embedding(timestep, self.config.widths[0])
        return self.noise(embedding.to(sample.dtype)).repeat_interleave(sample.shape[2], 0)

    def enter(
        self, sample: Float[Tensor, "b c t h w"], beside: Float[Tensor, "b k t h w"]
    ) -> Float[Tensor, "bt c2 h w"]:
        """Return the features of the sample and what is beside it."""
        x = rearrange(torch.cat([sample, beside], 1), "b c t h w -> (b t) c h w")
        return self.entry(x.contiguous(memory_format=torch.channels_last))

    def descend(
        self,
        x: Float[Tensor, "bt c h w"],
        embedding: Float[Tensor, "bt e"],
        frames: int,
        text: Float[Tensor, "b s d"] | None,
    ) -> list[Float[Tensor, "bt _ _ _"]]:
        """Return what leaves every level of the encoder half: the skip connections, and last the middle."""
        levels = []
        for level, blocks in enumerate(self.down):
            for block in blocks:
                x = block(x, embedding, frames, text)
            levels.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        return levels

    def ascend(
        self,
        levels: Sequence[Float[Tensor, "bt _ _ _"]],
        embedding: Float[Tensor, "bt e"],
        frames: int,
        text: Float[Tensor, "b s d"] | None,
        beside: Float[Tensor, "b k t h w"],
    ) -> Float[Tensor, "b c t h w"]:
        """Return the output, from what leaves the encoder half and what was beside the sample."""
        *skips, x = levels
        for level in reversed(range(len(self.up))):
            if level < len(self.grow):
                skip = skips.pop()
                x = self.grow[level](F.interpolate(x, skip.shape[-2:]))
                x = torch.cat([x, skip], 1)
            for block in self.up[level]:
                x = block(x, embedding, frames, text)
        x = self.leave[:-1](x)
        output = rearrange(self.leave[-1](x), "(b t) c h w -> b c t h w", t=frames)
        if self.gate is not None:
            opened = rearrange(self.gate(x), "(b t) n h w -> b n t h w", t=frames)
            shown = beside if self.config.follow else beside[:, :, :1]
            taken = self.taken(rearrange(shown, "b k t h w -> (b t) k h w"))
            taken = rearrange(taken, "(b t) (n c) h w -> b n c t h w", t=shown.shape[2], c=output.shape[1])
            output = output + (opened.unsqueeze(2) * taken).sum(1)
        return output

    def temporal_layers(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield names and parameters of temporal attention, which stage 1 can keep as it is (method, stage 1)."""
        for name, parameter in self.named_parameters():
            if ".time." in name or name.endswith(".position"):
                yield name, parameter


class _Block(nn.Module):
    """Convolutions over space, attention over time, and on the coarsest level over space and to the text too."""

    def __init__(
        self,
        width_in: int,
        width: int,
        embedding: int,
        frames: int,
        head_width: int,
        wide: bool,
        text_width: int | None,
    ):
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(8, width_in), nn.SiLU(), nn.Conv2d(width_in, width, 3, padding=1))
        self.modulate = nn.Linear(embedding, 2 * width)
        self.norm = nn.GroupNorm(8, width)
        self.after = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(width, width, 3, padding=1)))
        self.skip = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        self.time = _Attention(width, head_width)
        self.position = nn.Parameter(torch.randn(frames, width) * 0.02)
        self.space = _Attention(width, head_width) if wide else None
        self.text = _Attention(width, head_width, text_width) if text_width else None

    def forward(
        self,
        x: Float[Tensor, "bt c h w"],
        embedding: Float[Tensor, "bt e"],
        frames: int,
        text: Float[Tensor, "b s d"] | None,
    ) -> Float[Tensor, "bt c2 h w"]:
        scale, shift = self.modulate(embedding)[..., None, None].chunk(2, 1)
        x = self.skip(x) + self.after(self.norm(self.before(x)) * (1 + scale) + shift)
        height, width = x.shape[-2:]
        x = rearrange(x, "(b t) c h w -> (b h w) t c", t=frames)
        x = x + self.time(x, self.position[:frames])
        if self.space is not None:
            x = rearrange(x, "(b h w) t c -> (b t) (h w) c", h=height, w=width)
            x = x + self.space(x)
            x = rearrange(x, "(b t) (h w) c -> (b h w) t c", t=frames, h=height)
        if self.text is not None and text is not None:
            x = rearrange(x, "(b h w) t c -> b (h w t) c", h=height, w=width)
            x = x + self.text(x, others=text)
            x = rearrange(x, "b (h w t) c -> (b h w) t c", h=height, w=width)
        # Channels stay last in memory: the convolutions want them there.
        return rearrange(x, "(b h w) t c -> (b t) h w c", h=height, w=width).permute(0, 3, 1, 2)


class _Attention(nn.Module):
    """Attention among the tokens given, or to others of `width_of_others` features."""

    def __init__(self, width: int, head_width: int, width_of_others: int | None = None):
        super().__init__()
        self.heads = width // head_width
        self.norm = nn.LayerNorm(width)
        self.among = width_of_others is None
        if self.among:
            self.qkv = nn.Linear(width, 3 * width, bias=False)
        else:
            self.q = nn.Linear(width, width, bias=False)
            self.kv = nn.Linear(width_of_others, 2 * width, bias=False)
        self.out = zeroed(nn.Linear(width, width))

    def forward(
        self,
        x: Float[Tensor, "n s c"],
        position: Float[Tensor, "s c"] | None = None,
        others: Float[Tensor, "n r d"] | None = None,
    ) -> Float[Tensor, "n s c"]:
        x = self.norm(x)
        if position is not None:
            x = x + position
        if self.among:
            q, k, v = rearrange(self.qkv(x), "n s (three d e) -> three n d s e", three=3, d=self.heads)
        else:
            q = rearrange(self.q(x), "n s (d e) -> n d s e", d=self.heads)
            k, v = rearrange(self.kv(others.to(x.dtype)), "n s (two d e) -> two n d s e", two=2, d=self.heads)
        if q.is_cuda:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            # torch's fused CPU kernel takes 290 ms backward for 768 sequences of 16; this takes a tenth.
            mixed = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.out(rearrange(mixed, "n d s e -> n s (d e)"))


def zeroed(layer: nn.Module) -> nn.Module:
    """Start a residual branch as nothing, so that a deep network begins as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
