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

from mask2iv_ros.segmentation import colours
from mask2iv_ros.segmentation.contour import to_lab
from mask2iv_ros.segmentation.seeds import ring

Mask = Bool[np.ndarray, "h w"]
Plane = Float[np.ndarray, "h w"]

_LIMIT = 4.0  # log odds beyond which a single witness is not believed
_SLACK = 1.0  # pixels by which forward and backward flow may differ and still agree
_STILL = 8.0  # Lab distance to the median of the clip below which a pixel is the same
_DARKEST = 0.55  # of the scenery's light: less is no shadow
_SHADOW = 0.25  # what a change counts that may be one
_SCENES = 24  # frames that the median is taken of
_LOST = 0.15  # of the usual area: below, the part is hidden
_SEARCH = 12.0  # pixels a frame by which the search for a lost part widens


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
        """Return, per pixel, 0 where the frame is as the scenery, towards 1 where something else is.

        A cast shadow is the scenery, darker: less light of nearly the same hue counts for little.
        """
        change = (lab - self.lab).astype(np.float32)
        distance = cv2.blur(np.linalg.norm(change, axis=2), (3, 3))
        light = cv2.blur(lab[..., 0] / np.maximum(self.lab[..., 0], 1), (3, 3))
        hue = cv2.blur(np.linalg.norm(change[..., 1:], axis=2), (3, 3))
        shaded = (light > _DARKEST) & (light < 1) & (hue < _STILL)
        return (1 - np.exp(-((distance / (1.5 * _STILL)) ** 2))) * np.where(shaded, _SHADOW, 1.0).astype(np.float32)


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
        self._seen, self._gone = mask, 0  # the last mask that was believed, and for how many frames none was
        lab = to_lab(frame)
        bins = colours.binned(lab)
        near = ring(mask)
        self._first = colours.histogram(bins, mask)
        self._inside, self._beside = self._first, colours.histogram(bins, near)
        odds = colours.odds(bins, self._inside, self._beside)
        # Colours that are inside and beside alike say nothing: a mirror, a white cup on a white table.
        self._tells = float(np.clip(_mean(odds > 0, mask) - _mean(odds > 0, near), 0, 1))
        self._moves = scenery.trust * _mean(scenery.unlike(lab), mask)

    def expect(self, sight: Sight) -> Plane:
        """Return, per pixel of the next frame, the log odds that it is this part."""
        odds = 1.2 * self._tells * self._colour(sight)
        odds += self.scenery.trust * self._moves * (4.0 * sight.unlike - 2.0)
        if self._gone:
            return odds + self._nearness(self._seen, 6.0 + _SEARCH * self._gone)
        flow = sight.flow
        carried = flow.carry(self.mask.astype(np.float32))
        drift = float(np.percentile(flow.speed[self.mask], 90)) if self.mask.any() else 0.0
        believed = carried > 0.5
        doubt = 1 - _mean(flow.trust, believed) if believed.any() else 1.0
        nearness = self._nearness(believed, 2.0 + doubt * (8.0 + drift))
        followed = flow.trust * _logit(carried, _LIMIT) + (1 - flow.trust) * np.clip(nearness, -_LIMIT, 0.5)
        return odds + followed + np.minimum(nearness, 0)

    @staticmethod
    def _nearness(mask: Mask, reach: float) -> Plane:
        """Return 2 on the mask, 0 a part of the reach away from it, and less farther off."""
        if not mask.any():
            return np.full(mask.shape, -6.0, np.float32)
        away = cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, 3)
        return np.maximum(2.0 - 3.0 * away / reach, -6.0)

    def settle(self, sight: Sight, odds: Plane) -> None:
        """Take what the odds and the picture's edges say: `mask` and `confidence` are of that frame then."""
        found = _cut(sight.frame, odds)
        colour = self._colour(sight)
        area = float(found.sum())
        fits = _mean(colour > 0, found) if self._tells > 0.3 else 1.0
        size = min(area, self._usual) / max(area, self._usual, 1.0)
        # Hidden or lost: nothing is learned, and it is looked for farther and farther from where it was last.
        if area < _LOST * self._usual or (self._gone and (size < 0.4 or fits < 0.6)):
            self._gone += 1
            self.mask, self.confidence = np.zeros_like(found) if self._gone > 1 else found, 0.0
            return
        self._gone, self._seen, self.mask = 0, found, found
        self.confidence = float(np.clip(fits * np.sqrt(size) * (0.5 + 0.5 * _mean(sight.flow.trust, found)), 0, 1))
        self._beside = 0.8 * self._beside + 0.2 * colours.histogram(sight.bins, ring(found))
        if self.confidence > 0.6:
            recent = 0.85 * self._inside + 0.15 * colours.histogram(sight.bins, found)
            self._inside = 0.5 * self._first + 0.5 * recent
            self._usual = 0.95 * self._usual + 0.05 * area

    def _colour(self, sight: Sight) -> Plane:
        return colours.odds(sight.bins, self._inside, self._beside)


class Sight:
    """A frame with all that the parts look at in it."""

    def __init__(self, before: UInt8[np.ndarray, "h w 3"], frame: UInt8[np.ndarray, "h w 3"], scenery: Scenery) -> None:
        lab = to_lab(frame)
        self.frame = frame
        self.flow = Flow(before, frame)
        self.bins = colours.binned(lab)
        self.unlike = scenery.unlike(lab)


def step(parts: Sequence[Part], sight: Sight) -> None:
    """Let all parts find themselves in the next frame; where two want a pixel, each has the other's odds against it."""
    expected = [part.expect(sight) for part in parts]
    for index, (part, odds) in enumerate(zip(parts, expected, strict=True)):
        rivals = [other for other_index, other in enumerate(expected) if other_index != index]
        part.settle(sight, odds - np.clip(np.max(rivals, axis=0), 0, _LIMIT) if rivals else odds)


def _cut(frame: UInt8[np.ndarray, "h w 3"], odds: Plane) -> Mask:
    """Return GrabCut's answer within what the witnesses leave open."""
    odds = cv2.GaussianBlur(odds.astype(np.float32), (0, 0), 0.8)
    likely = odds > 0
    if likely.sum() < 8:
        return np.zeros_like(likely)
    trimap = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[odds > 3.5], trimap[odds < -2.5] = cv2.GC_FGD, cv2.GC_BGD
    rows, columns = np.flatnonzero(likely.any(axis=1)), np.flatnonzero(likely.any(axis=0))
    margin = 6 + int(0.2 * max(np.ptp(rows), np.ptp(columns)))
    window = (
        slice(max(0, rows[0] - margin), rows[-1] + margin),
        slice(max(0, columns[0] - margin), columns[-1] + margin),
    )
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
