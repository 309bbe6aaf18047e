"""Labels that come from elsewhere: a robot's own perception, the stand-in camera, a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, check_labels, resize_labels
from mask2iv_ros.scene import check_image
from mask2iv_ros.segmentation.base import OnFrame, Prompt, Segmentation, Track


@dataclass(frozen=True)
class ExternalSettings:
    """Nothing to set."""


class External:
    """Takes the given label map at its word and brings it to the image's size by nearest neighbour.

    Confidence is always 1.0: whoever made the labels answers for them.
    """

    name = "external"
    needs_prompt = False
    takes: frozenset[str] = frozenset()
    Settings = ExternalSettings

    def __init__(self, settings: ExternalSettings | None = None) -> None:
        self.settings = settings or ExternalSettings()

    def segment(
        self, image: UInt8[np.ndarray, "h w 3"], prompt: Prompt | None, labels: UInt8[np.ndarray, "h2 w2"] | None
    ) -> Segmentation:
        """Return the given labels at the image's size; `pixels` counts interactor and object together.

        Raises:
            Refused: a prompt was given, or labels were not, or they hold a value that is no role.
        """
        check_image(image)
        if prompt is not None:
            raise Refused("segmentation back end 'external' takes no prompts; use 'grabcut' or 'sam2' for them")
        if labels is None:
            raise Refused("segmentation back end 'external' got no label map; expected one from another node or a file")
        if labels.ndim != 2 or not labels.size:
            raise Refused(f"label map has shape {labels.shape}; expected one channel (h, w)")
        resized = resize_labels(check_labels(labels), image.shape[:2])
        return Segmentation(resized, int(np.isin(resized, (Role.INTERACTOR, Role.OBJECT)).sum()), 1.0)

    def track(
        self, video: UInt8[np.ndarray, "t h w 3"], prompts: Sequence[Prompt], on_frame: OnFrame | None = None
    ) -> Track:
        """Refuse: whoever makes the labels makes them for every frame."""
        raise Refused("segmentation back end 'external' takes no prompts; use 'grabcut' or 'sam2' for them")

    def follow(
        self,
        video: UInt8[np.ndarray, "t h w 3"],
        labels: UInt8[np.ndarray, "h w"],
        on_frame: OnFrame | None = None,
    ) -> Track:
        """Refuse: whoever makes the labels makes them for every frame."""
        raise Refused("segmentation back end 'external' follows nothing; expected a label map for every frame")

    def close(self) -> None:
        """Do nothing: there are no weights."""
