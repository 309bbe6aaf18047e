"""ACT with eyes that learn from scratch, and that see the goal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lerobot.policies.act.modeling_act import ACT, ACTPolicy
from lerobot.utils.constants import OBS_IMAGES
from torch import Tensor, nn

from mask2iv_ros.policy.configuration_small_act import SmallActConfig

_GROUP = 8  # channels that are normalised together


class SmallActPolicy(ACTPolicy):
    """`ACTPolicy` around `SmallAct`."""

    config_class = SmallActConfig
    name = "small_act"

    def __init__(self, config: SmallActConfig, **kwargs: Any):
        super().__init__(config, **kwargs)
        self.model = SmallAct(config)


class SmallAct(ACT):
    """`ACT` with one image, the picture with the goal mask as its fourth channel, and a slim backbone.

    LeRobot's ACT freezes its batch norm, which suits weights from ImageNet; these begin from nothing.
    """

    def __init__(self, config: SmallActConfig):
        super().__init__(config)
        self.backbone = Backbone(4, config.channels)
        self.encoder_img_feat_input_proj = nn.Conv2d(config.channels[-1], config.dim_model, kernel_size=1)

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
        """Return the actions (b, t, c) for a batch as `ACTPolicy` prepares it, images in 0 to 1."""
        picture, goal = batch[self.config.picture_key], batch[self.config.goal_key]
        # Transforms of a dataset's images change the mask as well; what it means is white or black.
        seen = torch.cat([2 * picture - 1, (goal[:, :1] > 0.5).to(picture.dtype)], dim=1)
        if self.config.blind:
            seen = torch.zeros_like(seen)
        elif self.training and self.config.shift:
            seen = shifted(seen, self.config.shift)
        return super().forward({**batch, OBS_IMAGES: [seen]})


class Backbone(nn.Module):
    """A residual network with group norm: a quarter of the picture's sides after the stem, then halved by stage.

    Args:
        inputs: channels.
        channels: of the stem and the stages.
    """

    def __init__(self, inputs: int, channels: tuple[int, ...]):
        super().__init__()
        stem = [nn.Conv2d(inputs, channels[0], 5, stride=2, padding=2), _norm(channels[0]), nn.ReLU()]
        stages = [_Stage(a, b) for a, b in pairwise(channels)]
        self.layers = nn.Sequential(*stem, *stages)

    def forward(self, images: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b c2 h2 w2"]]:
        """Return the features under the name that ACT looks for."""
        return {"feature_map": self.layers(images)}


class _Stage(nn.Module):
    """Two convolutions and a way around them, to half the height and width."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.around = nn.Conv2d(inputs, outputs, 1, stride=2)
        self.norms = nn.ModuleList([_norm(outputs) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.norms[2](self.around(x)))


def shifted(images: Float[Tensor, "b c h w"], pixels: int) -> Float[Tensor, "b c h w"]:
    """Move every image by up to `pixels` to any side, repeating what is on the edge."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (pixels,) * 4, mode="replicate")
    corners = torch.randint(0, 2 * pixels + 1, (len(images), 2)).tolist()
    return torch.stack([one[:, y : y + height, x : x + width] for one, (y, x) in zip(padded, corners, strict=True)])


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP, channels)
