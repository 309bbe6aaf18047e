"""What a rollout looks like in a LeRobot v3 dataset: the features and how label maps become frames.

Per frame a dataset holds:

    observation.images.<camera>      video   the imagined picture
    observation.labels.<camera>      image   the trajectory's label map, lossless (see `frame_from_labels`)
    observation.goal_mask.<camera>   image   white where the object should end up, black where there is no goal mask
    observation.state, action                what a robot measured and was told, where episodes have them
    imagined, mask2iv.*                      where the episode comes from (`mask2iv_ros.export.provenance`)

The goal mask is repeated in every frame rather than kept once an episode beside the dataset,
because LeRobot knows only `data`, `videos` and `meta`: what lies elsewhere is lost by
`lerobot-edit-dataset`. Parquet stores the repeated PNG once, and a goal-conditioned policy
finds it in every frame that it is given.

An imagined video has neither `action` nor `observation.state`, and none is invented. Recorded
footage has them under exactly these names, float32 of shape (n,) with one entry of `names` a
column, as every LeRobot policy expects them (`mask2iv_ros.export.robot`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.provenance import PROVENANCE_FEATURES
from mask2iv_ros.masks import Role

STATE_KEY, ACTION_KEY = "observation.state", "action"
DEFAULT_TASK = "bring the object to the goal"

# H.264 without chroma subsampling: at 128 x 128 pixels yuv420p blurs the arm's and the object's
# edges to 31-32 dB at any quality, yuv444p keeps 44 dB at the same speed. LeRobot's own default
# (AV1, crf 30) reaches 30 dB.
VIDEO = {"vcodec": "h264", "pix_fmt": "yuv444p", "crf": 6, "preset": "veryfast"}

# The channel of a label frame that is 255 where the role is; background is black. Interactor
# and object so have the colours of `mask2iv_ros.masks.COLOURS`.
CHANNELS = {Role.INTERACTOR: 0, Role.OBJECT: 1, Role.UNLABELLED: 2}


@dataclass(frozen=True)
class ExportSettings:
    """How rollouts are written.

    Attributes:
        camera: last part of the image features' names; letters, digits, "_" and "-".
        state: names of the columns of `observation.state`; none where there is no such feature.
        action: names of the columns of `action`; none where there is no such feature.
    """

    camera: str = "front"
    state: tuple[str, ...] = ()
    action: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.camera):
            raise Refused(f"camera name is {self.camera!r}; expected letters, digits, '_' and '-'")

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Names of the columns of `observation.state` and `action`, of those that there are."""
        return {key: names for key, names in ((STATE_KEY, self.state), (ACTION_KEY, self.action)) if names}

    @property
    def image_key(self) -> str:
        """Name of the video feature."""
        return f"observation.images.{self.camera}"

    @property
    def labels_key(self) -> str:
        """Name of the label-map feature."""
        return f"observation.labels.{self.camera}"

    @property
    def goal_key(self) -> str:
        """Name of the goal-mask feature."""
        return f"observation.goal_mask.{self.camera}"


def features(settings: ExportSettings, size: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Return LeRobot's feature description for rollouts of `size` (height, width)."""
    image = {"shape": (*size, 3), "names": ["height", "width", "channels"]}
    roles = {role.name.lower(): channel for role, channel in CHANNELS.items()}
    return {
        settings.image_key: {"dtype": "video", **image},
        settings.labels_key: {"dtype": "image", **image, "info": {"mask2iv.channel_of_role": roles}},
        settings.goal_key: {"dtype": "image", **image},
        **{
            key: {"dtype": "float32", "shape": (len(names),), "names": list(names)}
            for key, names in settings.columns.items()
        },
        **PROVENANCE_FEATURES,
    }


def frame_from_labels(labels: UInt8[np.ndarray, "*b h w"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Return the label map as an RGB frame.

    LeRobot takes images of three channels only. Interactor is pure red, object pure green,
    unlabelled pure blue, background black: viewers show it, networks can use it as it is, and
    PNG gives it back exactly.
    """
    return np.stack([np.where(labels == role, 255, 0).astype(np.uint8) for role in CHANNELS], axis=-1)


def labels_from_frame(frame: Float[Any, "*b 3 h w"] | UInt8[Any, "*b 3 h w"]) -> UInt8[np.ndarray, "*b h w"]:
    """Return the label map of a frame that `LeRobotDataset` gave: 0, 1, 2 or 255 in every pixel.

    Args:
        frame: torch tensor or array, channels first, float in [0, 1] or uint8 in [0, 255].

    Raises:
        Refused: the frame has a colour that stands for no role, for example because it was
            resized, augmented or stored as lossy video.
    """
    values = np.asarray(frame)
    if values.ndim < 3 or values.shape[-3] != 3:
        raise Refused(f"label frame has shape {values.shape}; expected axes (3, h, w)")
    full = 255 if values.dtype == np.uint8 else 1.0
    present = values == full  # *b 3 h w
    if not np.all(present | (values == 0)) or np.any(present.sum(axis=-3) > 1):
        raise Refused("label frame has a colour that stands for no role; expected pure red, green, blue or black")
    labels = np.zeros(present[..., 0, :, :].shape, np.uint8)
    for role, channel in CHANNELS.items():
        labels[present[..., channel, :, :]] = role
    return labels


def frame_from_goal(mask: Bool[np.ndarray, "h w"] | None, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Return the goal mask as a black and white RGB frame; all black for a goal without a mask."""
    white = np.zeros(size, bool) if mask is None else mask
    return np.repeat(np.where(white, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)


def goal_from_frame(frame: Float[Any, "3 h w"] | UInt8[Any, "3 h w"]) -> Bool[np.ndarray, "h w"] | None:
    """Return the goal mask of a frame that `LeRobotDataset` gave; None for a goal without a mask."""
    mask = np.asarray(frame)[0] > 0
    return mask if mask.any() else None


def require_same(info: dict[str, Any], settings: ExportSettings, where: object) -> tuple[int, int]:
    """Return the frame size (height, width) of a dataset that rollouts can be appended to.

    Args:
        info: contents of the dataset's `meta/info.json`.
        settings: how the rollouts are written.
        where: what messages call the dataset.

    Raises:
        Refused: the dataset is of another version or has other features.
    """
    if info.get("codebase_version") != "v3.0":
        raise Refused(f"{where} is a LeRobot dataset of version {info.get('codebase_version')}; expected v3.0")
    found = {name: feature for name, feature in info["features"].items() if name not in _LEROBOT_OWN}
    video = found.get(settings.image_key, {})
    size = tuple(video.get("shape", (0, 0)))[:2]
    expected = features(settings, size)
    for name in sorted(found.keys() ^ expected.keys()):
        word = "lacks" if name in expected else "has"
        raise Refused(f"{where} {word} the feature {name}; expected exactly {', '.join(sorted(expected))}")
    for name, feature in expected.items():
        for part in ("dtype", "shape", "names"):
            if _plain(found[name].get(part)) != _plain(feature[part]):
                raise Refused(f"{where}: {name} has {part} {found[name].get(part)}; expected {_plain(feature[part])}")
    written = video.get("info") or {}
    for key, value in (("video.codec", VIDEO["vcodec"]), ("video.pix_fmt", VIDEO["pix_fmt"])):
        if written.get(key) != value:
            raise Refused(f"{where}: {settings.image_key} has {key} {written.get(key)}; expected {value}")
    return size


# LeRobot adds these to every dataset.
_LEROBOT_OWN = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
