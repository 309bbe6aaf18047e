"""The inverse dynamics model: frames with their masks to the actions between them, and to the state in each.

A frame becomes tokens and, beside them, a pose: of keypoints, the expected places of learned features, and of a coarse
view of the whole. The camera is fixed, so where the arm is seen is where it is, and a difference of poses is a motion:
both are learned from few demonstrations. A small transformer sees the tokens of all frames shown and a query for every
action; each is answered by a Gaussian.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mask2iv_ros.actions.settings import STRIDE, NetworkSettings

CHANNELS = 3 + 2 + 2  # the picture, the two masks, the place in the picture
_COARSE, _COARSE_CHANNELS = 8, 5  # pixels a cell of the coarse view, and what it shows: the picture and the masks
_LEAST, _MOST = -4.0, 2.0  # logarithm of a deviation, in deviations of the demonstrations


class Encoded(NamedTuple):
    """What is seen in frames.

    Attributes:
        tokens: of places.
        pose: of the arm.
        state: normalised.
        state_spread: logarithm of its deviation.
    """

    tokens: Float[Tensor, "n p c"]
    pose: Float[Tensor, "n c"]
    state: Float[Tensor, "n s"]
    state_spread: Float[Tensor, "n s"]


class Answer(NamedTuple):
    """What is told of videos, normalised.

    Attributes:
        action: at all frames of every window.
        action_spread: logarithm of its deviation.
        state: in every frame.
        state_spread: logarithm of its deviation.
    """

    action: Float[Tensor, "b w k m"]
    action_spread: Float[Tensor, "b w k m"]
    state: Float[Tensor, "b t n"]
    state_spread: Float[Tensor, "b t n"]


class ActionNetwork(nn.Module):
    """Frames to Gaussians of the state in each, and of the actions at all frames of every window.

    Args:
        settings: see `NetworkSettings`.
        actions: columns of an action.
        states: columns of a state; 0 where there is none.
    """

    def __init__(self, settings: NetworkSettings, actions: int, states: int):
        super().__init__()
        self.chunk = settings.chunk
        fine, middle, width = settings.widths
        self.entry = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(16 * CHANNELS, fine, 1), nn.SiLU())
        self.shrink = nn.Sequential(nn.Conv2d(fine, middle, 3, stride=2, padding=1), _Residual(middle))
        self.tokens = nn.Sequential(
            nn.Conv2d(middle, width, 3, stride=2, padding=1),
            _Residual(width),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
        )
        self.places = nn.Conv2d(middle, settings.keypoints, 1)
        height, across = (side // STRIDE for side in settings.size)
        cells = _COARSE_CHANNELS * height * across * (STRIDE // _COARSE) ** 2
        # Cells that never change have no variance to divide by.
        self.coarse = nn.Sequential(
            nn.BatchNorm1d(cells, eps=1e-2, affine=False),
            nn.Linear(cells, 2 * width),
            nn.GELU(),
            nn.Dropout(settings.dropout),
        )
        told = 2 * settings.keypoints + 2 * width
        self.pose = nn.Sequential(nn.Linear(told, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.place = nn.Parameter(0.02 * torch.randn(height * across, width))
        self.when = nn.Parameter(0.02 * torch.randn(settings.seen, 1, width))
        self.query = nn.Parameter(0.02 * torch.randn(settings.chunk + 1, width))
        layer = nn.TransformerEncoderLayer(
            width, settings.heads, 2 * width, settings.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.state = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 2 * states))
        told = width + settings.seen * (width + states)
        self.action = nn.Sequential(
            nn.LayerNorm(told), nn.Linear(told, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * actions)
        )
        self.register_buffer("shown", torch.tensor(settings.shown), persistent=False)

    def forward(self, frames: Float[Tensor, "b t c h w"]) -> Answer:
        """Return what is told of videos, frames and windows alike.

        Args:
            frames: the `CHANNELS` of all frames of each, more than a chunk.
        """
        count, length = frames.shape[:2]
        encoded = self.encode(rearrange(frames, "b t c h w -> (b t) c h w"))
        begins = torch.arange(length - self.chunk, device=frames.device)
        places = (begins[:, None] + self.shown).expand(count, -1, -1)
        places = places + length * torch.arange(count, device=frames.device)[:, None, None]
        mean, spread = self.answer(encoded, places.flatten(0, 1))
        return Answer(
            rearrange(mean, "(b w) k m -> b w k m", b=count),
            rearrange(spread, "(b w) k m -> b w k m", b=count),
            rearrange(encoded.state, "(b t) n -> b t n", b=count),
            rearrange(encoded.state_spread, "(b t) n -> b t n", b=count),
        )

    def encode(self, frames: Float[Tensor, "n c h w"]) -> Encoded:
        """Return what is seen in each frame alone."""
        coarse = self.coarse(F.avg_pool2d(frames[:, :_COARSE_CHANNELS], _COARSE).flatten(1))
        x = self.shrink(self.entry(frames.contiguous(memory_format=torch.channels_last)))
        pose = self.pose(torch.cat([coarse, _expected_places(self.places(x))], 1))
        tokens = rearrange(self.tokens(x), "n c h w -> n (h w) c") + self.place
        state, spread = self.state(torch.cat([pose, tokens.mean(1)], -1)).float().chunk(2, -1)
        return Encoded(tokens, pose, state, spread.clamp(_LEAST, _MOST))

    def answer(
        self, encoded: Encoded, windows: Int[Tensor, "w s"]
    ) -> tuple[Float[Tensor, "w k m"], Float[Tensor, "w k m"]]:
        """Return the actions of windows and the logarithms of their deviations.

        Args:
            encoded: of all frames.
            windows: which of them each window is shown.
        """
        pose = encoded.pose[windows]
        seen = torch.cat([encoded.tokens[windows], pose[:, :, None]], 2) + self.when
        queries = repeat(self.query, "k c -> w k c", w=len(windows))
        mixed = self.transformer(torch.cat([queries, seen.flatten(1, 2)], 1))[:, : queries.shape[1]]
        known = torch.cat([pose.flatten(1), encoded.state[windows].flatten(1)], 1)
        told = torch.cat([mixed, repeat(known, "w c -> w k c", k=queries.shape[1])], -1)
        mean, spread = self.action(told).float().chunk(2, -1)
        return mean, spread.clamp(_LEAST, _MOST)


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)


def _expected_places(maps: Float[Tensor, "n p h w"]) -> Float[Tensor, "n q"]:
    """Return where in [-1, 1] each map is highest, in expectation: finer than its cells."""
    height, width = maps.shape[-2:]
    share = maps.float().flatten(2).softmax(-1).view(maps.shape)
    down, right = (torch.linspace(-1, 1, side, device=maps.device) for side in (height, width))
    return torch.cat([(share.sum(3) * down).sum(-1), (share.sum(2) * right).sum(-1)], 1)
