"""First guesses of a role's region from clicks or a box, for GrabCut to start from."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

Mask = Bool[np.ndarray, "h w"]


def grown(
    lab: Float[np.ndarray, "h w 3"], points: Int[np.ndarray, "n 2"], tolerances: tuple[float, ...]
) -> Iterator[Mask]:
    """Yield, per tolerance, the pixels connected to a click whose Lab colour is within it of the click's."""
    smooth = cv2.blur(lab, (3, 3))
    distances = [np.linalg.norm(lab - smooth[y, x], axis=2) for x, y in points]
    for tolerance in tolerances:
        seed = np.zeros(lab.shape[:2], np.bool_)
        for (x, y), distance in zip(points, distances, strict=True):
            similar = (distance <= tolerance).astype(np.uint8)
            similar[y, x] = 1
            cv2.floodFill(similar, None, (int(x), int(y)), 2)
            seed |= similar == 2
        yield seed


def discs(size: tuple[int, int], points: Int[np.ndarray, "n 2"], radii: tuple[float, ...]) -> Iterator[Mask]:
    """Yield discs about the clicks; radii are shares of the longer side of `size` (height, width)."""
    for radius in radii:
        yield stamp(size, points, max(2, round(radius * max(size))))


def boxed(size: tuple[int, int], box: Float[np.ndarray, " 4"]) -> Iterator[Mask]:
    """Yield the box (x, y, width, height), a smaller one in it, and two ellipses: most things touch no corner."""
    x, y, width, height = box
    for share in (1.0, 0.8):
        yield rectangle(
            size, np.array([x + width * (1 - share) / 2, y + height * (1 - share) / 2, width * share, height * share])
        )
    centre = (round(x + width / 2), round(y + height / 2))
    for share in (1.0, 0.6):
        canvas = np.zeros(size, np.uint8)
        axes = (max(1, round(width * share / 2)), max(1, round(height * share / 2)))
        cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1)
        yield (canvas > 0) & rectangle(size, box)


def rectangle(size: tuple[int, int], box: Float[np.ndarray, " 4"]) -> Mask:
    """Return the box (x, y, width, height) as a mask, grown to whole pixels."""
    x, y, width, height = box
    mask = np.zeros(size, np.bool_)
    mask[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
    return mask


def ring(mask: Mask) -> Mask:
    """Return what lies about the mask: its bounding box, wider by half on every side, without the mask."""
    if not mask.any():
        return ~mask
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    pad = max(4, max(width, height) // 2)
    about = np.zeros_like(mask)
    about[max(0, y - pad) : y + height + pad, max(0, x - pad) : x + width + pad] = True
    return about & ~mask


def stamp(size: tuple[int, int], points: Int[np.ndarray, "n 2"], radius: int) -> Mask:
    """Return discs of a radius in pixels about the points."""
    canvas = np.zeros(size, np.uint8)
    for x, y in points:
        cv2.circle(canvas, (int(x), int(y)), radius, 1, -1)
    return canvas > 0


def nearer(size: tuple[int, int], points: Int[np.ndarray, "n 2"], others: Int[np.ndarray, "m 2"]) -> Mask:
    """Return the pixels that are nearer to one of the points than to any of the others."""
    return _distance(size, points) < _distance(size, others)


def _distance(size: tuple[int, int], points: Int[np.ndarray, "n 2"]) -> Float[np.ndarray, "h w"]:
    free = np.ones(size, np.uint8)
    free[points[:, 1], points[:, 0]] = 0
    return cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
