"""Roles, their colours, label maps and the geometry of masks.

A label map is `uint8`: one role per pixel. The generator sees label maps as colour
images, because its autoencoder takes three channels (method: "every role has its own
colour"). Axis vocabulary of the whole package: b batch, t frames, c channels, h, w.
"""

from __future__ import annotations

from enum import IntEnum

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.errors import Refused


class Role(IntEnum):
    """What a pixel of a label map belongs to."""

    BACKGROUND = 0
    INTERACTOR = 1
    OBJECT = 2
    UNLABELLED = 255


# Far apart from each other in RGB, so that a blurred decoder output still decodes.
COLOURS: dict[Role, tuple[int, int, int]] = {
    Role.BACKGROUND: (0, 0, 0),
    Role.INTERACTOR: (255, 0, 0),
    Role.OBJECT: (0, 255, 0),
}
_PALETTE = np.array([COLOURS[role] for role in COLOURS], dtype=np.uint8)


def check_labels(labels: np.ndarray, name: str = "label map") -> UInt8[np.ndarray, "*t h w"]:
    """Return `labels` unchanged if every pixel is a role.

    Raises:
        Refused: not uint8, fewer than two axes, or a value that is no role.
    """
    if labels.dtype != np.uint8 or labels.ndim < 2:
        raise Refused(f"{name} is {labels.dtype} of shape {labels.shape}; expected uint8 with axes (h, w)")
    unknown = np.setdiff1d(np.unique(labels), [int(role) for role in Role])
    if unknown.size:
        roles = ", ".join(f"{int(r)} {r.name.lower()}" for r in Role)
        raise Refused(f"{name} has the value {int(unknown[0])}; accepted are {roles}")
    return labels


def encode_colours(labels: UInt8[np.ndarray, "*t h w"]) -> UInt8[np.ndarray, "*t h w 3"]:
    """Paint every role in its colour; unlabelled pixels are painted as background."""
    return _PALETTE[np.where(labels >= len(_PALETTE), 0, labels)]


def decode_colours(image: UInt8[np.ndarray, "*t h w 3"]) -> UInt8[np.ndarray, "*t h w"]:
    """Return the role whose colour is nearest, pixel by pixel: the inverse of `encode_colours`."""
    # The palette is {black, pure red, pure green}: the nearest of the three follows from the
    # squared distances with the common terms left out.
    value = image.astype(np.int32)
    score = 2 * np.einsum("...c,kc->...k", value, _PALETTE.astype(np.int32))
    score -= np.sum(_PALETTE.astype(np.int32) ** 2, axis=1)
    return score.argmax(axis=-1).astype(np.uint8)


def resize_labels(labels: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2"]:
    """Resize a label map or a mask to `size` (height, width) by nearest neighbour."""
    if labels.shape == tuple(size):
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)


def move_mask(
    mask: Bool[np.ndarray, "h w"],
    dx: float = 0.0,
    dy: float = 0.0,
    rotation: float = 0.0,
    scale: float = 1.0,
) -> Bool[np.ndarray, "h w"]:
    """Return the mask rotated and scaled about its centroid, then shifted.

    Args:
        mask: the object's present mask.
        dx: shift to the right in pixels.
        dy: shift downwards in pixels.
        rotation: clockwise on the image, in radians.
        scale: size factor, 0.1 to 10.

    Raises:
        Refused: a value that is not finite or a scale out of range, an empty mask, or a mask
            that leaves the image altogether.
    """
    for name, value in (("dx", dx), ("dy", dy), ("rotation", rotation), ("scale", scale)):
        if not np.isfinite(value):
            raise Refused(f"{name} is {value}; expected a finite number")
    if not 0.1 <= scale <= 10:
        raise Refused(f"scale is {scale}; expected 0.1 to 10")
    if not mask.any():
        raise Refused("the mask to move is empty; expected at least one pixel of the object")
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    x, y = columns.mean(), rows.mean()
    cos, sin = scale * np.cos(rotation), scale * np.sin(rotation)
    matrix = np.array([[cos, -sin, x + dx - cos * x + sin * y], [sin, cos, y + dy - sin * x - cos * y]])
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
    column, row = round(x + dx), round(y + dy)
    if scale < 1 and not moved.any() and 0 <= column < width and 0 <= row < height:
        moved[row, column] = True  # nearest neighbour may miss all of a mask made smaller than a pixel
    if not moved.any():
        raise Refused(
            f"the mask moved by dx={dx:g}, dy={dy:g} pixels leaves the {width} x {height} image; "
            "expected an offset that keeps some of it inside"
        )
    return moved


def iou(a: Bool[np.ndarray, "*s"], b: Bool[np.ndarray, "*s"]) -> float:
    """Return intersection over union; 1.0 where both are empty."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def overlay(
    image: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], opacity: float = 0.45
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image with interactor and object tinted in their colours, to look at."""
    colours = encode_colours(labels)
    tinted = cv2.addWeighted(image, 1 - opacity, colours, opacity, 0)
    shown = np.isin(labels, (Role.INTERACTOR, Role.OBJECT))[..., None]
    return np.where(shown, tinted, image)


def outline(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], colour: tuple[int, int, int] = (255, 255, 0)
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy of the image with the mask's contour drawn, for a goal mask."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(image).copy(), contours, -1, colour, 1)
