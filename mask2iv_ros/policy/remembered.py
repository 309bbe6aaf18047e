"""Frames of a LeRobot dataset, read once and kept in memory.

For every sample LeRobot 0.6 opens the video and decodes the PNGs of all 16 rows of an action chunk, 20 to 35 ms on a
CPU core, and does it again in every epoch: a batch of 32 takes a second, and the training of a small policy a tenth.
LeRobot has no option for it and hands a policy no say in its dataset, so its reader is wrapped.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from lerobot.datasets.dataset_reader import DatasetReader

_read = DatasetReader.get_item
_most = 0


def remember_frames(most: int) -> None:
    """Let all datasets of this process keep up to `most` frames each; 0 gives LeRobot's own reading back."""
    global _most
    _most = most
    DatasetReader.get_item = _remembering if most else _read


@wraps(_read)
def _remembering(self: DatasetReader, idx: int) -> dict[str, Any]:
    kept: dict[int, dict[str, Any]] = self.__dict__.setdefault("_mask2iv_kept", {})
    transforms = self._image_transforms
    if idx in kept:
        item = dict(kept[idx])
    else:
        # Transforms are drawn anew for every sample: what is kept is the frame before them.
        self.clear_image_transforms()
        try:
            item = _read(self, idx)
        finally:
            self.set_image_transforms(transforms)
        item = {key: _as_bytes(item[key]) if key in self._meta.camera_keys else item[key] for key in item}
        if len(kept) < _most:
            kept[idx] = dict(item)
    if transforms is not None:
        # Videos are pictures; label maps and goal masks are images that mean what they are.
        for key in self._meta.video_keys:
            item[key] = transforms(item[key])
    return item


def _as_bytes(image: torch.Tensor) -> torch.Tensor:
    """Return an image of 0 to 1 as 0 to 255: a quarter of the memory, and `lerobot-train` divides it again."""
    return image if image.dtype == torch.uint8 else (image * 255).round().to(torch.uint8)
