"""GrabCut at one working size: seeds, cuts, and how good a cut is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import iou
from mask2iv_ros.segmentation import colours, seeds
from mask2iv_ros.segmentation.base import Prompt
from mask2iv_ros.segmentation.contour import clearness, to_lab

_SQUARE = np.ones((3, 3), np.uint8)
_MOVED = 0.2  # of a box: above, what is unlike the empty scene in it is probably what is meant
_HUES = 2.0  # what a colour counts beside motion: what the arm uncovers is unlike the median, too
_OPENWORK = 20  # by which holes are smaller in what is made of rods
_ROUNDS = 3  # of learning a box's colours and looking again what has them
_CLICK = 2  # radius in pixels about a click that is taken as said


@dataclass(frozen=True)
class GrabCutSettings:
    """How GrabCut is seeded, judged and refined.

    Attributes:
        search_sides: longer side in pixels of the reduced image on which the seeds compete; the next
            is tried only where the one before found nothing, as thin things vanish when reduced.
        refine_side: longer side on which the winner's contour is cut again.
        iterations: GrabCut iterations per cut.
        tolerances: colour distances (CIE Lab) within which a seed grows from the clicks.
        unusual: log odds beyond which a colour is surely the box's, or surely its surroundings'.
        radii: discs about the clicks, as shares of the longer side: texture stops growth early.
        track_side: longer side on which videos are followed.
        faintest: below this clearness (0 to 1) there is no contour, only a cut through a surface.
        largest: share of the image above which a result is everything, not a role.
        smallest_hole: holes below this share of the mask are highlights and prints; they are filled.
    """

    search_sides: tuple[int, ...] = (256, 480)
    refine_side: int = 640
    iterations: int = 2
    tolerances: tuple[float, ...] = (8.0, 16.0, 28.0, 45.0)
    unusual: float = 1.5
    radii: tuple[float, ...] = (0.04, 0.1, 0.2)
    track_side: int = 384
    faintest: float = 0.1
    largest: float = 0.9
    smallest_hole: float = 0.03

    def __post_init__(self) -> None:
        for name in ("search_sides", "tolerances", "radii"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise Refused(f"{name} is {getattr(self, name)}; expected positive numbers, at least one")
        for name in ("refine_side", "iterations", "track_side"):
            if getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.unusual <= 0:
            raise Refused(f"unusual is {self.unusual}; expected a positive number")
        for name in ("faintest", "largest", "smallest_hole"):
            if not 0 < getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected a share between 0 and 1")


@dataclass(frozen=True)
class Candidate:
    """A mask, how clear its contour is, and its score in the competition."""

    mask: Bool[np.ndarray, "h w"]
    clearness: float
    score: float


class Cutter:
    """An image and its prompt, reduced to a working size.

    Args:
        image: RGB.
        prompt: that fits it.
        side: the working size's longer side.
        settings: of seeds and cuts.
        unlike: where the image belongs to a clip of a fixed camera, how unlike the empty scene it is, 0 to 1.
    """

    def __init__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        prompt: Prompt,
        side: int,
        settings: GrabCutSettings,
        unlike: Float[np.ndarray, "h2 w2"] | None = None,
    ) -> None:
        height, width = image.shape[:2]
        factor = min(1.0, side / max(height, width))
        self.settings = settings
        self.size = max(1, round(height * factor)), max(1, round(width * factor))
        small = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA) if factor < 1 else image
        self.rgb = cv2.bilateralFilter(small, 5, 20, 3)  # texture and noise off, edges kept
        self.lab = to_lab(self.rgb)
        points = np.minimum((prompt.points * factor).astype(int), np.array(self.size[::-1]) - 1)
        self.inside, self.outside = points[prompt.inside], points[~prompt.inside]
        self.unlike = None if unlike is None else cv2.resize(unlike, self.size[::-1])
        self.box = None if prompt.box is None else np.array(prompt.box) * factor
        self.allowed = np.ones(self.size, np.bool_) if self.box is None else seeds.rectangle(self.size, self.box)

    def seeds(self) -> list[Bool[np.ndarray, "h w"]]:
        """Return the first guesses, without what is nearer to a click outside than to one inside."""
        if self.box is not None:
            found = [
                *seeds.boxed(self.size, self.box),
            ]
        else:
            found = [
                *seeds.grown(self.lab, self.inside, self.settings.tolerances),
                *seeds.discs(self.size, self.inside, self.settings.radii),
            ]
        if len(self.inside) and len(self.outside):
            near = seeds.nearer(self.size, self.inside, self.outside)
            found = [seed & near for seed in found]
        return found

    def cut(self, seed: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"] | None:
        """Return GrabCut's answer to one seed, made one piece with the clicks; None if it is empty."""
        window = self._window(seed if self.box is None else self.allowed)
        trimap = np.where(seed, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        trimap[self._rim(window)] = cv2.GC_BGD
        if self.box is not None:
            strict = np.where(self.allowed, trimap, cv2.GC_BGD).astype(np.uint8)
            found = self._grabcut(strict, window)
            if found is not None and self.answers(found):
                return found
            # A box that cuts into the role makes its edge expensive, and nothing is left: let the
            # cut go beyond the box, and clip it.
        return self._grabcut(trimap, window)

    def moving(self) -> Bool[np.ndarray, "h w"] | None:
        """Return what in the box moves, and what has its colours; None if nothing there does.

        What is thin or in pieces (a robot's rods) keeps its place here: free cuts leave it out.
        """
        if self.box is None or not self._has_moved():
            return None
        bins, about = colours.binned(self.lab), seeds.ring(self.allowed)
        motion = 4 * self.unlike - 2
        inside = self.allowed & (motion > 0)
        for _ in range(_ROUNDS):
            beside = about | (self.allowed & ~inside)
            odds = motion + _HUES * colours.odds(bins, colours.histogram(bins, inside), colours.histogram(bins, beside))
            odds = cv2.GaussianBlur(odds.astype(np.float32), (0, 0), 0.8)
            inside = self.allowed & (odds > 0)
        trimap = np.where(odds > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        sure = self.settings.unusual
        trimap[odds > sure], trimap[(odds < -sure) | ~self.allowed] = cv2.GC_FGD, cv2.GC_BGD
        return self._grabcut(trimap, self._window(self.allowed), thin=True)

    def _has_moved(self) -> bool:
        """Return whether a fair part of the box will be seen to leave it, or was seen to come."""
        return self.unlike is not None and float((self.unlike > 0.5)[self.allowed].mean()) > _MOVED

    def refine(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """Return the mask with the contour cut again within a band as wide as the search was coarse."""
        reach = 1 + 2 * max(1, round(max(self.size) / self.settings.search_sides[0]))
        band = np.ones((reach, reach), np.uint8)
        inner = cv2.erode(mask.astype(np.uint8), band) > 0
        outer = cv2.dilate(mask.astype(np.uint8), band) > 0
        trimap = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        trimap[inner], trimap[~outer] = cv2.GC_FGD, cv2.GC_BGD
        refined = self._grabcut(trimap, self._window(mask))
        return mask if refined is None else refined

    def judge(self, mask: Bool[np.ndarray, "h w"]) -> Candidate:
        """Return the mask with its clearness and its score in the competition."""
        clear = clearness(self.lab, mask)
        pieces = cv2.connectedComponents(mask.astype(np.uint8))[0] - 1
        score = clear * np.sqrt(self.span(mask) * (1 - mask.mean()) / pieces)
        return Candidate(mask, clear, score)

    def answers(self, mask: Bool[np.ndarray, "h w"]) -> bool:
        """Return whether the mask is more than the clicks' own pixels, or spans a fair part of the box."""
        if self.box is None:
            return mask.sum() >= 1.5 * seeds.stamp(self.size, self.inside, _CLICK).sum()
        return self.span(mask) >= 0.25

    def span(self, mask: Bool[np.ndarray, "h w"]) -> float:
        """Return the IoU of the mask's own bounding box and the prompt's; 1 without one."""
        if self.box is None:
            return 1.0
        extent = np.array(cv2.boundingRect(mask.astype(np.uint8)), np.float64)
        return iou(seeds.rectangle(self.size, extent), self.allowed)

    def _window(self, mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return slice(0, self.size[0]), slice(0, self.size[1])
        margin = max(8, int(0.35 * max(np.ptp(rows), np.ptp(columns))))
        return (
            slice(max(0, rows[0] - margin), min(self.size[0], rows[-1] + margin + 1)),
            slice(max(0, columns[0] - margin), min(self.size[1], columns[-1] + margin + 1)),
        )

    def _rim(self, window: tuple[slice, slice]) -> Bool[np.ndarray, "h w"]:
        """Return all but the window's interior; where the image itself ends, the role may go on."""
        rows, columns = window
        top, left = rows.start + (rows.start > 0), columns.start + (columns.start > 0)
        bottom, right = rows.stop - (rows.stop < self.size[0]), columns.stop - (columns.stop < self.size[1])
        rim = np.ones(self.size, np.bool_)
        rim[top:bottom, left:right] = False
        return rim

    def _grabcut(
        self, trimap: UInt8[np.ndarray, "h w"], window: tuple[slice, slice], thin: bool = False
    ) -> Bool[np.ndarray, "h w"] | None:
        trimap[seeds.stamp(self.size, self.inside, _CLICK)] = cv2.GC_FGD
        trimap[seeds.stamp(self.size, self.outside, _CLICK)] = cv2.GC_BGD
        local = np.ascontiguousarray(trimap[window])
        foreground = (local == cv2.GC_FGD) | (local == cv2.GC_PR_FGD)
        if not foreground.any():
            return None
        if not foreground.all():
            cv2.setRNGSeed(0)  # GrabCut's k-means draws from OpenCV's global generator
            models: tuple[Float[np.ndarray, "1 65"], ...] = (np.zeros((1, 65)), np.zeros((1, 65)))
            rgb = np.ascontiguousarray(self.rgb[window])
            cv2.grabCut(rgb, local, None, *models, self.settings.iterations, cv2.GC_INIT_WITH_MASK)
        mask = np.zeros(self.size, np.bool_)
        mask[window] = (local == cv2.GC_FGD) | (local == cv2.GC_PR_FGD)
        return self._tidy(mask & self.allowed, thin)

    def _tidy(self, mask: Bool[np.ndarray, "h w"], thin: bool) -> Bool[np.ndarray, "h w"] | None:
        """Return the pieces under the clicks (or the large ones of a box), small holes filled."""
        opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _SQUARE) > 0
        mask = (mask if thin else opened) | (mask & seeds.stamp(self.size, self.inside, _CLICK))
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
        if len(self.inside):
            kept = pieces[self.inside[:, 1], self.inside[:, 0]]
        else:
            areas = stats[1:, cv2.CC_STAT_AREA]
            kept = 1 + np.flatnonzero(areas >= 0.1 * areas.max(initial=0))
        mask = np.isin(pieces, kept[kept > 0])
        if not mask.any():
            return None
        share = self.settings.smallest_hole / (_OPENWORK if thin else 1)
        _, gaps, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
        small = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] < share * mask.sum())
        said = gaps[self.outside[:, 1], self.outside[:, 0]]
        return mask | np.isin(gaps, np.setdiff1d(small, said))


def resize_mask(mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "h2 w2"]:
    """Return the mask at another size, its contour smooth."""
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
