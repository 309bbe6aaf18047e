"""The interactor before a static camera: what moves and reaches in from the picture's border."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from mask2iv_ros.data.building.drop import Dropped

SIDE = 192  # pixels: the longer side on which motion is looked at; smaller pictures are enlarged

_STILL = 1.0  # pixels at `SIDE`: less is no motion
_NOISE = 5.0  # times the median flow: less is noise
_REACH = 4  # pixels about all that ever moved, outside of which the interactor is not sought
_SHARE = 0.15  # of the largest moving thing: smaller ones are no second arm
_SPECK = 0.002  # of the picture: smaller pieces are nothing
_ITERATIONS = 4
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Moving:
    """A video at the size on which motion is looked at.

    Attributes:
        video: RGB.
        lab: the same in CIE Lab, smoothed.
        speed: pixels that each pixel moves to the next frame or from the one before, whichever is more.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    lab: Float32[np.ndarray, "t h w 3"]
    speed: Float32[np.ndarray, "t h w"]

    @classmethod
    def look(cls, video: UInt8[np.ndarray, "t h w 3"]) -> Moving:
        """Resize a video and find what moves in it."""
        factor = SIDE / max(video.shape[1:3])
        size = round(video.shape[2] * factor), round(video.shape[1] * factor)
        how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
        small = np.stack([cv2.resize(one, size, interpolation=how) for one in video])
        greys = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in small]
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        speed = np.zeros(small.shape[:3], np.float32)
        for step, (one, other) in enumerate(pairwise(greys)):
            for frame, pair in ((step, (one, other)), (step + 1, (other, one))):
                speed[frame] = np.maximum(speed[frame], np.linalg.norm(flow.calc(*pair, None), axis=2))
        lab = [cv2.cvtColor(one.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for one in small]
        return cls(small, np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in lab]), speed)


def find_interactor(moving: Moving) -> Bool[np.ndarray, "t h w"]:
    """Return where the interactor is in every frame, at the size of `moving`.

    What moves by optical flow is joined over space and time. Of these things the largest that touches the picture's
    border is the interactor, with those that are not much smaller: a hand and a hand. Flow
    spreads over edges, so GrabCut finds the contours by colour, in all frames at once: where the
    interactor rests for a moment, its colours are known from when it moved.

    Raises:
        Dropped: the camera moves and with it everything, nothing does, or nothing of it but specks touches the border.
    """
    usual = float(np.median(moving.speed, axis=(1, 2)).max())
    if usual > _STILL:
        raise Dropped(
            "moving camera",
            f"half of the picture moves by {usual / SIDE:.3f} of its longer side in one step; expected "
            "a camera that stands still for motion to tell anything",
        )
    moves = moving.speed > max(_STILL, _NOISE * float(np.median(moving.speed)))
    things, count = ndimage.label(moves, structure=np.ones((3, 3, 3)))
    if not count:
        raise Dropped("nothing moves", "no pixel moves from frame to frame; expected an interactor at work")
    rim = _rim(moves.shape[1:])
    sizes, touching = (np.bincount(where.ravel(), minlength=count + 1)[1:] for where in (things, things[:, rim]))
    if not (touching > 0).any():
        raise Dropped(
            "interactor not found", "nothing that moves touches the picture's border; expected an arm or hand"
        )
    largest = sizes[touching > 0].max()
    seed = np.isin(things, 1 + np.flatnonzero((touching > 0) & (sizes >= _SHARE * largest)))
    swept = cv2.dilate(seed.any(0).astype(np.uint8), np.ones((2 * _REACH + 1,) * 2, np.uint8)) > 0
    trimap = np.where(seed, cv2.GC_PR_FGD, np.where(swept, cv2.GC_PR_BGD, cv2.GC_BGD)).astype(np.uint8)
    found = _tidy(_grabcut(moving.video, trimap), seed, rim)
    if not found.any():
        raise Dropped(
            "interactor not found",
            f"nothing that moves at the picture's border fills more than {100 * _SPECK:g} % of it; expected an arm or "
            "hand",
        )
    return found


def _grabcut(video: UInt8[np.ndarray, "t h w 3"], trimap: UInt8[np.ndarray, "t h w"]) -> Bool[np.ndarray, "t h w"]:
    """Cut all frames with the same colour models, as one tall picture."""
    frames, height, width = trimap.shape
    if (trimap == cv2.GC_PR_FGD).all():
        return np.ones(trimap.shape, np.bool_)
    tall = np.ascontiguousarray(trimap.reshape(frames * height, width))
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # GrabCut's k-means draws from OpenCV's global generator
    picture = np.ascontiguousarray(video.reshape(frames * height, width, 3))
    cv2.grabCut(picture, tall, None, *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return ((tall == cv2.GC_FGD) | (tall == cv2.GC_PR_FGD)).reshape(trimap.shape)


def _tidy(
    masks: Bool[np.ndarray, "t h w"], seed: Bool[np.ndarray, "t h w"], rim: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "t h w"]:
    """Return the pieces that touch the border or moved, without specks; small holes filled."""
    tidy = np.zeros_like(masks)
    for frame, mask in enumerate(masks):
        closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _SQUARE)
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
        for piece in range(1, count):
            where = pieces == piece
            if stats[piece, cv2.CC_STAT_AREA] > _SPECK * mask.size and (
                (where & rim).any() or (where & seed[frame]).sum() > 0.5 * where.sum()
            ):
                tidy[frame] |= where
    return tidy


def _rim(size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    rim = np.zeros(size, np.bool_)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    return rim
