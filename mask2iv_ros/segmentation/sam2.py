"""SAM 2 from points or a box, and through videos by its own memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation.base import PROMPTED_ROLES, OnFrame, Prompt, Segmentation, Track
from mask2iv_ros.segmentation.checks import (
    check_mask,
    check_prompts,
    check_request,
    followed_pieces,
    replace_role,
)
from mask2iv_ros.segmentation.loading import ModelSettings, free
from mask2iv_ros.segmentation.presence import role_confidence

try:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from mask2iv_ros.segmentation import sam2_model
except ModuleNotFoundError as error:
    raise Refused(
        f"segmentation back ends 'sam2' and 'grounded_sam2' need the package {error.name!r}; "
        "install the extra sam2: uv pip install -c constraints.txt '.[sam2]'"
    ) from error

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Sam2Settings(ModelSettings):
    """Weights are a .pt file of the sam2 package or one of its hub ids, facebook/sam2.1-hiera-small if not set.

    Attributes:
        config: the YAML file of weights that bear none of the package's file names; "" for those that do.
    """

    config: str = ""


class Sam2:
    """SAM 2: points, a box or both; several prompts are followed through a video side by side.

    Confidence of a frame is the quality (IoU) that the network predicts for its mask; of a video's
    frame the probability that the thing is in it, times the mean probability of its mask's pixels.

    The network is loaded at the first request. Videos wait in main memory and only frames within its
    lookback keep their features, so that memory does not grow with a video's length.
    """

    name = "sam2"
    needs_prompt = True
    takes = frozenset({"points", "box"})
    Settings = Sam2Settings
    default_weights = "facebook/sam2.1-hiera-small"

    def __init__(self, settings: Sam2Settings | None = None) -> None:
        self.settings = settings or self.Settings()
        self._model: sam2_model.MemoryVideoPredictor | None = None
        self._predictor: SAM2ImagePredictor | None = None
        self._image: UInt8[np.ndarray, "h w 3"] | None = None

    def segment(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h w"] | None
    ) -> Segmentation:
        """Segment one role; see `Segmenter.segment`. Further prompts on the same image cost a fraction of the first.

        Raises:
            Refused: also weights that are missing or do not fit, and masks that are empty or everything.
        """
        prompt = check_request(image, prompt, labels, self.takes)
        predictor = self._looking_at(image)
        with self.settings.computing():
            masks, scores, _ = predictor.predict(**_arguments(prompt), multimask_output=_is_ambiguous(prompt))
        best = int(np.argmax(scores))
        mask = check_mask(masks[best] > 0, prompt.role)
        return Segmentation(
            replace_role(labels, prompt.role, mask), int(mask.sum()), float(np.clip(scores[best], 0, 1))
        )

    def track(
        self, video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], on_frame: OnFrame | None = None
    ) -> Track:
        """Follow each prompt's thing by SAM 2's memory; see `Segmenter.track`."""
        prompts = check_prompts(video, prompts, self.takes)
        model = self._loaded()

        def say(state: dict[str, Any]) -> None:
            for number, prompt in enumerate(prompts):
                said = _arguments(prompt)
                box = {} if said["box"] is None else {"box": said["box"]}
                points = {} if said["point_coords"] is None else {"points": said["point_coords"]}
                points |= {} if said["point_labels"] is None else {"labels": said["point_labels"]}
                model.add_new_points_or_box(state, frame_idx=0, obj_id=number, **points, **box)

        return self._through(video, [prompt.role for prompt in prompts], say, on_frame)

    def follow(
        self, video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "h w"], on_frame: OnFrame | None = None
    ) -> Track:
        """Follow a known label map, each large piece of a role for itself."""
        found = followed_pieces(video, labels)
        model = self._loaded()

        def say(state: dict[str, Any]) -> None:
            for number, (_, piece) in enumerate(found):
                model.add_new_mask(state, frame_idx=0, obj_id=number, mask=piece)

        return self._through(video, [role for role, _ in found], say, on_frame)

    def close(self) -> None:
        """Drop the network and the image's features; the next request loads it again."""
        self._model = self._predictor = self._image = None
        free()

    def _loaded(self) -> sam2_model.MemoryVideoPredictor:
        if self._model is None:
            weights = self.settings.weights or self.default_weights
            self._model = sam2_model.load(weights, self.settings.config, self.settings.torch_device)
        return self._model

    def _looking_at(self, image: UInt8[np.ndarray, "h w 3"]) -> SAM2ImagePredictor:
        """Return a predictor that has looked at the image; it costs most of a request, and clicks come in rows."""
        if self._predictor is None:
            model = self._loaded()
            self._predictor = SAM2ImagePredictor(model)
            # The package has 1024 pixels written in here, whatever the configuration says.
            self._predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
        if self._image is None or not np.array_equal(self._image, image):
            self._image = None
            with self.settings.computing():
                self._predictor.set_image(image)
            self._image = image.copy()
        return self._predictor

    def _through(
        self,
        video: UInt8[np.ndarray, "t h w 3"],
        roles: Sequence[Role],
        say: Callable[[dict[str, Any]], None],
        on_frame: OnFrame | None,
    ) -> Track:
        model = self._loaded()
        labels = np.zeros(video.shape[:3], np.uint8)
        confidence = np.full((len(video), len(PROMPTED_ROLES)), np.nan)
        with self.settings.computing():
            state = model.init_state(video)
            say(state)
            for index, numbers, logits in model.propagate_in_video(state, start_frame_idx=0):
                sure = logits[:, 0].float().sigmoid().cpu().numpy()  # [n, h, w]
                seen = [_presence(state, number, index) for number in range(len(numbers))]
                for role, share in zip(roles, sure, strict=True):
                    labels[index][share > 0.5] = role
                confidence[index] = role_confidence(roles, sure, seen)
                model.forget(state, index - model.lookback + 1)
                if index == 0:
                    for role in dict.fromkeys(roles):
                        check_mask(labels[0] == role, role)
                if on_frame:
                    on_frame(index)
        return Track(labels, confidence)


def _presence(state: dict[str, Any], number: int, index: int) -> float:
    """Return the network's belief that a thing is in the frame."""
    outputs = state["output_dict_per_obj"][number]
    found = outputs["cond_frame_outputs"].get(index) or outputs["non_cond_frame_outputs"][index]
    return float(torch.sigmoid(found["object_score_logits"].float()).mean())


def _arguments(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as SAM 2 wants it: corners of the box, 1 for inside and 0 for outside."""
    box = None if prompt.box is None else np.array(prompt.box, np.float32)
    return {
        "point_coords": prompt.points.astype(np.float32) if len(prompt.points) else None,
        "point_labels": prompt.inside.astype(np.int32) if len(prompt.points) else None,
        "box": None if box is None else np.concatenate([box[:2], box[:2] + box[2:]]),
    }


def _is_ambiguous(prompt: Prompt) -> bool:
    """Return whether the prompt may mean a thing or a part of it: SAM 2 then offers three masks."""
    return prompt.box is None and len(prompt.points) == 1
