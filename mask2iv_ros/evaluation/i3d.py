"""The inflated Inception network (I3D) whose logits published Fréchet video distances are made of.

Architecture: Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?", table and figure 3,
with TensorFlow's "SAME" padding. Every unit is a convolution with its batch normalisation folded in
(`from_flax`), then a ReLU. Layers have the names of the reference code.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mask2iv_ros.errors import Refused

SIDE = 224  # pixels: what videos are resized to
LEAST_FRAMES = 9  # fewer leave one time step of eight frames, and the last pooling averages two
CLASSES = 400
BATCH_NORM_EPSILON = 1e-3
# Channels by block: of the 1 x 1 x 1 branch, of both 3 x 3 x 3 branches (reduced, out), of the pooled branch.
_MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


class I3D(nn.Module):
    """The RGB network, from frames to logits of Kinetics-400."""

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        for name, (inputs, outputs) in _MIXED.items():
            self.add_module(name, _Mixed(inputs, outputs))
        self.Logits = nn.Conv3d(1024, CLASSES, 1)

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 400"]:
        """Return the logits, averaged over time.

        Args:
            video: RGB in [-1, 1], at least 9 frames, published figures use 224 x 224 pixels.
        """
        x = self.Conv3d_1a_7x7(video)  # b 64 t/2 h/2 w/2
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))  # b 192 t/2 h/4 w/4
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        for name in _MIXED:
            if name == "Mixed_4b":
                x = _pool(x, (3, 3, 3), (2, 2, 2))  # b 480 t/4 h/16 w/16
            if name == "Mixed_5b":
                x = _pool(x, (2, 2, 2), (2, 2, 2))  # b 832 t/8 h/32 w/32
            x = self.get_submodule(name)(x)
        # The reference averages 7 x 7 pixels, which is all of a frame of 224 x 224.
        x = F.avg_pool3d(x.float(), (2, *x.shape[3:]), stride=1)
        return self.Logits(x).mean((2, 3, 4))


class _Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride[0] > 1:
            x = F.pad(x, _same(x, self.conv.kernel_size, self.conv.stride))
        return F.relu_(self.conv(x))


class _Mixed(nn.Module):
    def __init__(self, inputs: int, outputs: tuple[int, ...]):
        super().__init__()
        one, reduced_a, out_a, reduced_b, out_b, pooled = outputs
        self.Branch_0 = _Unit(inputs, one, 1)
        self.Branch_1 = nn.Sequential(_Unit(inputs, reduced_a, 1), _Unit(reduced_a, out_a, 3))
        self.Branch_2 = nn.Sequential(_Unit(inputs, reduced_b, 1), _Unit(reduced_b, out_b, 3))
        self.Branch_3 = nn.Sequential(nn.MaxPool3d(3, 1, padding=1), _Unit(inputs, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.Branch_0(x), self.Branch_1(x), self.Branch_2(x), self.Branch_3(x)], 1)


def _same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """Return TensorFlow's padding: as many outputs as ceil(size / stride), the odd one at the end."""
    pads: list[int] = []
    for size, window, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + window - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads


def _pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    # What is pooled has been through a ReLU: padding by 0 is padding by minus infinity.
    return F.max_pool3d(F.pad(x, _same(x, kernel, stride)), kernel, stride)


def from_flax(variables: dict[str, dict]) -> dict[str, Float32[np.ndarray, "..."]]:
    """Return the state of `I3D` for the nested arrays of the reference's Flax port.

    Args:
        variables: "params" and "batch_stats" by layer; kernels are (t, h, w, in, out).
    """
    state = {}

    def unit(name: str, params: dict, stats: dict) -> None:
        scale = 1 / np.sqrt(stats["BatchNorm_0"]["var"].ravel().astype(np.float64) + BATCH_NORM_EPSILON)
        shift = params["BatchNorm_0"]["bias"].ravel() - stats["BatchNorm_0"]["mean"].ravel() * scale
        kernel = params["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2) * scale[:, None, None, None, None]
        state[f"{name}.conv.weight"] = np.ascontiguousarray(kernel, np.float32)
        state[f"{name}.conv.bias"] = shift.astype(np.float32)

    params, stats = variables["params"], variables["batch_stats"]
    for layer in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        unit(layer, params[layer], stats[layer])
    for layer in _MIXED:
        unit(f"{layer}.Branch_0", params[layer]["Branch_0/Conv3d_0a_1x1"], stats[layer]["Branch_0/Conv3d_0a_1x1"])
        for branch, place, unit_name in (
            ("Branch_1", 0, "Conv3d_0a_1x1"),
            ("Branch_1", 1, "Conv3d_0b_3x3"),
            ("Branch_2", 0, "Conv3d_0a_1x1"),
            ("Branch_2", 1, "Conv3d_0b_3x3"),
            ("Branch_3", 1, "Conv3d_0b_1x1"),
        ):
            source = f"{branch}/{unit_name}"
            unit(f"{layer}.{branch}.{place}", params[layer][source], stats[layer][source])
    logits = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    state["Logits.weight"] = np.ascontiguousarray(logits["kernel"].transpose(4, 3, 0, 1, 2))
    state["Logits.bias"] = logits["bias"]
    return state


def prepare(videos: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 3 t 224 224"]:
    """Return videos as the network takes them: all frames, bilinear to 224 x 224 whatever the aspect, in [-1, 1].

    So did the distance's authors (Unterthiner et al. 2018, https://arxiv.org/abs/1812.01717).

    Raises:
        Refused: fewer than 9 frames.
    """
    count, frames = videos.shape[:2]
    if frames < LEAST_FRAMES:
        raise Refused(f"videos have {frames} frames; I3D needs at least {LEAST_FRAMES}")
    images = videos.flatten(0, 1).permute(0, 3, 1, 2).float()  # bt 3 h w
    images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return images.unflatten(0, (count, frames)).transpose(1, 2) / 127.5 - 1  # b 3 t h w
