"""A small network that finds arm and object of a scene again in another picture of it.

It is asked for every frame of an imagined video: what it finds there can be held against the trajectory
that the video was to follow. It never sees that trajectory, or it would find what it was told.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import to_unit
from mask2iv_ros.masks import Role

ROLES = (Role.BACKGROUND, Role.INTERACTOR, Role.OBJECT)


class Segmenter(ModelMixin, ConfigMixin):
    """Frame t beside the first frame and its labels to a role per pixel.

    A U-Net over both pictures, so that what did not move is found at once; at its coarsest level every
    place of frame t looks at all places of the first frame, so that it is known WHICH object and arm
    are meant wherever they went.

    Args:
        widths: features per level, the first at half of the picture's resolution, each level halving it.
        head_width: features per attention head.
    """

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (24, 40, 72), head_width: int = 24):
        super().__init__()
        if any(width % 8 for width in widths) or widths[-1] % head_width:
            raise Refused(f"widths are {widths}; expected multiples of 8, the last one of head_width, {head_width}")
        seen = 3 + 3 + len(ROLES) - 1
        self.entry = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * seen, widths[0], 3, padding=1))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_Residual(width) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairs)
        self.look = _Look(widths[-1], head_width)
        self.bottom = _Residual(widths[-1])
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.join = nn.ModuleList(nn.Conv2d(2 * fine, fine, 3, padding=1) for fine, _ in pairs)
        self.up = nn.ModuleList(_Residual(fine) for fine, _ in pairs)
        last = nn.Conv2d(widths[0], 4 * len(ROLES), 3, padding=1)
        self.leave = nn.Sequential(nn.GroupNorm(8, widths[0]), nn.SiLU(), last, nn.PixelShuffle(2))

    @property
    def multiple(self) -> int:
        """What a picture's height and width must be multiples of."""
        return 2 ** len(self.config.widths)

    def forward(
        self,
        frame: Float[Tensor, "b 3 h w"],
        first: Float[Tensor, "n 3 h w"],
        roles: Float[Tensor, "n 2 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Return a logit per role and pixel.

        Args:
            frame: RGB in [-1, 1].
            first: the first frame of each; n is b, or 1 if all have the same.
            roles: 1 where interactor, object are in it.
        """
        memory = self._encode(torch.cat([first, first, roles], 1))[-1]
        count = len(frame) // len(first)
        first, roles, memory = (one.repeat_interleave(count, 0) for one in (first, roles, memory))
        *skips, x = self._encode(torch.cat([frame, first, roles], 1))
        x = self.bottom(self.look(x, memory))
        for level in reversed(range(len(skips))):
            x = F.interpolate(self.grow[level](x), scale_factor=2.0)
            x = self.up[level](self.join[level](torch.cat([x, skips[level]], 1)))
        return self.leave(x)

    def _encode(self, x: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c2 h2 w2"]]:
        """Return the features of every level, the finest first."""
        x = self.entry(x)
        features = [self.down[0](x)]
        for shrink, block in zip(self.shrink, self.down[1:], strict=True):
            features.append(block(shrink(features[-1])))
        return features


def find_roles(
    segmenter: Segmenter,
    first: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    video: UInt8[np.ndarray, "t h w 3"],
) -> UInt8[np.ndarray, "t h w"]:
    """Return where arm and object are in every frame of a video.

    Args:
        segmenter: on any device; height and width are multiples of its `multiple`.
        first: the frame that the video begins with.
        labels: its label map; unlabelled pixels are neither arm nor object.
        video: RGB.
    """
    weight = next(segmenter.parameters())
    with torch.inference_mode():
        frames, shown = (to_unit(one).to(weight) for one in (video, first[None]))
        roles = one_hot(labels[None]).to(weight)
        found = segmenter(frames, shown, roles).argmax(1)
    return found.byte().cpu().numpy()


def one_hot(labels: UInt8[np.ndarray, "n h w"]) -> Float[Tensor, "n 2 h w"]:
    """Return where interactor and object are as the segmenter is told it."""
    return torch.from_numpy(np.stack([labels == role for role in ROLES[1:]], axis=1)).float()


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.branch(x)


class _Look(nn.Module):
    """Attention from every place of one picture to all of another's."""

    def __init__(self, width: int, head_width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.ask = nn.Conv2d(width, width, 1)
        self.answer = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.heads = width // head_width

    def forward(self, x: Float[Tensor, "b c h w"], memory: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        asked, (key, value) = self.ask(self.norm(x)), self.answer(self.norm(memory)).chunk(2, 1)
        tokens = (rearrange(one, "b (n d) h w -> b n (h w) d", n=self.heads) for one in (asked, key, value))
        found = F.scaled_dot_product_attention(*tokens)
        return x + self.out(rearrange(found, "b n (h w) d -> b (n d) h w", h=x.shape[2]))
