"""Any LeRobot v3 dataset with a label image per frame, read episode by episode.

What training needs of a dataset, whoever wrote it: the exporter, `mask2iv data`, or others. An
episode is read at once: its span of the video is decoded once and its label images come from
one parquet file, where `LeRobotDataset` seeks and decodes for each frame. The features are those
of `mask2iv_ros.export.schema`; `observation.goal_mask.<camera>` may be missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, UInt8

from mask2iv_ros.data.layout import data_path, decode_image, decode_span, episode_rows, video_path
from mask2iv_ros.errors import Refused
from mask2iv_ros.export.robot import RobotColumns
from mask2iv_ros.export.schema import ACTION_KEY, STATE_KEY, ExportSettings, goal_from_frame, labels_from_frame

_LABELS = ExportSettings("camera").labels_key.removesuffix("camera")


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known of an episode without decoding it.

    Attributes:
        index: its number in the dataset.
        frames: its length.
        task: its text.
        digest: changes with its label images, goal masks, time stamps and video file.
    """

    index: int
    frames: int
    task: str
    digest: str


class Episode(NamedTuple):
    """One episode, decoded.

    Attributes:
        video: RGB.
        labels: one `Role` per pixel.
        goal_mask: where the object ends up; None where the dataset has none.
    """

    video: UInt8[np.ndarray, "t h w 3"]
    labels: UInt8[np.ndarray, "t h w"]
    goal_mask: Bool[np.ndarray, "h w"] | None


@dataclass(frozen=True)
class LabelledDataset:
    """One camera of a dataset.

    Attributes:
        root: the dataset's folder.
        camera: last part of its image features' names.
        fps: whole frames per second.
        size: (height, width) of its frames.
        episodes: in the order of their numbers.
    """

    root: Path
    camera: str
    fps: int
    size: tuple[int, int]
    episodes: tuple[EpisodeInfo, ...]
    _rows: tuple[dict[str, Any], ...]
    _features: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, root: str | Path, camera: str | None = None) -> Self:
        """Read what is known of a dataset: its metadata and the bytes of its label images, and no pixel.

        Args:
            root: the dataset's folder.
            camera: which to read; may be left out where only one has labels.

        Raises:
            Refused: no LeRobot v3 dataset, no label images, no such camera or a choice of several,
                frames and labels of different sizes, no episode of two frames, or corrupt.
        """
        root = Path(root).expanduser().resolve()
        try:
            info = json.loads((root / "meta/info.json").read_text())
            if info["codebase_version"] != "v3.0":
                raise Refused(f"{root} is a LeRobot dataset of version {info['codebase_version']}; expected v3.0")
            features, fps = info["features"], info["fps"]
            keys = ExportSettings(_choose(root, features, camera))
            size = _common_size(root, features, keys)
            rows = episode_rows(root)[: info["total_episodes"]]
            if len(rows) != info["total_episodes"]:
                raise Refused(
                    f"{root} counts {info['total_episodes']} episodes and holds {len(rows)}; it is incomplete"
                )
            digests = _digests(root, rows, features, keys)
            episodes = tuple(
                EpisodeInfo(row["episode_index"], row["length"], row["tasks"][0], digest)
                for row, digest in zip(rows, digests, strict=True)
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"{root} cannot be read ({_line(error)}); expected a LeRobot v3 dataset") from error
        if not any(episode.frames > 1 for episode in episodes):
            raise Refused(f"{root} has {len(episodes)} episodes of one frame; expected videos of at least 2 frames")
        return cls(root, keys.camera, int(fps), size, episodes, tuple(rows), features)

    @property
    def settings(self) -> ExportSettings:
        """How a dataset is written that can be merged with this one.

        Raises:
            Refused: its state or its action is no vector.
        """
        return ExportSettings(self.camera, *(self._names(key) for key in (STATE_KEY, ACTION_KEY)))

    def robot(self, index: int) -> RobotColumns:
        """Return state and action of the episode of this number, where the dataset has them.

        Raises:
            Refused: there is no such episode, or it is corrupt.
        """
        row, names = self._row(index), list(self.settings.columns)
        try:
            table = pq.read_table(
                self.root / data_path(row), columns=names, filters=[("episode_index", "=", index)]
            ).to_pydict()
            # LeRobot keeps a feature of one column as scalars.
            values = {name: np.array(table[name], np.float32).reshape(row["length"], -1) for name in names}
            for name, found in values.items():
                expected = (row["length"], len(self.settings.columns[name]))
                if found.shape != expected:
                    raise ValueError(f"{name} is {found.shape} and not {expected}")
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
            raise Refused(f"episode {index} of {self.root} cannot be read ({_line(error)}); it is corrupt") from error
        return RobotColumns(values.get(STATE_KEY), values.get(ACTION_KEY))

    def _names(self, key: str) -> tuple[str, ...]:
        """Return the names of the columns of a state or an action; numbered where it has none, () where it is not."""
        feature = self._features.get(key)
        if feature is None:
            return ()
        shape, names = feature.get("shape"), feature.get("names")
        if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or shape[0] < 1:
            raise Refused(f"{key} of {self.root} has the shape {str(shape)[:80]}; expected a vector")
        if isinstance(names, dict):
            # LeRobot's older recorders name the kind of thing above the columns, its simulators number the names.
            groups = list(names.values())
            nested = all(isinstance(group, list) for group in groups)
            names = [one for group in groups for one in group] if nested else list(names)
        if not isinstance(names, list) or len(names) != shape[0]:
            names = [f"{key.rpartition('.')[2]}_{column}" for column in range(shape[0])]
        return tuple(map(str, names))

    def _row(self, index: int) -> dict[str, Any]:
        place = next((place for place, info in enumerate(self.episodes) if info.index == index), None)
        if place is None:
            raise Refused(f"{self.root} has no episode {index}; expected 0 to {len(self.episodes) - 1}")
        return self._rows[place]

    def read(self, index: int) -> Episode:
        """Decode the episode of this number.

        Raises:
            Refused: there is none, or it is corrupt.
        """
        keys, row = ExportSettings(self.camera), self._row(index)
        try:
            is_video = self._features[keys.image_key]["dtype"] == "video"
            columns = ["timestamp", keys.labels_key, keys.goal_key, *([] if is_video else [keys.image_key])]
            table = pq.read_table(
                self.root / data_path(row),
                columns=[name for name in columns if name in self._features],
                filters=[("episode_index", "=", index)],
            ).to_pydict()
            labels = labels_from_frame(
                np.stack([decode_image(one) for one in table[keys.labels_key]]).transpose(0, 3, 1, 2)
            )
            goal = table.get(keys.goal_key)
            if is_video:
                times = np.array(table["timestamp"]) + row[f"videos/{keys.image_key}/from_timestamp"]
                video = decode_span(self.root / video_path(row, keys.image_key), times, self.fps)
            else:
                video = np.stack([decode_image(one) for one in table[keys.image_key]])
            if not video.shape[:3] == labels.shape == (row["length"], *self.size):
                raise ValueError(f"video is {video.shape[:3]}, labels are {labels.shape} (t, h, w)")
        except (OSError, ValueError, LookupError, TypeError, av.FFmpegError, pa.ArrowException) as error:
            raise Refused(f"episode {index} of {self.root} cannot be read ({_line(error)}); it is corrupt") from error
        return Episode(video, labels, goal and goal_from_frame(decode_image(goal[-1]).transpose(2, 0, 1)))


def _choose(root: Path, features: dict[str, Any], camera: str | None) -> str:
    """Return the camera to read."""
    found = sorted(
        name.removeprefix(_LABELS)
        for name, feature in features.items()
        if name.startswith(_LABELS) and feature["dtype"] == "image"
    )
    if not found:
        raise Refused(f"{root} has no label images; expected a feature {_LABELS}<camera> of dtype image")
    if camera is None and len(found) > 1:
        raise Refused(f"{root} has labels of the cameras {', '.join(found)}; expected one of them to be chosen")
    if camera is not None and camera not in found:
        raise Refused(f"{root} has no labels of a camera {camera!r}; its cameras with labels are {', '.join(found)}")
    return camera or found[0]


def _common_size(root: Path, features: dict[str, Any], keys: ExportSettings) -> tuple[int, int]:
    if keys.image_key not in features:
        raise Refused(f"{root} has {keys.labels_key} and no {keys.image_key}; expected the frames beside their labels")
    frames, labels = (tuple(features[key]["shape"]) for key in (keys.image_key, keys.labels_key))
    if frames != labels or frames[-1] != 3:
        raise Refused(f"{root} has frames of shape {frames} and label images of {labels}; expected both (h, w, 3)")
    return frames[:2]


def _digests(
    root: Path, rows: Sequence[dict[str, Any]], features: dict[str, Any], keys: ExportSettings
) -> Iterator[str]:
    """Yield a digest for each episode, reading every data file once."""
    names = [name for name in (keys.labels_key, keys.goal_key, keys.image_key) if name in features]
    images = [name for name in names if features[name]["dtype"] == "image"]
    states = {row["episode_index"]: hashlib.sha256() for row in rows}
    frames = dict.fromkeys(states, 0)
    for path in sorted({root / data_path(row) for row in rows}):
        for batch in pq.ParquetFile(path).iter_batches(256, columns=["episode_index", "timestamp", *images]):
            for row in batch.to_pylist():
                if state := states.get(row["episode_index"]):
                    frames[row["episode_index"]] += 1
                    state.update(repr(row["timestamp"]).encode())
                    for name in images:
                        state.update(row[name]["bytes"])
    for row in rows:
        index = row["episode_index"]
        if frames[index] != row["length"]:
            raise ValueError(f"episode {index} counts {row['length']} frames and has {frames[index]}")
        if features[keys.image_key]["dtype"] == "video":
            # A video of gigabytes is not read for this: a file that was written to has another time.
            file = (root / video_path(row, keys.image_key)).stat()
            span = row[f"videos/{keys.image_key}/from_timestamp"]
            states[index].update(f"{file.st_size} {file.st_mtime_ns} {span}".encode())
        yield states[index].hexdigest()[:32]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
