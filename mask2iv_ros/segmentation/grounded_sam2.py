"""GroundingDINO finds boxes by words, SAM 2 makes and tracks their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.base import Box, OnFrame, Prompt, Segmentation, Track
from mask2iv_ros.segmentation.checks import check_prompts, check_request
from mask2iv_ros.segmentation.detector import Detector
from mask2iv_ros.segmentation.sam2 import Sam2, Sam2Settings


@dataclass(frozen=True)
class GroundedSam2Settings(Sam2Settings):
    """Those of `sam2`, and the detector's.

    Attributes:
        detector: a folder or a hub id of transformers' GroundingDINO; "" is IDEA-Research/grounding-dino-tiny.
        box_threshold: least score of a box, 0 to 1.
        text_threshold: least score of a word to be in a box's phrase, 0 to 1.
    """

    detector: str = ""
    box_threshold: float = 0.35
    text_threshold: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("box_threshold", "text_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected a score from 0 to 1")


class GroundedSam2(Sam2):
    """SAM 2 that takes words, too: those of a prompt stand for the best box that they find.

    Confidence from words is the detector's score times SAM 2's own confidence.
    """

    name = "grounded_sam2"
    takes = frozenset({"points", "box", "words"})
    Settings = GroundedSam2Settings

    def __init__(self, settings: GroundedSam2Settings | None = None) -> None:
        super().__init__(settings)
        chosen = self.settings.detector or "IDEA-Research/grounding-dino-tiny"
        self._detector = Detector(chosen, self.settings, self.settings.box_threshold, self.settings.text_threshold)

    def candidates(self, image: UInt8[np.ndarray, "h w 3"], words: str) -> list[Box]:
        """Return what the words may mean; see `Finder.candidates`."""
        return self._detector.boxes(image, words)

    def segment(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h w"] | None
    ) -> Segmentation:
        """Segment one role; see `Sam2.segment`.

        Raises:
            Refused: also words that find nothing.
        """
        prompt = check_request(image, prompt, labels, self.takes)
        if not prompt.words:
            return super().segment(image, prompt, labels)
        found = self.candidates(image, prompt.words)
        answer = super().segment(image, self._boxed(found, prompt), labels)
        return Segmentation(answer.labels, answer.pixels, answer.confidence * found[0].score, several(found))

    def track(
        self, video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], on_frame: OnFrame | None = None
    ) -> Track:
        """Follow each prompt's thing; words are looked for in the first frame."""
        prompts = check_prompts(video, prompts, self.takes)
        boxed = [self._boxed(self.candidates(video[0], p.words), p) if p.words else p for p in prompts]
        return super().track(video, boxed, on_frame)

    def close(self) -> None:
        """Drop both networks."""
        super().close()
        self._detector.close()

    def _boxed(self, found: list[Box], prompt: Prompt) -> Prompt:
        if not found:
            raise nothing_found(prompt, self.settings.box_threshold)
        return Prompt(prompt.role, box=found[0].box)


def nothing_found(prompt: Prompt, threshold: float) -> Refused:
    """Return the refusal for words that nothing in the image answers."""
    return Refused(
        f"nothing in the image looks like {prompt.words!r} with a score of {threshold:g} or more; expected other words "
        f"for the {prompt.role.name.lower()}, clicked points, a box, or a lower box_threshold"
    )


def several(found: Sequence[Box]) -> str:
    """Return a note for an operator where words found more than one thing, or ""."""
    if len(found) < 2:
        return ""
    scores = f"{found[0].score:.2f} before {found[1].score:.2f}"
    return f"the words fit {len(found)} things, the best was taken ({scores}); click or say more to tell them apart"
