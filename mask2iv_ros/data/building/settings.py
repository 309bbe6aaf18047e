"""What a build makes of a source, told once and held to by every later run into the same folder."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.building.labelling import How
from mask2iv_ros.data.building.prompts import Prompts
from mask2iv_ros.data.building.quality import Quality
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class BuildSettings:
    """How a source becomes clips.

    Attributes:
        out: folder for the datasets `train` and `validation`, the report, and the build's own notes in `.build`.
        name: first part of the clips' ids, such as that of the robot; letters, digits and "_".
        cameras: of the source; clips of several are all in one dataset.
        how: labels are come by.
        prompts: what is said of the episodes, where labels are made of prompts; of the object alone, or nothing,
            where the interactor is found by motion.
        segmenter: back end that makes labels.
        segmenter_settings: of that back end, where they differ from its own.
        frames: of a clip.
        fps: of the clips, a whole number; 0: by motion (`rate`).
        size: (height, width) of the clips' frames, by the largest centred crop; None: the source's own.
        overlap: largest share of its frames that a clip has in common with the one before.
        task: in place of the source's texts; "": theirs.
        camera: last part of the image features' names in the dataset.
        validation: share of the episodes that go there; an episode's id alone decides.
        drop_least: share of the clips that move least and are left out, over all of the source.
        source: where the episodes come from, in words; another's may have the same ids.
        quality: what the clips must be.
    """

    out: Path
    name: str
    cameras: tuple[str, ...]
    how: How = "source"
    prompts: Prompts = field(default_factory=Prompts)
    segmenter: str = "grabcut"
    segmenter_settings: tuple[tuple[str, Any], ...] = ()
    frames: int = 16
    fps: int = 0
    size: tuple[int, int] | None = None
    overlap: float = 0.0
    task: str = ""
    camera: str = "front"
    validation: float = 0.0
    drop_least: float = 0.0
    source: str = ""
    quality: Quality = field(default_factory=Quality)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", self.name) or self.name in TASKS:
            raise Refused(
                f"name is {self.name!r}; expected 1 to 40 letters, digits and '_', and none of Meta-World's tasks"
            )
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise Refused(f"cameras are {', '.join(self.cameras) or 'none'}; expected one or more, each once")
        if self.frames < 2:
            raise Refused(f"frames is {self.frames}; expected at least 2 in a clip")
        if self.fps < 0:
            raise Refused(f"fps is {self.fps}; expected at least 1, or 0 for a stride by motion")
        if self.size is not None and not all(16 <= side <= 4096 for side in self.size):
            raise Refused(f"size is {self.size}; expected height and width of 16 to 4096 pixels")
        for key in ("overlap", "validation", "drop_least"):
            if not 0 <= getattr(self, key) < 1:
                raise Refused(f"{key} is {getattr(self, key)}; expected a share of at least 0 and below 1")
        if "\n" in self.task:
            raise Refused(f"task is {self.task[:80]!r}; expected one line")
        ExportSettings(self.camera)
        if self.how != "source":
            self.prompts.require_interactors(self.how == "prompts")

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the datasets that are made."""
        return (TRAIN, VALIDATION) if self.validation else (TRAIN,)

    def facts(self) -> dict[str, Any]:
        """Return what must not change from one run to the next, in words that JSON keeps."""
        told = {key: value for key, value in asdict(self).items() if key not in ("out", "prompts")}
        told |= {"segmenter_settings": {key: str(value) for key, value in self.segmenter_settings}}
        if self.how == "source":
            told["segmenter"] = ""
        return told | {
            "cameras": list(self.cameras),
            "size": self.size and list(self.size),
            "prompts": self.prompts.digest,
        }
