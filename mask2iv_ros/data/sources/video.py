"""Episodes that are plain videos: a file, a folder of files, or a folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import av
import numpy as np
from jaxtyping import Float64, UInt8

from mask2iv_ros.data.sources.base import SourceEpisode, require_camera
from mask2iv_ros.data.sources.pictures import decode_picture
from mask2iv_ros.decoding import decodable
from mask2iv_ros.errors import Refused

CAMERA = "video"
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
IMAGES = (".png", ".jpg", ".jpeg")
IMAGES_FPS = 10.0  # images say nothing about time

_MOST_BYTES = 4 << 30  # of decoded frames: a worker holds an episode in memory


@dataclass(frozen=True)
class VideoSource:
    """Each video an episode, named after its file; a folder's videos in natural order.

    Times are those of the frames in the file, even where they vary; images are 10 a second.

    Attributes:
        paths: of the videos and folders of images, by episode id.
    """

    name: ClassVar[str] = "video"

    paths: Mapping[str, Path]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """List the videos.

        Args:
            path: a video file; a folder of them, or of folders of images; or a folder of images.

        Raises:
            Refused: there is none, or two names that differ only in characters that an id has not.
        """
        root = Path(path).expanduser()
        try:
            found = list(_episodes(root))
        except OSError as error:
            raise Refused(f"{root} cannot be read ({error.strerror}); expected a video, or a folder of them") from error
        if not found:
            raise Refused(
                f"{root} holds no video; expected a file that ends in {', '.join(VIDEOS)}, a folder of such files, "
                f"or of images that end in {', '.join(IMAGES)}"
            )
        paths: dict[str, Path] = {}
        for one in sorted(found, key=_natural):
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", one.resolve().name)[:200]
            if name in paths:
                raise Refused(
                    f"{paths[name].name!r} and {one.name!r} would both be episode {name!r}; rename one of them"
                )
            paths[name] = one
        return cls(paths)

    def cameras(self) -> tuple[str, ...]:
        """Return the one camera that a video is of."""
        return (CAMERA,)

    def ids(self) -> Sequence[str]:
        """Return the names of the files and folders; other characters than an id's are "_"."""
        return list(self.paths)

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Decode one video.

        Raises:
            Refused: no such video, none that can be decoded to its end, or one too long for the memory.
        """
        require_camera(camera, self.cameras(), "a video")
        if id not in self.paths:
            raise Refused(f"there is no video {id[:200]!r}; expected one of {', '.join(list(self.paths)[:5])}")
        path = self.paths[id]
        frames, times = _read_folder(path) if path.is_dir() else _read_video(path)
        return SourceEpisode(id, frames, times)


def _episodes(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root  # whatever it is called: reading says whether it is a video
    elif root.is_dir():
        inside = [one for one in root.iterdir() if not one.name.startswith(".")]
        if any(one.suffix.lower() in IMAGES for one in inside):
            yield root
        for one in inside:
            if one.is_dir():
                is_episode = any(image.suffix.lower() in IMAGES for image in one.iterdir())
            else:
                is_episode = one.suffix.lower() in VIDEOS
            if is_episode:
                yield one


def _read_video(path: Path) -> tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, " t"]]:
    frames: list[UInt8[np.ndarray, "h w 3"]] = []
    times: list[float] = []
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if (stream := decodable(container)) is None:
                raise Refused(f"{path} has no video that can be decoded; expected a video file")
            for frame in container.decode(stream):
                # Phones film upright by a note in the file; the pixels lie on their side.
                frames.append(
                    np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
                )
                times.append(float("nan") if frame.time is None else frame.time)
                if len(frames) * frames[0].nbytes > _MOST_BYTES:
                    raise Refused(
                        f"{path} is more than {_MOST_BYTES >> 30} GiB when decoded ({len(frames)} frames so far); "
                        "expected shorter ones, such as ffmpeg -i IN -c copy -f segment -segment_time 9 OUT%d.mp4 cuts"
                    )
                if frames[-1].shape != frames[0].shape:
                    raise Refused(f"{path} changes its size at frame {len(frames) - 1}; expected one size throughout")
            rate = stream.average_rate
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{path} cannot be decoded after {len(frames)} frames ({_line(error)}); it is corrupt") from error
    if not frames:
        raise Refused(f"{path} has no frame; expected a video")
    told = np.array(times, np.float64)
    if not np.isfinite(told).all() or np.any(np.diff(told) <= 0):
        if not rate:
            raise Refused(f"{path} does not say when its frames are shown, nor its rate; expected either")
        told = np.arange(len(frames)) / float(rate)
    return np.stack(frames), told - told[0]


def _read_folder(path: Path) -> tuple[UInt8[np.ndarray, "t h w 3"], Float64[np.ndarray, " t"]]:
    try:
        images = sorted(
            (one for one in path.iterdir() if one.suffix.lower() in IMAGES and not one.name.startswith(".")),
            key=_natural,
        )
        size, frames = None, []
        for one in images:
            frames.append(decode_picture(one.read_bytes(), one, size))
            size = frames[0].shape[:2]
    except OSError as error:
        raise Refused(f"{error.filename or path} cannot be read ({error.strerror}); expected images") from error
    if not frames:
        raise Refused(f"{path} holds no image; expected files that end in {', '.join(IMAGES)}")
    return np.stack(frames), np.arange(len(frames)) / IMAGES_FPS


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key by which numbers in names sort by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
