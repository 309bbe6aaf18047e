"""Where a LeRobot v3 dataset keeps what, and how its frames are decoded: an episode at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, UInt8

from mask2iv_ros.decoding import decodable


def episode_rows(root: Path) -> list[dict[str, Any]]:
    """Return the metadata of all episodes, in the order of their numbers, without their statistics."""
    rows = []
    for path in (root / "meta/episodes").rglob("*.parquet"):
        columns = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
        rows += pq.read_table(path, columns=columns).to_pylist()
    return sorted(rows, key=lambda row: row["episode_index"])


def data_path(row: Mapping[str, Any]) -> str:
    """Return the file of an episode's rows, relative to the dataset."""
    return f"data/chunk-{row['data/chunk_index']:03d}/file-{row['data/file_index']:03d}.parquet"


def video_path(row: Mapping[str, Any], key: str) -> str:
    """Return the file of an episode's video, relative to the dataset."""
    chunk, file = (row[f"videos/{key}/{part}_index"] for part in ("chunk", "file"))
    return f"videos/{key}/chunk-{chunk:03d}/file-{file:03d}.mp4"


def decode_image(cell: Mapping[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image of a parquet file.

    Raises:
        ValueError: it is none.
    """
    image = cv2.imdecode(np.frombuffer(cell["bytes"] or b"\0", np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("an image that is no image")
    return image[..., ::-1]


def decode_span(path: Path, times: Float[np.ndarray, "t"], fps: float) -> UInt8[np.ndarray, "t h w 3"]:
    """Decode the frames shown at these ascending times (s), in one pass from the key frame before the first.

    Raises:
        ValueError: there is no video that can be decoded, or a time has no frame.
        av.FFmpegError: the file is corrupt.
    """
    frames: list[UInt8[np.ndarray, "h w 3"]] = []
    with av.open(str(path)) as container:
        if (stream := decodable(container)) is None:
            raise ValueError(f"{path.name} has no video that can be decoded")
        container.seek(max(0, int(times[0] / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            # Times are rounded in the file; a frame is never half a period off.
            if frame.time >= times[len(frames)] - 0.5 / fps:
                if frame.time > times[len(frames)] + 0.5 / fps:
                    break
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == len(times):
                    return np.stack(frames)
    raise ValueError(f"{path.name} has no frame at {times[len(frames)]:.3f} s")
