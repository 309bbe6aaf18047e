"""Where arm and object touch, and how much a position counts in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role


@dataclass(frozen=True)
class RegionWeights:
    """Weights of the loss; everything else weighs 1.

    Attributes:
        interactor: added where the arm is.
        object: added where the object is.
        contact: lambda of the method's contact-weighted loss (5), the least weight where they touch.
        reach: side in pixels of the square that masks are dilated by to find the contact.
    """

    interactor: float = 1.0
    object: float = 2.0
    contact: float = 5.0
    reach: int = 5

    def __post_init__(self) -> None:
        if not all(0 <= weight < inf for weight in (self.interactor, self.object, self.contact)):
            raise Refused(
                f"interactor={self.interactor}, object={self.object}, contact={self.contact}; expected weights >= 0"
            )
        if self.reach < 1 or self.reach % 2 == 0:
            raise Refused(f"reach is {self.reach}; expected an odd number of pixels")


def contact_map(labels: UInt8[np.ndarray, "h w"], reach: int) -> Bool[np.ndarray, "h w"]:
    """Return m_c = (dilate(m_h) and m_o) or (m_h and dilate(m_o)) (method, stage 2)."""
    kernel = np.ones((reach, reach), np.uint8)
    arm, thing = ((labels == role).astype(np.uint8) for role in (Role.INTERACTOR, Role.OBJECT))
    return (cv2.dilate(arm, kernel) & thing | arm & cv2.dilate(thing, kernel)) > 0


def loss_weight(labels: UInt8[np.ndarray, "t h w"], weights: RegionWeights, patch: int) -> Float[Tensor, "1 t h2 w2"]:
    """Return the loss weight on the latent grid.

    A latent position counts as arm, object or contact when any of its `patch` x `patch` pixels
    does: averaging would let a puck, smaller than a position, all but vanish.
    """
    maps = np.stack(
        [
            labels == Role.INTERACTOR,
            labels == Role.OBJECT,
            np.stack([contact_map(frame, weights.reach) for frame in labels]),
        ]
    )
    arm, thing, contact = F.max_pool2d(torch.from_numpy(maps).float(), patch)
    weight = 1 + weights.interactor * arm + weights.object * thing
    return torch.maximum(weight, weights.contact * contact)[None]
