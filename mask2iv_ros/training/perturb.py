"""Perturbed masks: stage 2 trains on imperfect masks because stage 1 will give it such."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.masks import Role


def perturb(
    labels: UInt8[np.ndarray, "t h w"], rng: np.random.Generator, kernels: Sequence[int]
) -> UInt8[np.ndarray, "t h w"]:
    """Dilate or erode arm and object, each by a kernel drawn for the clip (method: {3, 5, 7} at 320 x 512)."""
    perturbed = np.zeros_like(labels)
    for role in (Role.INTERACTOR, Role.OBJECT):
        side = int(rng.choice(list(kernels)))
        change = cv2.dilate if rng.random() < 0.5 else cv2.erode
        kernel = np.ones((side, side), np.uint8)
        for frame, mask in zip(perturbed, labels == role, strict=True):
            frame[change(mask.astype(np.uint8), kernel) > 0] = role
    return perturbed
