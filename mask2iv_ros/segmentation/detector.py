"""GroundingDINO: boxes of what a text means."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from mask2iv_ros.masks import Role
from mask2iv_ros.scene import check_image
from mask2iv_ros.segmentation.base import SMALLEST_BOX, Box, Prompt
from mask2iv_ros.segmentation.hub_models import from_hub
from mask2iv_ros.segmentation.loading import ModelSettings, free


class Detector:
    """Finds boxes by text.

    Args:
        weights: a folder or a hub id of transformers' GroundingDINO (or another zero-shot detector).
        settings: device and precision; its weights are another network's.
        box_threshold: least score, 0 to 1.
        text_threshold: least score of a word to be in a box's phrase.
    """

    def __init__(self, weights: str, settings: ModelSettings, box_threshold: float, text_threshold: float) -> None:
        self.weights, self.settings = weights, settings
        self.box_threshold, self.text_threshold = box_threshold, text_threshold
        self._model = self._processor = None

    def boxes(self, image: UInt8[np.ndarray, "h w 3"], words: str) -> list[Box]:
        """Return what the words may mean, best first, each box cut at the image's border.

        Raises:
            Refused: a bad image, words that `Prompt` refuses, or weights that are missing.
        """
        check_image(image)
        Prompt(Role.OBJECT, words=words)
        self._load()
        # The network was trained on lower-case phrases that end in a full stop.
        text = words.strip().lower().rstrip(".") + "."
        inputs = self._processor(images=image, text=text, return_tensors="pt").to(self.settings.torch_device)
        with self.settings.computing():
            outputs = self._model(**inputs)
        found = self._processor.post_process_grounded_object_detection(
            outputs,
            inputs.input_ids,
            threshold=self.box_threshold,
            text_threshold=self.text_threshold,
            target_sizes=[image.shape[:2]],
        )[0]
        size = image.shape[:2]
        # Where nothing was found, the processor still gives one phrase.
        each = zip(
            found["boxes"].float().tolist(), found["scores"].float().tolist(), found["text_labels"], strict=False
        )
        boxes = [Box(box, score, phrase) for c, score, phrase in each if (box := to_box(c, size)) is not None]
        return sorted(boxes, key=lambda box: -box.score)

    def close(self) -> None:
        """Drop the network; the next request loads it again."""
        self._model = self._processor = None
        free()

    def _load(self) -> None:
        if self._model is None:
            what = "the detector of segmentation back end 'grounded_sam2'"
            self._processor = from_hub(AutoProcessor, self.weights, what)
            model = from_hub(AutoModelForZeroShotObjectDetection, self.weights, what)
            self._model = model.to(self.settings.torch_device).eval()


def to_box(corners: list[float], size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom as a prompt's box inside of an image (height, width); None if too small."""
    height, width = size
    left, top = max(0, round(corners[0])), max(0, round(corners[1]))
    right, bottom = min(width, round(corners[2])), min(height, round(corners[3]))
    if min(right - left, bottom - top) < SMALLEST_BOX:
        return None
    return left, top, right - left, bottom - top
