"""Episodes of any LeRobot dataset, v2.0, v2.1 or v3.0, from a folder or from the hub.

Read without LeRobot, whose own reader takes only the version of its day and decodes frame by frame: an
episode's rows come from one parquet file, its frames from one pass over its span of the video. Of a dataset on the
hub only the metadata are fetched at once, and later the files of the episodes that are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Float64, UInt8

from mask2iv_ros.data.layout import data_path, decode_span, episode_rows, video_path
from mask2iv_ros.data.sources.base import SourceEpisode, Span, require_camera
from mask2iv_ros.data.sources.hub import Files
from mask2iv_ros.data.sources.pictures import decode_picture
from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import ACTION_KEY, STATE_KEY, ExportSettings, labels_from_frame

VERSIONS = ("v2.0", "v2.1", "v3.0")

_IMAGES = "observation.images."
_MASKS = ("observation.labels.", "observation.goal_mask.")


@dataclass(frozen=True)
class LeRobotSource:
    """A LeRobot dataset.

    State and action are `observation.state` and `action`. They are float32 in every dataset that
    LeRobot's own recorder writes; others are rounded to it, the only kind that its policies take.

    Attributes:
        files: where the dataset lies.
        version: of its layout.
        fps: of its episodes.
    """

    name: ClassVar[str] = "lerobot"

    files: Files
    version: str
    fps: float
    _features: Mapping[str, Mapping[str, Any]]
    _templates: tuple[str, str]
    _chunk: int
    _rows: tuple[Mapping[str, Any], ...]
    _tasks: Mapping[int, str]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read the metadata.

        Args:
            path: the dataset's folder, or its id on the hub, "owner/name" or "owner/name@revision".

        Raises:
            Refused: neither, the hub cannot be reached, another version, no camera, or corrupt metadata.
        """
        files = Files.find(path)
        root = files.metadata
        try:
            info = json.loads((root / "meta/info.json").read_text())
            version, features = info["codebase_version"], info["features"]
            if version not in VERSIONS:
                raise Refused(f"{path} is a LeRobot dataset of version {version}; accepted are {', '.join(VERSIONS)}")
            rows = episode_rows(root) if version == "v3.0" else _lines(root / "meta/episodes.jsonl")
            found = cls(
                files=files,
                version=version,
                fps=float(info["fps"]),
                _features={str(name): dict(feature) for name, feature in features.items()},
                _templates=(str(info.get("data_path")), str(info.get("video_path"))),
                _chunk=int(info.get("chunks_size") or 1000),
                _rows=tuple(sorted(rows, key=lambda row: row["episode_index"])),
                _tasks=_tasks_v3(root) if version == "v3.0" else _tasks_v2(root),
            )
            if len({row["episode_index"] for row in found._rows}) != len(found._rows):
                raise Refused(f"{path} counts an episode twice in its metadata; expected each once")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"{path} cannot be read ({_line(error)}); expected a LeRobot dataset") from error
        if not found.cameras():
            raise Refused(f"{path} has no camera; expected a feature of dtype video or image")
        return found

    def cameras(self) -> tuple[str, ...]:
        """Return the names of its cameras: the last parts of its image features' names."""
        return tuple(_camera(name) for name in sorted(self._features) if self._is_camera(name))

    def ids(self) -> Sequence[str]:
        """Return the episodes' numbers, six digits each."""
        return [f"{row['episode_index']:06d}" for row in self._rows]

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Read and decode one episode, with the dataset's own label images where it has some of this camera.

        Raises:
            Refused: no such episode or camera, or it is corrupt.
            ConnectionError: the hub, where the dataset lies there.
        """
        require_camera(camera, self.cameras(), self.files.said)
        row = next((one for one in self._rows if f"{one['episode_index']:06d}" == id), None)
        if row is None:
            raise Refused(f"{self.files.said} has no episode {id[:200]!r}; expected one such as {self.ids()[0]!r}")
        try:
            return self._read(row, id, camera)
        except (OSError, ValueError, LookupError, TypeError, av.FFmpegError, pa.ArrowException) as error:
            # The hub's silence says nothing of the episode.
            if isinstance(error, Refused | ConnectionError):
                raise
            raise Refused(
                f"episode {id} of {self.files.said} cannot be read ({_line(error)}); it is corrupt"
            ) from error

    def _read(self, row: Mapping[str, Any], id: str, camera: str) -> SourceEpisode:  # noqa: A002
        key = next(name for name in self._features if self._is_camera(name) and _camera(name) == camera)
        labels_key = ExportSettings("camera").labels_key.removesuffix("camera") + camera
        is_video = self._features[key]["dtype"] == "video"
        wanted = ["episode_index", "timestamp", "task_index", STATE_KEY, ACTION_KEY, labels_key]
        path = self.files.path(self._data_path(row))
        columns = [name for name in (*wanted, *([] if is_video else [key])) if name in pq.read_schema(path).names]
        table = pq.read_table(path, columns=columns, filters=[("episode_index", "=", row["episode_index"])])
        if table.num_rows != row["length"] or not table.num_rows:
            raise ValueError(f"{row['length']} frames are counted and {table.num_rows} are there")
        times = table["timestamp"].to_numpy().astype(np.float64)
        if is_video:
            frames = decode_span(self.files.path(self._video_path(row, key)), self._shown(row, key, times), self.fps)
        else:
            frames = self._pictures(table[key].to_pylist(), key, id)
        labels = None
        if labels_key in table.column_names:
            labels = labels_from_frame(
                self._pictures(table[labels_key].to_pylist(), labels_key, id).transpose(0, 3, 1, 2)
            )
        spans = self._spans(row, table)
        state, action = (_matrix(table, name) for name in (STATE_KEY, ACTION_KEY))
        names = [
            _names(self._features[name].get("names"), values.shape[1]) if values is not None else None
            for name, values in ((STATE_KEY, state), (ACTION_KEY, action))
        ]
        return SourceEpisode(
            id=id,
            frames=frames,
            times=times - times[0],
            task=spans[0].task,
            state=state,
            action=action,
            state_names=names[0],
            action_names=names[1],
            labels=labels,
            spans=spans if len(spans) > 1 else None,
        )

    def _is_camera(self, name: str) -> bool:
        feature = self._features[name]
        if name.startswith(_MASKS) or feature.get("dtype") not in ("video", "image"):
            return False
        told = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}
        return not (told.get("is_depth_map") or told.get("video.is_depth_map"))

    def _data_path(self, row: Mapping[str, Any]) -> str:
        if self.version == "v3.0":
            return data_path(row)
        return self._templates[0].format(**self._place(row))

    def _video_path(self, row: Mapping[str, Any], key: str) -> str:
        if self.version == "v3.0":
            return video_path(row, key)
        return self._templates[1].format(**self._place(row), video_key=key)

    def _place(self, row: Mapping[str, Any]) -> dict[str, int]:
        return {"episode_chunk": row["episode_index"] // self._chunk, "episode_index": row["episode_index"]}

    def _shown(self, row: Mapping[str, Any], key: str, times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        """Return when the frames are shown in their video: v3 joins the videos of several episodes."""
        return times + row[f"videos/{key}/from_timestamp"] if self.version == "v3.0" else times

    def _pictures(self, cells: Sequence[Any], key: str, id: str) -> UInt8[np.ndarray, "t h w 3"]:  # noqa: A002
        size = tuple(self._features[key]["shape"])
        # v2 datasets exist whose images are told channels first.
        size = size[1:] if size[0] == 3 else size[:2]
        return np.stack(
            [
                decode_picture(_bytes(cell), f"image {at} of {key} in episode {id}", size)
                for at, cell in enumerate(cells)
            ]
        )

    def _spans(self, row: Mapping[str, Any], table: pa.Table) -> tuple[Span, ...]:
        """Return the actions in an episode: a new one where its frames' task changes."""
        told = table["task_index"].to_numpy() if "task_index" in table.column_names else np.zeros(table.num_rows, int)
        edges = [0, *(1 + np.flatnonzero(np.diff(told))).tolist(), len(told)]
        first = str((row.get("tasks") or [""])[0])
        return tuple(Span(begin, end, self._tasks.get(int(told[begin]), first)) for begin, end in pairwise(edges))


def _camera(name: str) -> str:
    return name.removeprefix(_IMAGES).removeprefix("observation.")


def _bytes(cell: Any) -> bytes:
    if not isinstance(cell, Mapping) or not isinstance(cell.get("bytes"), bytes):
        raise ValueError("an image is not kept in the file itself")
    return cell["bytes"]


def _matrix(table: pa.Table, name: str) -> Float32[np.ndarray, "t n"] | None:
    if name not in table.column_names:
        return None
    values = np.array(table[name].to_pylist())
    if not np.issubdtype(values.dtype, np.number):
        raise ValueError(f"{name} holds no numbers, or rows of different lengths")
    return values.reshape(table.num_rows, -1).astype(np.float32)


def _names(told: Any, columns: int) -> tuple[str, ...] | None:
    """Return the names of columns, which datasets keep as a list or, by kind of motor, in a mapping."""
    if isinstance(told, Mapping):
        told = [one for value in told.values() for one in (value if isinstance(value, list) else [value])]
    if not isinstance(told, list) or len(told) != columns or not all(isinstance(one, str) for one in told):
        return None
    return tuple(told)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _tasks_v2(root: Path) -> dict[int, str]:
    return {int(one["task_index"]): str(one["task"]) for one in _lines(root / "meta/tasks.jsonl")}


def _tasks_v3(root: Path) -> dict[int, str]:
    told = pq.read_table(root / "meta/tasks.parquet").to_pydict()
    # pandas writes the text as the index of its table, under either of these names.
    texts = told.get("task", told.get("__index_level_0__", []))
    return {int(index): str(text) for index, text in zip(told["task_index"], texts, strict=True)}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
