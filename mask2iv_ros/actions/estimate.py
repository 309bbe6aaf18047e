"""A window slides over a video; every action is estimated by all windows that hold it, the surer the more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mask2iv_ros.actions.frames import plain
from mask2iv_ros.actions.network import ActionNetwork, Encoded
from mask2iv_ros.actions.settings import NetworkSettings

_BATCH = 32


@dataclass(frozen=True)
class Answers:
    """What a network says of a video, normalised.

    Attributes:
        action: a row a frame.
        action_deviation: of it.
        state: a row a frame.
        state_deviation: of it.
    """

    action: Float[np.ndarray, "t m"]
    action_deviation: Float[np.ndarray, "t m"]
    state: Float[np.ndarray, "t n"]
    state_deviation: Float[np.ndarray, "t n"]


@torch.inference_mode()
def estimate(
    network: ActionNetwork,
    settings: NetworkSettings,
    frames: UInt8[Tensor, "t 3 h w"],
    labels: UInt8[Tensor, "t h w"],
) -> Answers:
    """Return a network's answers to a video of more than `chunk` frames.

    The action of the last frame is told by no later frame; its deviation says so.
    """
    device = network.place.device
    with torch.autocast(device.type, torch.bfloat16):
        pieces = [
            network.encode(plain(some.to(device), where.to(device), settings))
            for some, where in zip(frames.split(_BATCH), labels.split(_BATCH), strict=True)
        ]
        encoded = Encoded(*(torch.cat(one) for one in zip(*pieces, strict=True)))
        begins = torch.arange(len(frames) - settings.chunk, device=device)
        found = [network.answer(encoded, some[:, None] + network.shown) for some in begins.split(_BATCH)]
    mean, spread = (torch.cat(one).double().cpu().numpy() for one in zip(*found, strict=True))
    state, state_spread = (one.double().cpu().numpy() for one in (encoded.state, encoded.state_spread))
    return Answers(*_combine(mean, spread), state, np.exp(state_spread))


def _combine(
    mean: Float[np.ndarray, "w k m"], spread: Float[np.ndarray, "w k m"]
) -> tuple[Float[np.ndarray, "t m"], Float[np.ndarray, "t m"]]:
    """Return for every frame the mean by precision of all answers on it, and its deviation.

    Windows err alike, so many answers are not surer than one: the precision is their mean.
    """
    windows, length = mean.shape[:2]
    frame = np.arange(windows)[:, None] + np.arange(length)
    precision = np.exp(-2 * spread)
    total, weighed, count = (np.zeros((windows + length - 1, mean.shape[-1])) for _ in range(3))
    np.add.at(total, frame, precision)
    np.add.at(weighed, frame, precision * mean)
    np.add.at(count, frame, 1.0)
    return weighed / total, np.sqrt(count / total)
