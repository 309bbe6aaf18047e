"""Makes true frames look imagined, with their labels as they are: what the segmenter learns to see through.

An imagined frame differs from a filmed one in known ways: it went through the autoencoder, its latent is
not quite right, edges are soft, a trace of where things were shines through, and sometimes the object
is simply gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import Autoencoder, to_unit
from mask2iv_ros.masks import Role

_MARGIN = np.ones((5, 5), np.uint8)  # an object's shadow and soft edge go with it


@dataclass(frozen=True)
class Look:
    """How far true frames are changed.

    Attributes:
        colours: common to a frame and its first frame: spread of the gain of each channel, of a mix of
            channels and of the exponent; what is sought is then known from the first frame alone.
        flipped: share of pairs that are mirrored, left to right.
        erased: share of frames whose object is painted over by background, as in a rollout that lost it.
        ghosts: most of another frame of the clip that shines through.
        blur: largest standard deviation in pixels.
        noise: largest standard deviation of the noise on the latent, which has unit variance.
        share: of the frames to which each of ghost, blur and latent happens.
    """

    colours: float = 0.25
    flipped: float = 0.5
    erased: float = 0.1
    ghosts: float = 0.35
    blur: float = 1.3
    noise: float = 0.5
    share: float = 0.6

    def __post_init__(self) -> None:
        for name in ("flipped", "erased", "ghosts", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected 0 to 1")
        for name, most in (("colours", 0.9), ("blur", 10), ("noise", 3)):
            if not 0 <= getattr(self, name) <= most:
                raise Refused(f"{name} is {getattr(self, name)}; expected 0 to {most}")


def erase_object(
    frame: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    other: UInt8[np.ndarray, "h w 3"],
    other_labels: UInt8[np.ndarray, "h w"],
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Return the frame with its object replaced by what another frame of the clip shows behind it.

    Where the other frame shows no background either, the object stays.
    """
    around = cv2.dilate((labels == Role.OBJECT).astype(np.uint8), _MARGIN) > 0
    bare = cv2.dilate(np.isin(other_labels, (Role.INTERACTOR, Role.OBJECT)).astype(np.uint8), _MARGIN) == 0
    replaced = around & bare & (labels != Role.INTERACTOR)
    return np.where(replaced[..., None], other, frame), np.where(replaced, np.uint8(Role.BACKGROUND), labels)


def imagine_look(
    frame: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"], look: Look, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the frame with a ghost of the other and blurred, each in a `share` of the calls."""
    changed = frame.astype(np.float32)
    if rng.random() < look.share:
        trace = rng.uniform(0, look.ghosts)
        changed = (1 - trace) * changed + trace * other
    if rng.random() < look.share and look.blur:
        changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.2, max(0.2, look.blur)))
    return changed.round().astype(np.uint8)


def shift_colours(
    images: UInt8[np.ndarray, "n h w 3"], spread: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "n h w 3"]:
    """Return the images under another light, the same for all: channels mixed and scaled, and a gamma."""
    value: Float32[np.ndarray, "n h w 3"] = images.astype(np.float32) / 255
    mix = np.eye(3) * rng.uniform(1 - spread, 1 + spread, (3, 1)) + rng.normal(0, spread / 3, (3, 3))
    value = np.clip(value @ mix.astype(np.float32), 0, 1) ** np.float32(np.exp(rng.uniform(-spread, spread)))
    return (255 * value).round().astype(np.uint8)


@torch.no_grad()
def through_autoencoder(
    autoencoder: Autoencoder, frames: UInt8[np.ndarray, "n h w 3"], look: Look, rng: np.random.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Return the frames in [-1, 1], a `share` of them decoded from their latent with noise on it."""
    images = to_unit(frames)
    chosen = torch.from_numpy(rng.random(len(frames)) < look.share)
    if chosen.any():
        latent = autoencoder.encode(images[chosen])
        scale = rng.uniform(0, look.noise, (len(latent), 1, 1, 1)) * rng.standard_normal(latent.shape)
        images[chosen] = autoencoder.decode(latent + torch.from_numpy(scale).to(latent)).float().clamp(-1, 1)
    return images
