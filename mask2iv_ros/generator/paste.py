"""Paste and move: stage 2 without a network, the pixels of frame 0 moved along the masks."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex64, Float32, Float64, UInt8

from mask2iv_ros.masks import Role, iou

_RIM = np.ones((3, 3), np.uint8)  # one pixel round a mask holds a mixture of what it separates
_SPEED = 16  # pixels that a part moves at most from a frame to the next
_LEAST_PART = 12  # pixels: smaller specks have no outline to follow


def paste_and_move(
    first: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "t h w"]
) -> UInt8[np.ndarray, "t h w 3"]:
    """Return frame 0 with the pixels of arm and object moved to where the masks show them.

    The arm reaches in from outside and has parts that move apart: each connected part of its first mask
    is shifted so that its outline follows the masks' outlines. The object is seen whole: it is
    shifted, or also turned and scaled, as fits its mask best. Pixels inside a mask that frame 0
    does not show (an arm that reaches further in) have the colour of the nearest pixel of their role that
    it does. A role that frame 0 does not show at all is not drawn. What the roles uncover is
    inpainted (Telea 2004) from the background of frame 0.

    Args:
        first: frame 0.
        labels: `Role`s of every frame; those of frame 0 say what is taken from it.
    """
    roles = [role for role in (Role.INTERACTOR, Role.OBJECT) if (labels[0] == role).any()]
    taken = cv2.dilate(np.isin(labels[0], roles).astype(np.uint8), _RIM)
    empty = cv2.inpaint(first, taken, 3, cv2.INPAINT_TELEA)
    changed = np.stack([cv2.dilate((labels[0] != now).astype(np.uint8), _RIM) for now in labels])
    video = np.where((changed & taken)[..., None] > 0, empty, first)
    for role in roles:
        masks = labels == role
        source = _extend(first, masks[0])
        spectra = np.stack([_spectrum(mask) for mask in masks])
        parts = _parts(masks[0]) if role == Role.INTERACTOR else []
        tracks = [(part, _follow(part, spectra)) for part in parts] or [(masks[0], _fit(masks, spectra))]
        for frame, mask, *motions in zip(video, masks, *(track for _, track in tracks), strict=True):
            if mask.any():
                drawn, seen = frame.copy(), np.zeros_like(mask)
                for (part, _), motion in zip(tracks, motions, strict=True):
                    here = _warp(part, motion) & mask
                    size = mask.shape[::-1]
                    drawn[here] = cv2.warpAffine(source, motion, size, borderMode=cv2.BORDER_REPLICATE)[here]
                    seen |= here
                if seen.any():
                    frame[mask] = _extend(drawn, seen)[mask]
    return video


def _extend(image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image with every pixel outside the mask in the colour of the nearest one inside."""
    _, nearest = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((nearest.max() + 1, 3), np.uint8)
    colours[nearest[mask]] = image[mask]
    return colours[nearest]


def _parts(mask: Bool[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8))
    parts = [numbers == number for number in range(1, count)]
    return [part for part in parts if np.count_nonzero(part) >= _LEAST_PART]


def _follow(
    part: Bool[np.ndarray, "h w"], spectra: Complex64[np.ndarray, "t h2 w2"]
) -> list[Float64[np.ndarray, "2 3"]]:
    """Return for every frame the whole shift after which the part's outline lies most on the mask's.

    Args:
        part: of the mask of frame 0.
        spectra: of the mask's outlines.
    """
    common = scipy.fft.irfft2(np.conj(_spectrum(part)) * spectra, _padded(part))
    # Spectra are of twice the size: a shift of more than half of them is one to the other side.
    steps = np.arange(-_SPEED, _SPEED + 1)
    far = np.hypot(*np.meshgrid(steps, steps, indexing="ij"))
    shift, motions = np.zeros(2, int), []  # y, x
    for scores in common:
        near = np.take(np.take(scores, shift[0] + steps, 0, mode="wrap"), shift[1] + steps, 1, mode="wrap")
        # Of equals the nearest; outlines are blurred, so a hundredth is less than a pixel of them.
        best = np.unravel_index(np.where(far <= _SPEED, near - 0.01 * far, -np.inf).argmax(), far.shape)
        if near[best] > 1:
            shift = shift + steps[np.array(best)]
        motions.append(_shift(shift[1], shift[0]))
    return motions


def _spectrum(mask: Bool[np.ndarray, "h w"]) -> Complex64[np.ndarray, "h2 w2"]:
    """Return the spectrum of the mask's outline, of twice its size so that nothing comes in again at the other side."""
    return scipy.fft.rfft2(_outline(mask), _padded(mask))


def _padded(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    return 2 * mask.shape[0], 2 * mask.shape[1]


def _outline(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return the mask's rim, a little blurred; not where the image cuts it off."""
    inner = cv2.erode(mask.astype(np.uint8), _RIM, borderValue=1)
    return cv2.GaussianBlur((mask & (inner == 0)).astype(np.float32), (0, 0), 1)


def _fit(
    masks: Bool[np.ndarray, "t h w"], spectra: Complex64[np.ndarray, "t h2 w2"]
) -> Iterator[Float64[np.ndarray, "2 3"]]:
    """Yield for every frame the motion that brings the first mask closest to its, of a few that are tried."""
    shifts = _follow(masks[0], spectra)
    for mask, shift in zip(masks, shifts, strict=True):
        tried = [shift, *(_similarities(masks[0], mask) if mask.any() else [])]
        yield max(tried, key=lambda motion: iou(_warp(masks[0], motion), mask))  # of equals the first


def _similarities(before: Bool[np.ndarray, "h w"], after: Bool[np.ndarray, "h w"]) -> list[Float64[np.ndarray, "2 3"]]:
    """Return the motions that bring centroid, or centroid, size and long axis, of one mask to the other's.

    A mask's long axis has two directions, so there are two such turns.
    """
    (x0, y0, size0, angle0), (x1, y1, size1, angle1) = (_moments(mask) for mask in (before, after))
    found, scale = [_shift(x1 - x0, y1 - y0)], size1 / size0
    for turn in (angle1 - angle0, angle1 - angle0 + np.pi):
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        found.append(np.array([[cos, -sin, x1 - cos * x0 + sin * y0], [sin, cos, y1 - sin * x0 - cos * y0]]))
    return found


def _moments(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    """Return centroid x and y, the square root of the area, and the long axis' angle."""
    m = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    angle = 0.5 * np.arctan2(2 * m["mu11"], m["mu20"] - m["mu02"])
    return m["m10"] / m["m00"], m["m01"] / m["m00"], float(np.sqrt(m["m00"])), float(angle)


def _warp(mask: Bool[np.ndarray, "h w"], motion: Float64[np.ndarray, "2 3"]) -> Bool[np.ndarray, "h w"]:
    return cv2.warpAffine(mask.astype(np.uint8), motion, mask.shape[::-1], flags=cv2.INTER_NEAREST) > 0


def _shift(dx: float, dy: float) -> Float64[np.ndarray, "2 3"]:
    return np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]])
