"""SAM 3 through transformers: masks by text, points or a box, and through videos by its tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from transformers import Sam3Model, Sam3Processor, Sam3TrackerVideoModel, Sam3TrackerVideoProcessor

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import check_image
from mask2iv_ros.segmentation.base import PROMPTED_ROLES, Box, OnFrame, Prompt, Segmentation, Track
from mask2iv_ros.segmentation.checks import (
    check_mask,
    check_prompts,
    check_request,
    followed_pieces,
    replace_role,
)
from mask2iv_ros.segmentation.detector import to_box
from mask2iv_ros.segmentation.grounded_sam2 import nothing_found, several
from mask2iv_ros.segmentation.hub_models import from_hub
from mask2iv_ros.segmentation.loading import ModelSettings, free
from mask2iv_ros.segmentation.presence import role_confidence

_WHAT = "segmentation back end 'sam3'"
_LICENCE = " (its page on the hub asks to accept a licence, then `hf auth login`)"
Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Sam3Settings(ModelSettings):
    """Weights are a folder or a hub id of transformers' SAM 3, facebook/sam3 if not set.

    Attributes:
        box_threshold: least score of what words find, 0 to 1.
    """

    box_threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.box_threshold <= 1:
            raise Refused(f"box_threshold is {self.box_threshold}; expected a score from 0 to 1")


@dataclass(frozen=True)
class _Found:
    box: Box
    mask: Mask


class Sam3:
    """SAM 3: words by its detector; points, boxes and videos by its tracker.

    Both are loaded when they are first asked for, from the same weights. Confidence of words is the
    detector's score; of points, boxes and videos the tracker's belief that the thing is in the frame
    times the mean probability of its mask's pixels.
    """

    name = "sam3"
    needs_prompt = True
    takes = frozenset({"points", "box", "words"})
    Settings = Sam3Settings

    def __init__(self, settings: Sam3Settings | None = None) -> None:
        self.settings = settings or Sam3Settings()
        self._detector: tuple[Sam3Model, Sam3Processor] | None = None
        self._tracker: tuple[Sam3TrackerVideoModel, Sam3TrackerVideoProcessor] | None = None

    def candidates(self, image: UInt8[np.ndarray, "h w 3"], words: str) -> list[Box]:
        """Return what the words may mean; see `Finder.candidates`."""
        return [found.box for found in self._find(image, words)]

    def segment(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h w"] | None
    ) -> Segmentation:
        """Segment one role; see `Segmenter.segment`.

        Raises:
            Refused: also words that find nothing, masks that are empty or everything, missing weights.
        """
        prompt = check_request(image, prompt, labels, self.takes)
        note = ""
        if prompt.words:
            found = self._named(image, prompt)
            mask, confidence, note = found[0].mask, found[0].box.score, several([f.box for f in found])
        else:
            track = self._through(image[None], [prompt.role], [prompt], None)
            mask = track.labels[0] == prompt.role
            confidence = float(track.confidence[0, PROMPTED_ROLES.index(prompt.role)])
        check_mask(mask, prompt.role)
        return Segmentation(replace_role(labels, prompt.role, mask), int(mask.sum()), confidence, note)

    def track(
        self, video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], on_frame: OnFrame | None = None
    ) -> Track:
        """Follow each prompt's thing; words are looked for in the first frame."""
        prompts = check_prompts(video, prompts, self.takes)
        said = [self._named(video[0], prompt)[0].mask if prompt.words else prompt for prompt in prompts]
        return self._through(video, [prompt.role for prompt in prompts], said, on_frame)

    def follow(
        self, video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "h w"], on_frame: OnFrame | None = None
    ) -> Track:
        """Follow a known label map, each large piece of a role for itself."""
        found = followed_pieces(video, labels)
        return self._through(video, [role for role, _ in found], [piece for _, piece in found], on_frame)

    def close(self) -> None:
        """Drop the networks; the next request loads what it needs."""
        self._detector = self._tracker = None
        free()

    def _load[M, P](self, model: type[M], processor: type[P]) -> tuple[M, P]:
        weights = self.settings.weights or "facebook/sam3"
        speaks = from_hub(processor, weights, _WHAT, _LICENCE)
        return from_hub(model, weights, _WHAT, _LICENCE).to(self.settings.torch_device).eval(), speaks

    def _named(self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt) -> list[_Found]:
        found = self._find(image, prompt.words)
        if not found:
            raise nothing_found(prompt, self.settings.box_threshold)
        return found

    def _find(self, image: UInt8[np.ndarray, "h w 3"], words: str) -> list[_Found]:
        check_image(image)
        Prompt(Role.OBJECT, words=words)
        if self._detector is None:
            self._detector = self._load(Sam3Model, Sam3Processor)
        model, processor = self._detector
        inputs = processor(images=image, text=words.strip(), return_tensors="pt").to(self.settings.torch_device)
        with self.settings.computing():
            outputs = model(**inputs)
        answer = processor.post_process_instance_segmentation(
            outputs, threshold=self.settings.box_threshold, target_sizes=[image.shape[:2]]
        )[0]
        scores, masks = answer["scores"].float().tolist(), answer["masks"].cpu().numpy() > 0
        found = []
        for corners, score, mask in zip(answer["boxes"].float().tolist(), scores, masks, strict=True):
            box = to_box(corners, image.shape[:2])
            if box is not None and mask.any():
                found.append(_Found(Box(box, score, words), mask))
        return sorted(found, key=lambda one: -one.box.score)

    def _through(
        self,
        video: UInt8[np.ndarray, "t h w 3"],
        roles: Sequence[Role],
        said: Sequence[Prompt | Mask],
        on_frame: OnFrame | None,
    ) -> Track:
        """Follow prompts or masks of the first frame; frames are given one by one and leave memory again."""
        if self._tracker is None:
            self._tracker = self._load(Sam3TrackerVideoModel, Sam3TrackerVideoProcessor)
        model, processor = self._tracker
        device, size = self.settings.torch_device, video.shape[1:3]
        labels = np.zeros(video.shape[:3], np.uint8)
        confidence = np.full((len(video), len(PROMPTED_ROLES)), np.nan)
        session = processor.init_video_session(inference_device=device, inference_state_device="cpu")
        keep = max(model.config.num_maskmem, model.config.max_object_pointers_in_encoder) + 1
        with self.settings.computing():
            for index, frame in enumerate(video):
                pixels = processor(images=frame, device=device, return_tensors="pt").pixel_values[0]
                if index == 0:
                    for number, one in enumerate(said):
                        _say(processor, session, number, one, size)
                    session.obj_with_new_inputs = list(range(len(said)))
                output = model(inference_session=session, frame=pixels)
                logits = processor.post_process_masks([output.pred_masks], original_sizes=[size], binarize=False)[0]
                sure = logits[:, 0].float().sigmoid().cpu().numpy()  # [n, h, w]
                seen = output.object_score_logits.float().sigmoid().flatten().tolist()
                for role, share in zip(roles, sure, strict=True):
                    labels[index][share > 0.5] = role
                confidence[index] = role_confidence(roles, sure, seen)
                _forget(session, index - keep + 1)
                if on_frame:
                    on_frame(index)
        return Track(labels, confidence)


def _say(processor: Sam3TrackerVideoProcessor, session: Any, number: int, said: Prompt | Mask, size: tuple) -> None:
    if isinstance(said, Prompt):
        inputs: dict[str, Any] = {}
        if len(said.points):
            inputs["input_points"] = [[said.points.tolist()]]
            inputs["input_labels"] = [[said.inside.astype(int).tolist()]]
        if said.box is not None:
            x, y, width, height = said.box
            inputs["input_boxes"] = [[[x, y, x + width, y + height]]]
        processor.add_inputs_to_inference_session(session, 0, number, original_size=size, **inputs)
    else:
        session.video_height, session.video_width = size
        processor.add_inputs_to_inference_session(session, 0, number, input_masks=[said])


def _forget(session: Any, before: int) -> None:
    """Drop what frames before this one have left in memory: the tracker looks back only so far."""
    for kept in [
        session.processed_frames,
        *(o["non_cond_frame_outputs"] for o in session.output_dict_per_obj.values()),
    ]:
        for frame in [index for index in kept if index < before]:
            del kept[frame]
