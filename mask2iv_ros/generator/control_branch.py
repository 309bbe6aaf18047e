"""A denoiser that is told masks by a branch beside it, as a ControlNet does, and not by channels beside its input.

ControlNet (Zhang et al. 2023, arXiv 2302.05543), which the method compares its own way with and beats (ablation).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.space_time import SpaceTimeUNet, zeroed


class ControlledUNet(ModelMixin, ConfigMixin):
    """A `SpaceTimeUNet` that sees no masks, and a copy of its encoder half that does.

    As in the paper, the copy takes what the network takes plus a projection of the mask latents, and what leaves its
    levels is projected and added to the network's skip connections and middle. All projections begin as zeros, so
    a new branch changes nothing. Where the paper locks a trained network and trains the copy alone, a network that
    begins with random weights is trained with it.

    A seed gives the network the weights that a `SpaceTimeUNet` of the same arguments gets: both take the mask
    latents' channels, which are zeros here. That makes it comparable.

    Args:
        in_channels: of the sample and the condition beside it, whose last `out_channels` are the mask latents.
        out_channels: of the sample and of the output.
        frames: see `SpaceTimeUNet`, as are the others.
        widths: features per level.
        depth: blocks per level and side.
        head_width: features per attention head.
        text_width: features per token of the text encoder; None: no text is taken.
    """

    multiple = SpaceTimeUNet.multiple

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
    ):
        super().__init__()
        self.network = SpaceTimeUNet(in_channels, out_channels, frames, widths, depth, head_width, text_width)
        self.branch = deepcopy(self.network)
        for decoder in ("up", "grow", "leave"):
            delattr(self.branch, decoder)
        self.hint = zeroed(nn.Conv2d(out_channels, widths[0], 3, padding=1))
        self.leave = nn.ModuleList(zeroed(nn.Conv2d(width, width, 1)) for width in widths)

    def forward(
        self,
        sample: Float[Tensor, "b c t h w"],
        timestep: Int[Tensor, "b"],
        condition: Condition,
    ) -> Float[Tensor, "b c t h w"]:
        """See `Denoiser`."""
        frames, text = sample.shape[2], condition.text
        channels = self.config.out_channels
        masks = condition.beside[:, -channels:]
        beside = torch.cat([condition.beside[:, :-channels], torch.zeros_like(masks)], 1)
        hint = self.hint(rearrange(masks, "b c t h w -> (b t) c h w"))
        seen = self.branch.descend(
            self.branch.enter(sample, beside) + hint, self.branch.embed(timestep, sample), frames, text
        )
        embedding = self.network.embed(timestep, sample)
        levels = self.network.descend(self.network.enter(sample, beside), embedding, frames, text)
        levels = [level + leave(one) for level, leave, one in zip(levels, self.leave, seen, strict=True)]
        return self.network.ascend(levels, embedding, frames, text, beside)

    def temporal_layers(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield names and parameters of temporal attention, the branch's too."""
        for part in ("network", "branch"):
            for name, parameter in getattr(self, part).temporal_layers():
                yield f"{part}.{name}", parameter
