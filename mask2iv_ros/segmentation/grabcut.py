"""OpenCV GrabCut from clicks or a box, and dense optical flow through a video: no weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou
from mask2iv_ros.segmentation import seeds
from mask2iv_ros.segmentation.base import PROMPTED_ROLES, OnFrame, Prompt, Segmentation, Track
from mask2iv_ros.segmentation.checks import check_prompts, check_request, followed_pieces, replace_role
from mask2iv_ros.segmentation.contour import to_lab
from mask2iv_ros.segmentation.cutting import Candidate, Cutter, GrabCutSettings, resize_mask
from mask2iv_ros.segmentation.propagation import Part, Plane, Scenery, Sight, step

_FILLS = 0.75  # of a box: below, a cut by edges has probably left parts out
Mask = Bool[np.ndarray, "h w"]


class GrabCut:
    """Segments what is under the clicks or in the box, one role at a time.

    GrabCut finds what its seed suggests, so a prompt is tried with several: regions grown from the
    clicks at rising tolerances, discs for textured things; the box, a smaller one, two ellipses,
    what in it has colours that are not about it.
    Each is cut within its own neighbourhood. The winner has the clearest contour, in few pieces, not
    too large, and as wide and high as the box; its contour is then cut again at a finer resolution.

    Confidence is agreement x clearness. Agreement: how much the other seeds' masks are like the
    winner's (IoU, weighted by their clearness). Clearness: how different the colours on both sides
    of the contour are (0 the same, 1 distinct everywhere). It says how well the picture supports
    this mask, not that it is the thing the operator meant: one click on one colour of a many-coloured
    thing can be confidently just that part. It is low on noise and on faint things, but on 100 prompts
    of rendered scenes it told good masks (IoU above 0.8) from others no better than chance (AUC 0.51):
    look at the overlay, do not accept by a threshold.
    """

    name = "grabcut"
    needs_prompt = True
    takes = frozenset({"points", "box"})
    Settings = GrabCutSettings

    def __init__(self, settings: GrabCutSettings | None = None) -> None:
        self.settings = settings or GrabCutSettings()

    def segment(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h w"] | None
    ) -> Segmentation:
        """Segment one role; see `Segmenter.segment`. The same request gives the same answer.

        Raises:
            Refused: the request does not fit the image, or no contour was found, or one about everything.
        """
        prompt = check_request(image, prompt, labels, self.takes)
        mask, confidence = self._find(image, prompt, None)
        return Segmentation(replace_role(labels, prompt.role, mask), int(mask.sum()), confidence)

    def track(
        self, video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], on_frame: OnFrame | None = None
    ) -> Track:
        """Segment the first frame and follow each prompt's part for itself; see `Segmenter.track` and `propagation`.

        The whole clip is looked at for the first frame, too: in a box, what differs from its median
        is probably what is meant.

        Confidence of a role is the mean of its parts': how well colours fit, how like the usual the
        area is and how far the flow agrees. 0 says hidden or lost; a lost part is looked for.
        """
        prompts = check_prompts(video, prompts, self.takes)
        small = self._small(video)
        scenery = Scenery.of(small)
        unlike = scenery.unlike(to_lab(small[0])) if scenery.trust > 0.5 else None
        masks = [self._find(video[0], prompt, unlike)[0] for prompt in prompts]
        return self._through(video, small, scenery, [p.role for p in prompts], masks, on_frame)

    def follow(
        self, video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "h w"], on_frame: OnFrame | None = None
    ) -> Track:
        """Follow a known label map, each larger piece of a role for itself; confidence as in `track`."""
        found = followed_pieces(video, labels)
        small = self._small(video)
        roles, masks = [role for role, _ in found], [piece for _, piece in found]
        return self._through(video, small, Scenery.of(small), roles, masks, on_frame)

    def close(self) -> None:
        """Do nothing: GrabCut keeps nothing between calls."""

    def _small(self, video: UInt8[np.ndarray, "t h w 3"]) -> Reduced:
        return Reduced(video, self.settings.track_side)

    def _through(
        self,
        video: UInt8[np.ndarray, "t h w 3"],
        small: Reduced,
        scenery: Scenery,
        roles: Sequence[Role],
        masks: Sequence[Mask],
        on_frame: OnFrame | None,
    ) -> Track:
        """Follow masks of the first frame; of two that overlap there, the later one has the pixels."""
        owned = [m & ~np.any([*masks[i + 1 :], np.zeros_like(m)], axis=0) for i, m in enumerate(masks)]
        before = small[0]
        parts = [Part(before, resize_mask(mask, before.shape[:2]), scenery) for mask in owned]
        labels = np.zeros(video.shape[:3], np.uint8)
        confidence = np.full((len(video), len(PROMPTED_ROLES)), np.nan)
        for index in range(len(video)):
            if index:
                frame = small[index]
                step(parts, Sight(before, frame, scenery))
                before = frame
                owned = [resize_mask(part.mask, video.shape[1:3]) for part in parts]
            for role, mask in zip(roles, owned, strict=True):
                labels[index][mask] = role
            for column, role in enumerate(PROMPTED_ROLES):
                if role in roles:
                    known = [part.confidence for part, own in zip(parts, roles, strict=True) if own == role]
                    confidence[index, column] = float(np.mean(known))
            if on_frame:
                on_frame(index)
        return Track(labels, confidence)

    def _find(self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt, unlike: Plane | None) -> tuple[Mask, float]:
        """Return the mask that the prompt means, and its confidence."""
        winner, agreement = self._search(image, prompt, unlike)
        fine = Cutter(image, prompt, self.settings.refine_side, self.settings)
        mask = resize_mask(fine.refine(resize_mask(winner.mask, fine.size)), image.shape[:2])
        if prompt.box is not None:
            mask &= seeds.rectangle(mask.shape, np.array(prompt.box))  # the reduced one is up to a pixel larger
        mask[prompt.points[prompt.inside, 1], prompt.points[prompt.inside, 0]] = True
        mask[prompt.points[~prompt.inside, 1], prompt.points[~prompt.inside, 0]] = False
        return mask, agreement * winner.clearness

    def _search(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt, unlike: Plane | None
    ) -> tuple[Candidate, float]:
        """Return the winner and how far the other seeds agree with it."""
        settings, role = self.settings, prompt.role.name.lower()
        for side in settings.search_sides:
            frame = Cutter(image, prompt, side, settings, unlike)
            masks = [mask for seed in frame.seeds() if (mask := frame.cut(seed)) is not None]
            candidates = [frame.judge(mask) for mask in masks if mask.mean() <= settings.largest]
            clear = [c for c in candidates if c.clearness >= settings.faintest and frame.answers(c.mask)]
            if clear:
                winner = max(clear, key=lambda c: c.score)
                if frame.span(winner.mask) < _FILLS:
                    fine = Cutter(image, prompt, settings.refine_side, settings, unlike)
                    if (moving := fine.moving()) is not None and fine.span(moving) > frame.span(winner.mask):
                        return fine.judge(moving), _agreement(winner, candidates)
                return winner, _agreement(winner, candidates)
        if masks and not candidates:
            raise Refused(
                f"the {role} found is {100 * masks[0].mean():.0f} % of the image; expected at most "
                f"{100 * settings.largest:.0f} %: click also on what is outside of it, or give a box"
            )
        clearest = max((c.clearness for c in candidates), default=0.0)
        raise Refused(
            f"no {role} stands out at the prompt: the clearest contour has {clearest:.2f} of 1; expected at least "
            f"{settings.faintest:g}, about more than the clicks and a fair part of the box: prompt again"
        )


def _agreement(winner: Candidate, candidates: list[Candidate]) -> float:
    """Return the mean IoU of the other candidates with the winner, weighted by clearness; 0 without others."""
    others = [c for c in candidates if c is not winner]
    likeness = sum(c.clearness * iou(winner.mask, c.mask) for c in others)
    return float(likeness / max(sum(c.clearness for c in others), 1e-9))


class Reduced(Sequence):
    """A video's frames at a working size, each reduced when it is asked for: long videos stay out of memory."""

    def __init__(self, video: UInt8[np.ndarray, "t h w 3"], side: int) -> None:
        self._video = video
        height, width = video.shape[1:3]
        factor = min(1.0, side / max(height, width))
        self.size = max(1, round(height * factor)), max(1, round(width * factor))

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h2 w2 3"]:
        frame = np.ascontiguousarray(self._video[index])
        return cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA)
