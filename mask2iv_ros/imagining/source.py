"""The dataset that rollouts begin from, and what they must be like to be merged with it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float32

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings, Provenance, read_provenance
from mask2iv_ros.export.schema import require_same
from mask2iv_ros.generator.checkpoint import read_config
from mask2iv_ros.generator.parts import find
from mask2iv_ros.imagining.settings import ImaginingSettings
from mask2iv_ros.scene import Scene


@dataclass(frozen=True)
class Source:
    """A dataset of our features.

    Attributes:
        dataset: its frames and labels.
        known: what is known of its real episodes, by number.
    """

    dataset: LabelledDataset
    known: dict[int, Provenance]

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open a dataset.

        Raises:
            Refused: it is none, has other features than rollouts are exported with, or no real episode.
        """
        dataset = LabelledDataset.open(root)
        require_same(json.loads((dataset.root / "meta/info.json").read_text()), dataset.settings, dataset.root)
        everything = read_provenance(dataset.root, imagined_only=False)
        known = {one.episode: one for one in everything if not one.imagined}
        if not known:
            raise Refused(
                f"all {len(everything)} episodes of {dataset.root} are imagined; expected some that a camera has seen"
            )
        if len({one.id for one in known.values()}) < len(known):
            raise Refused(f"episodes of {dataset.root} share an id; expected an id of its own for each")
        return cls(dataset, known)

    def require_before(self, source: Source) -> None:
        """Check that these are scenes of another dataset's robot, before the same camera.

        Raises:
            Refused: something differs; the message names it.
        """
        ours, theirs = self.dataset, source.dataset
        pairs: dict[str, tuple[object, object]] = {
            "the camera": (ours.settings.camera, theirs.settings.camera),
            "fps": (ours.fps, theirs.fps),
            "frames of (height, width)": (tuple(ours.size), tuple(theirs.size)),
        }
        if ours.settings.state:
            pairs["columns of observation.state"] = ours.settings.state, theirs.settings.state
        for name, (found, wanted) in pairs.items():
            if found != wanted:
                raise Refused(f"{ours.root} has {name} {found} and {theirs.root} {wanted}; expected the same of both")

    def scene(self, episode: int, frame: int) -> tuple[Scene, Float32[np.ndarray, "n"] | None]:
        """Return a frame of an episode and the state measured there, where it is known."""
        video, labels, _ = self.dataset.read(episode)
        known, state = self.known[episode], self.dataset.robot(episode).state
        stamp = known.source_stamp_ns + round(frame * 1e9 / self.dataset.fps)
        scene = Scene(video[frame], labels[frame], stamp, known.source_frame_id)
        return scene, None if state is None else state[frame]

    def require_fit(self, settings: ImaginingSettings) -> ExportSettings:
        """Return how rollouts are written.

        Raises:
            Refused: the source has actions and there is no labeller, or the other way round, or the checkpoint makes
                rollouts of another size or rate, or takes no goal masks.
        """
        root, columns = self.dataset.root, self.dataset.settings
        if settings.labeller is not None and not columns.action:
            raise Refused(f"{root} has no action and there is a labeller; expected none, or the two would not merge")
        if columns.columns and settings.labeller is None and not settings.without_actions:
            raise Refused(
                f"{root} has {' and '.join(columns.columns)} and there is no labeller; expected --labeller, or "
                "--without-actions for a dataset that cannot be merged with it"
            )
        config = read_config(settings.checkpoint)
        if tuple(config.size) != tuple(self.dataset.size):
            raise Refused(
                f"checkpoint {settings.checkpoint} imagines {config.size[1]} x {config.size[0]} pixels and {root} has "
                f"{self.dataset.size[1]} x {self.dataset.size[0]}; expected the same"
            )
        if config.fps != self.dataset.fps:
            raise Refused(
                f"checkpoint {settings.checkpoint} imagines {config.fps:g} frames per second and {root} has "
                f"{self.dataset.fps}; expected the same"
            )
        if "trajectory" not in config.stages or "mask" not in config.stages["trajectory"].conditions:
            raise Refused(f"checkpoint {settings.checkpoint} takes no goal masks; expected one that does")
        return ExportSettings(columns.camera) if settings.without_actions else columns


def checkpoint_digest(checkpoint: str) -> str:
    """Return 16 hexadecimal digits that change with any part of a checkpoint."""
    # Its configuration holds the SHA-256 of every part.
    return hashlib.sha256((find(checkpoint) / "config.json").read_bytes()).hexdigest()[:16]
