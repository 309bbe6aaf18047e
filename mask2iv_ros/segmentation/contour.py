"""How clearly a mask's contour separates colours."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_NEAR = (7, 7)  # pixels about a contour point whose colours are compared


def to_lab(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Return RGB in CIE Lab (L 0 to 100), in which distances resemble what the eye sees."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def contrast(lab: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " p"]:
    """Return, per pixel of the mask's contour, the Lab distance between the colours on either side.

    Contour along the image's own border is left out: nothing is seen beyond it.
    """
    inner = mask.astype(np.uint8)
    outer = 1 - cv2.dilate(inner, _CROSS)  # one pixel of gap: there the camera has mixed both colours
    rim = mask & (cv2.erode(inner, _CROSS) == 0)
    sides = []
    for side in (inner, outer):
        weight = cv2.boxFilter(side.astype(np.float32), -1, _NEAR, normalize=False)[rim]
        total = cv2.boxFilter(lab * side[..., None].astype(np.float32), -1, _NEAR, normalize=False)[rim]
        sides.append((total / np.maximum(weight, 1)[:, None], weight > 0))
    (inside, has_inside), (outside, has_outside) = sides
    return np.where(has_inside & has_outside, np.linalg.norm(inside - outside, axis=1), 0.0)


def clearness(lab: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], clear: float = 30.0) -> float:
    """Return the mean contrast along the mask's contour, `clear` and above counting as 1; 0 without a contour."""
    found = contrast(lab, mask)
    return float(np.clip(found / clear, 0, 1).mean()) if found.size else 0.0
