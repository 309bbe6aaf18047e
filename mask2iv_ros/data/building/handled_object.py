"""The handled object before a static camera: what was at rest and is gone, or else what the interactor stops at."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy import ndimage

from mask2iv_ros.data.building.drop import Dropped
from mask2iv_ros.data.building.moving_interactor import Moving
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou, resize_labels
from mask2iv_ros.segmentation import Prompt, Segmenter
from mask2iv_ros.segmentation.base import Unusable

MOVED, REACHED = "what it moved", "what it reached"

_NEAR = 4  # pixels about the interactor that are not compared: there it casts shadows and mixes colours
CHANGED = 12.0  # Lab distance from which on a pixel has changed
_CHROMA = 6.0  # of it without lightness: less is a shadow
_LASTS = 0.6  # share of the frames after its change in which a pixel stays changed
_SMALLEST, _LARGEST = 0.001, 0.15  # shares of the picture that an object has
_HIDDEN = 0.3  # share of it that may be the interactor
_EDGE = 0.5  # of its own width, about, that may lie along the picture's border
_RING = 6  # pixels about a place, whose colours it is compared with
_ALONG, _ACROSS = (0.0, 0.04, 0.08), (0.0, -0.04, 0.04)  # shares of the width about the tip where clicks are tried
_ALIKE = 0.6  # IoU from which on two clicks mean the same thing
_TIP = 92  # percentile of the distance from where the interactor comes in, from which on it is its tip


class _Thing(NamedTuple):
    mask: Bool[np.ndarray, "h w"]
    sure: float


def find_object(
    moving: Moving, interactor: Bool[np.ndarray, "t h w"], first: np.ndarray, segmenter: Segmenter
) -> tuple[Bool[np.ndarray, "h2 w2"], str]:
    """Return where the handled object is in the first frame, and how it was told.

    Args:
        moving: the video.
        interactor: in it.
        first: the first frame, RGB, in its own size; the mask has it too.
        segmenter: that takes points.

    Raises:
        Dropped: nothing is gone, and nothing stands out where the interactor stops.
        Unusable: the segmenter lacks its weights.
    """
    height, width = interactor.shape[1:]
    hidden = resize_labels(interactor[0].astype(np.uint8), first.shape[:2]) > 0

    def under(points: Int64[np.ndarray, "n 2"]) -> _Thing | None:
        scale = np.array([first.shape[1] / width, first.shape[0] / height])
        return _under(first, np.unique(((points + 0.5) * scale).astype(np.int64), axis=0), hidden, segmenter)

    gone = _gone(moving, interactor)
    if gone is not None:
        left = under(_spread(gone))
        if left is not None:
            return left.mask, MOVED
    found = [one for click in _about_tip(interactor) if (one := under(click)) is not None]
    if not found:
        raise Dropped(
            "object not found", "nothing is gone from where it was, and nothing stands out where the interactor stops"
        )
    # What several clicks mean is rather one thing than what a single one does.
    support = [sum(other.sure for other in found if iou(one.mask, other.mask) >= _ALIKE) for one in found]
    return found[int(np.argmax(support))].mask, REACHED


def _gone(moving: Moving, interactor: Bool[np.ndarray, "t h w"]) -> Bool[np.ndarray, "h w"] | None:
    """Return the place of the first frame that something has left for good; None if there is none.

    Where a thing left and where it was put down both stay changed. Where it left, it stood out from its
    surroundings in the first frame more than what is there in the end.
    """
    free = ~_near(interactor)
    difference = unlike_first(moving, interactor)
    changed = (np.linalg.norm(difference, axis=3) > CHANGED) & (np.linalg.norm(difference[..., 1:], axis=3) > _CHROMA)
    seen = free & free[0]
    begun = np.maximum.accumulate(changed & seen, axis=0)
    lasting = (changed & seen).sum(0) >= np.maximum(2, _LASTS * (begun & seen).sum(0))
    # What is in sight at the end must be changed at the end.
    last = len(seen) - 1 - np.argmax(seen[::-1], axis=0)
    rows, columns = np.indices(lasting.shape)
    lasting &= changed[last, rows, columns]
    lasting = cv2.morphologyEx(lasting.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    places, count = ndimage.label(lasting)
    reached = cv2.dilate(interactor.any(0).astype(np.uint8), np.ones((4 * _NEAR + 1,) * 2, np.uint8)) > 0
    best, most = None, 0.0
    for place in range(1, count + 1):
        where = places == place
        share = where.mean()
        if not _SMALLEST <= share <= _LARGEST or not (where & reached).any():
            continue
        end = last[where].max()
        before, after = (_stands_out(moving.lab[frame], where) for frame in (0, end))
        if before > after and share * before > most:
            best, most = where, share * before
    return best


def unlike_first(moving: Moving, interactor: Bool[np.ndarray, "t h w"]) -> Float32[np.ndarray, "t h w 3"]:
    """Return by how much each pixel's Lab differs from the first frame's, beyond what the light of the room did."""
    difference = moving.lab - moving.lab[0]
    for one, covered in zip(difference, _near(interactor), strict=True):
        if not covered.all():
            one -= np.median(one[~covered], axis=0)
    return difference


def _near(interactor: Bool[np.ndarray, "t h w"]) -> Bool[np.ndarray, "t h w"]:
    square = np.ones((2 * _NEAR + 1,) * 2, np.uint8)
    return np.stack([cv2.dilate(one.astype(np.uint8), square) > 0 for one in interactor])


def _stands_out(lab: np.ndarray, where: Bool[np.ndarray, "h w"]) -> float:
    """Return the Lab distance between the mean colours of a place and of the ring about it."""
    ring = cv2.dilate(where.astype(np.uint8), np.ones((2 * _RING + 1,) * 2, np.uint8)) > 0
    ring &= ~(cv2.dilate(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    return float(np.linalg.norm(lab[where].mean(0) - lab[ring].mean(0))) if ring.any() else 0.0


def _spread(where: Bool[np.ndarray, "h w"]) -> Int64[np.ndarray, "n 2"]:
    """Return up to three points (x, y) deep inside of a place, apart from each other."""
    left, points = where.copy(), []
    deepest = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 3)
    for _ in range(3):
        depth = np.where(left, deepest, 0)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[row, column] < 0.5 * deepest.max():
            break
        points.append((column, row))
        rows, columns = np.indices(where.shape)
        left &= np.hypot(rows - row, columns - column) > 2 * max(2.0, float(deepest.max()))
    return np.array(points, np.int64)


def _about_tip(interactor: Bool[np.ndarray, "t h w"]) -> list[Int64[np.ndarray, "1 2"]]:
    """Return points about the interactor's tip in its last frame: the part farthest from where it comes in."""
    mask = interactor[np.flatnonzero(interactor.any((1, 2)))[-1]]
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    edge = (rows == 0) | (columns == 0) | (rows == height - 1) | (columns == width - 1)
    if not edge.any():
        return []
    entry = np.array([columns[edge].mean(), rows[edge].mean()])
    far = np.hypot(columns - entry[0], rows - entry[1])
    tip = np.array([columns[far >= np.percentile(far, _TIP)].mean(), rows[far >= np.percentile(far, _TIP)].mean()])
    ahead = (tip - entry) / max(1.0, float(np.linalg.norm(tip - entry)))
    aside = np.array([-ahead[1], ahead[0]])
    points = [
        (tip + width * (along * ahead + across * aside)).round().astype(np.int64)[None]
        for along in _ALONG
        for across in _ACROSS
    ]
    return [one for one in points if 0 <= one[0, 0] < width and 0 <= one[0, 1] < height]


def _under(
    image: np.ndarray, points: Int64[np.ndarray, "n 2"], hidden: Bool[np.ndarray, "h w"], segmenter: Segmenter
) -> _Thing | None:
    """Return what is under points (x, y) of an image; None if that is no object.

    It is none if it is too small or too large, mostly the interactor, or goes on beyond the picture, as walls do.
    """
    points = points[~hidden[points[:, 1], points[:, 0]]]
    if not len(points):
        return None
    try:
        found = segmenter.segment(image, Prompt(Role.OBJECT, points, np.ones(len(points), np.bool_)), None)
    except Unusable:
        raise  # it is no word about this place
    except Refused:
        return None
    mask = found.labels == Role.OBJECT
    if not _SMALLEST <= mask.mean() <= _LARGEST or (mask & hidden).sum() > _HIDDEN * mask.sum():
        return None
    edge = sum(int(side.sum()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return _Thing(mask, found.confidence) if edge <= _EDGE * np.sqrt(mask.sum()) else None
