"""The networks behind learned figures, those whose weights are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from mask2iv_ros.evaluation import weights
from mask2iv_ros.evaluation.clip_similarity import ClipSimilarity
from mask2iv_ros.evaluation.i3d import LEAST_FRAMES
from mask2iv_ros.evaluation.lpips import LEAST_SIDE, Lpips
from mask2iv_ros.evaluation.video_distance import VideoFeatures


@dataclass(frozen=True)
class Networks:
    """What learned figures are made with.

    Attributes:
        lpips: None where its weights are missing.
        features: of videos, for FVD; None where the weights are missing.
        clip: None where the user named no folder.
    """

    lpips: Lpips | None = None
    features: VideoFeatures | None = None
    clip: ClipSimilarity | None = None

    @classmethod
    def load(cls, folder: Path, clip: Path | None = None, device: torch.device | str = "cpu") -> Self:
        """Load what is there.

        Args:
            folder: of the fetched weights.
            clip: folder of a CLIP model.
            device: where to compute.

        Raises:
            Refused: weights are there and damaged, or `clip` is no CLIP model.
        """
        lpips, i3d = (weights.read(name, folder) for name in ("lpips", "i3d"))
        return cls(
            None if lpips is None else Lpips(lpips, device),
            None if i3d is None else VideoFeatures(i3d, device),
            None if clip is None else ClipSimilarity(clip, device),
        )

    def missing(self, shape: tuple[int, int, int]) -> dict[str, str]:
        """Return the figures that cannot be measured, and why.

        Args:
            shape: (t, h, w) of the videos.
        """
        frames, height, width = shape
        found = {}
        if self.lpips is None:
            found["lpips"] = weights.MISSING
        elif min(height, width) < LEAST_SIDE:
            found["lpips"] = (
                f"not measured: frames are {width} x {height} pixels; LPIPS needs at least {LEAST_SIDE} x {LEAST_SIDE}"
            )
        if self.features is None:
            found["fvd"] = weights.MISSING
        elif frames < LEAST_FRAMES:
            found["fvd"] = f"not measured: videos have {frames} frames; I3D needs at least {LEAST_FRAMES}"
        if self.clip is None:
            no_clip = "not measured: weights missing; give a folder of CLIP's by --clip"
            found |= {"video_similarity": no_clip, "text_similarity": no_clip}
        return found
