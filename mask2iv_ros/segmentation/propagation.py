"""Masks carried through a video without weights: dense flow, colour, and what a fixed camera sees move.

Three witnesses say where a part is in the next frame, as log odds that add up:

- flow: the last mask, carried along dense optical flow (DIS). It counts where forward and backward
  flow agree; where they do not (occlusion, blur, too fast), only nearness to the carried mask does.
- colour: how often a pixel's colour was in the part and how often beside it, as far as the two differ.
- motion: with a fixed camera, the median over the clip shows the scene without what moves through
  it; a pixel like the median speaks against a part that moves, one unlike it for any part.

GrabCut then cuts along the picture's edges: the part is re-seeded in every frame. Colours are
learned slowly and only from frames that agree with the first, so that a part that vanishes behind
another does not become the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mask2iv_ros.segmentation.contour import to_lab

Mask = Bool[np.ndarray, "h w"]
Plane = Float[np.ndarray, "h w"]

_BINS = (8, 16, 16)  # of a colour histogram, in L, a, b
_LIMIT = 4.0  # log odds beyond which a single witness is not believed
_SLACK = 1.0  # pixels by which forward and backward flow may differ and still agree
_STILL = 8.0  # Lab distance to the median of the clip below which a pixel is the same
_SCENES = 24  # frames that the median is taken of
_LOST = 0.15  # of the usual area: below, the part is hidden


@dataclass(frozen=True)
class Scenery:
    """What the camera sees when nothing moves, and how much that can be relied on (0 for a moving camera)."""

    lab: Float[np.ndarray, "h w 3"]
    trust: float

    @staticmethod
    def of(frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Scenery:
        """Return the per-pixel median over the clip; trusted as far as most pixels keep to it in most frames."""
        chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, _SCENES).astype(int))]
        middle = to_lab(np.median(np.stack(chosen), axis=0).astype(np.uint8))
        if len(chosen) < 8:
            return Scenery(middle, 0.0)
        alike = np.mean([np.linalg.norm(to_lab(f) - middle, axis=2) < _STILL for f in chosen[:: len(chosen) // 8]])
        return Scenery(middle, float(np.clip((alike - 0.5) / 0.3, 0, 1)))

    def unlike(self, lab: Float[np.ndarray, "h w 3"]) -> Plane:
        """Return, per pixel, 0 where the frame is as the scenery, towards 1 where something else is."""
        distance = cv2.blur(np.linalg.norm(lab - self.lab, axis=2).astype(np.float32), (3, 3))
        return 1 - np.exp(-((distance / (1.5 * _STILL)) ** 2))


class Flow:
    """Dense flow between two frames, and where it can be believed."""

    def __init__(self, before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"]) -> None:
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        greys = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (before, after)]
        forward = dis.calc(greys[0], greys[1], None)
        backward = dis.calc(greys[1], greys[0], None)
        rows, columns = np.mgrid[: greys[0].shape[0], : greys[0].shape[1]].astype(np.float32)
        self._x, self._y = columns + backward[..., 0], rows + backward[..., 1]
        error = np.linalg.norm(backward + self.carry(forward), axis=2)
        reach = _SLACK + 0.05 * np.linalg.norm(backward, axis=2)
        self.trust: Plane = np.exp(-((error / reach) ** 2) / 2)
        self.speed: Plane = np.linalg.norm(forward, axis=2)

    def carry[T: np.ndarray](self, plane: T) -> T:
        """Return values of the earlier frame where the later one has them."""
        return cv2.remap(plane, self._x, self._y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class Part:
    """One thing of which a mask is known, to be found in frame after frame.

    Args:
        frame: the working-size RGB frame in which the mask is known.
        mask: of that frame.
        scenery: of the clip.
    """

    def __init__(self, frame: UInt8[np.ndarray, "h w 3"], mask: Mask, scenery: Scenery) -> None:
        self.scenery = scenery
        self.mask = mask
        self.confidence = 1.0
        self._usual = float(mask.sum())
        lab = to_lab(frame)
        bins = _binned(lab)
        near = _ring(mask, 0.5)
        self._first = _histogram(bins, mask)
        self._inside, self._beside = self._first, _histogram(bins, near)
        odds = self._colour(bins)
        # Colours that are inside and beside alike say nothing: a mirror, a white cup on a white table.
        self._tells = float(np.clip(_mean(odds > 0, mask) - _mean(odds > 0, near), 0, 1))
        self._moves = scenery.trust * _mean(scenery.unlike(lab), mask)

    def step(self, frame: UInt8[np.ndarray, "h w 3"], flow: Flow) -> None:
        """Find the part in the next frame: `mask` and `confidence` are of that frame then."""
        lab = to_lab(frame)
        bins = _binned(lab)
        carried = flow.carry(self.mask.astype(np.float32))
        drift = float(np.percentile(flow.speed[self.mask], 90)) if self.mask.any() else 0.0
        doubt = 1 - _mean(flow.trust, carried > 0.5) if (carried > 0.5).any() else 1.0
        reach = 2.0 + doubt * (8.0 + drift)
        away = cv2.distanceTransform((carried < 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        nearness = np.maximum(2.0 - 3.0 * away / reach, -6.0)
        followed = flow.trust * _logit(carried, _LIMIT) + (1 - flow.trust) * np.clip(nearness, -_LIMIT, 0.5)
        unlike = self.scenery.unlike(lab)
        colour = self._colour(bins)
        odds = followed + 1.2 * self._tells * colour + np.minimum(nearness, 0)
        odds += self.scenery.trust * self._moves * (4.0 * unlike - 2.0)
        found = self._cut(frame, odds)
        self._settle(found, colour, bins, flow)

    def _cut(self, frame: UInt8[np.ndarray, "h w 3"], odds: Plane) -> Mask:
        """Return GrabCut's answer within what the witnesses leave open."""
        odds = cv2.GaussianBlur(odds.astype(np.float32), (0, 0), 0.8)
        likely = odds > 0
        if likely.sum() < 8:
            return np.zeros_like(likely)
        trimap = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        trimap[odds > 3.5], trimap[odds < -2.5] = cv2.GC_FGD, cv2.GC_BGD
        rows, columns = np.flatnonzero(likely.any(axis=1)), np.flatnonzero(likely.any(axis=0))
        margin = 6 + int(0.2 * max(np.ptp(rows), np.ptp(columns)))
        window = (slice(max(0, rows[0] - margin), rows[-1] + margin), slice(max(0, columns[0] - margin), columns[-1] + margin))
        local = np.ascontiguousarray(trimap[window])
        unsure = np.isin(local, (cv2.GC_PR_FGD, cv2.GC_PR_BGD)).any()
        background = np.isin(local, (cv2.GC_BGD, cv2.GC_PR_BGD)).any()
        if unsure and background:
            cv2.setRNGSeed(0)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(np.ascontiguousarray(frame[window]), local, None, *models, 1, cv2.GC_INIT_WITH_MASK)
        mask = np.zeros_like(likely)
        mask[window] = np.isin(local, (cv2.GC_FGD, cv2.GC_PR_FGD))
        return _tidy(mask)

    def _settle(self, found: Mask, colour: Plane, bins: np.ndarray, flow: Flow) -> None:
        area = float(found.sum())
        if area < _LOST * self._usual:
            # Hidden: the mask stays what is seen of it, and nothing is learned until it is back.
            self.mask, self.confidence = found, 0.0
            return
        fits = _mean(colour > 0, found) if self._tells > 0.3 else 1.0
        size = min(area, self._usual) / max(area, self._usual)
        self.mask = found
        self.confidence = float(np.clip(fits * np.sqrt(size) * (0.5 + 0.5 * _mean(flow.trust, found)), 0, 1))
        self._beside = 0.8 * self._beside + 0.2 * _histogram(bins, _ring(found, 0.5))
        if self.confidence > 0.6:
            recent = 0.85 * self._inside + 0.15 * _histogram(bins, found)
            self._inside = 0.5 * self._first + 0.5 * recent
            self._usual = 0.95 * self._usual + 0.05 * area

    def _colour(self, bins: np.ndarray) -> Plane:
        """Return, per pixel, the log odds that its colour is the part's rather than its surroundings'."""
        inside, beside = self._inside.ravel()[bins], self._beside.ravel()[bins]
        return np.clip(np.log((inside + 1e-4) / (beside + 1e-4)), -_LIMIT, _LIMIT)


def _binned(lab: Float[np.ndarray, "h w 3"]) -> np.ndarray:
    scale = (lab - np.array([0, -64, -64])) / np.array([100, 128, 128])
    index = np.clip((scale * _BINS).astype(int), 0, np.array(_BINS) - 1)
    return np.ravel_multi_index(tuple(np.moveaxis(index, -1, 0)), _BINS)


def _histogram(bins: np.ndarray, where: Mask) -> Float[np.ndarray, "l a b"]:
    count = np.bincount(bins[where], minlength=int(np.prod(_BINS))).astype(np.float32).reshape(_BINS)
    for axis in range(3):  # neighbouring colours are nearly the same colour
        count = 0.5 * count + 0.25 * (_shifted(count, 1, axis) + _shifted(count, -1, axis))
    return count / max(count.sum(), 1e-9)


def _shifted(count: np.ndarray, by: int, axis: int) -> np.ndarray:
    moved = np.roll(count, by, axis)
    edge = [slice(None)] * 3
    edge[axis] = 0 if by > 0 else -1
    moved[tuple(edge)] = 0
    return moved


def _ring(mask: Mask, share: float) -> Mask:
    """Return what lies about the mask, as wide as a share of its longer side."""
    if not mask.any():
        return ~mask
    _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
    reach = 2 * max(4, int(share * max(width, height))) + 1
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    ring = np.zeros_like(mask)
    pad = reach // 2
    ring[max(0, y - pad) : y + h + pad, max(0, x - pad) : x + w + pad] = True
    return ring & ~mask


def _tidy(mask: Mask) -> Mask:
    """Return the mask without specks and pinholes."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = np.isin(pieces, np.flatnonzero(areas >= max(4, 0.04 * areas.max())))
    _, gaps, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < 0.01 * kept.sum())
    return kept | (np.isin(gaps, small[small > 0]))


def _logit(share: Plane, limit: float) -> Plane:
    return np.clip(np.log((share + 1e-3) / (1 - share + 1e-3)), -limit, limit)


def _mean(values: np.ndarray, where: Mask) -> float:
    return float(values[where].mean()) if where.any() else 0.0
