"""The nearest training clip: what looking up instead of generating would give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt64
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip, require_training_clips, task_of
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import read_provenance
from mask2iv_ros.masks import Role

_BLUR = 3.0  # pixels: masks that far apart still count as near
_STRIDE = 2  # of the blurred masks that are compared: nothing finer is left in them


class TrainingClips(Sequence[Clip]):
    """The training clips of a folder, decoded one at a time when asked for: all of them are gigabytes."""

    def __init__(self, folder: Path):
        """Open `folder`/train.

        Raises:
            Refused: there is no such dataset, none that `mask2iv data` made, or one with clips held out of training.
        """
        root = folder / "train"
        if not root.is_dir():
            raise Refused(f"{folder} has no train clips; the nearest of them are a baseline")
        require_training_clips(root)
        self._dataset = LabelledDataset.open(root)
        self._known = sorted(read_provenance(root, imagined_only=False), key=lambda one: (task_of(one.id), one.seed))

    def __len__(self) -> int:
        return len(self._known)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        one = self._known[index]
        video, labels, goal_mask = self._dataset.read(one.episode)
        if goal_mask is None:
            raise Refused(f"episode {one.episode} of {self._dataset.root} has no goal mask; expected one")
        return Clip(video, labels, goal_mask, task_of(one.id), one.seed, one.task, float(self._dataset.fps))


class NearestClip:
    """Answers with the training clip whose condition is most alike.

    For stage 1 and the chain that is what they are given: first masks and goal mask, compared
    blurred, so that near misses count as near. For stage 2 it is the whole true trajectory, by
    the number of pixels whose role differs.
    """

    def __init__(self, train: Sequence[Clip]):
        """Read every clip once and keep two bits a label.

        Raises:
            Refused: there is no clip, or they differ in shape.
        """
        if not train:
            raise Refused("there are 0 training clips; expected at least one to be the nearest")
        self._train = train
        shape, conditions, trajectories = train[0].labels.shape, [], []
        for clip in tqdm(train, desc="reading training clips", unit="clip", mininterval=5):
            if clip.labels.shape != shape:
                raise Refused(f"training clip {clip.id} is {clip.labels.shape} (t, h, w); the first is {shape}")
            conditions.append(_condition(clip))
            trajectories.append(_pack(clip.labels))
        self._conditions, self._trajectories = np.stack(conditions), np.stack(trajectories)
        self._decoded: dict[int, Clip] = {}

    def by_goal(self, clip: Clip) -> Clip:
        """Return the nearest training clip by first masks and goal mask."""
        apart = self._conditions - _condition(clip)
        return self._clip(int(np.einsum("nchw,nchw->n", apart, apart).argmin()))

    def by_trajectory(self, clip: Clip) -> Clip:
        """Return the nearest training clip by the true trajectory."""
        # A pixel's role differs where either of its two bits does.
        differing = self._trajectories ^ _pack(clip.labels)
        return self._clip(int(np.bitwise_count(differing[:, 0] | differing[:, 1]).sum(1, dtype=np.int32).argmin()))

    def _clip(self, index: int) -> Clip:
        # One clip may be the nearest of many: they then share its frames.
        if index not in self._decoded:
            self._decoded[index] = self._train[index]
        return self._decoded[index]


def _condition(clip: Clip) -> Float32[np.ndarray, "3 h w"]:
    parts = (clip.labels[0] == Role.OBJECT, clip.labels[0] == Role.INTERACTOR, clip.goal_mask)
    blurred = [cv2.GaussianBlur(part.astype(np.float32), (0, 0), _BLUR) for part in parts]
    return np.stack([part[::_STRIDE, ::_STRIDE] for part in blurred])


def _pack(labels: UInt8[np.ndarray, "t h w"]) -> UInt64[np.ndarray, "2 n"]:
    """Return the two lower bits of every label, which tell all roles apart, in words of 64."""
    bits = np.stack([np.packbits(labels & 1), np.packbits(labels & 2)])
    return np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)
