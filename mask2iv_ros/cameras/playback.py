"""A video file or a folder of images as a camera."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.decoding import decodable
from mask2iv_ros.errors import Refused

Frame = UInt8[np.ndarray, "h w 3"]

_IMAGES = (".png", ".jpg", ".jpeg")


class Playback:
    """Frames of a video file or of a folder of png and jpg images, in RGB and of one size.

    Iterating starts at the first frame and, with `loop`, goes on for ever. One frame is held at
    a time. A folder is played in natural order: `frame2.png` before `frame10.png`.

    Attributes:
        size: height and width of every frame.
        fps: frames per second at which it wants to be played.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int] | None = None, loop: bool = True, fps: float | None = None
    ) -> None:
        """Open a recording and read its first frame.

        Args:
            path: a video file that FFmpeg decodes, or a folder of images.
            size: height and width to which frames are resized; the first frame's if None.
            loop: begin again at the end.
            fps: overrides the video's own rate; a folder's is 10 where None.

        Raises:
            Refused: a missing, unreadable or empty recording; a size or an fps that is not
                positive. Later, while iterating: what cannot be decoded, an image of another size.
        """
        path = Path(path)
        if not path.exists():
            raise Refused(f"playback path {str(path)!r} does not exist; expected a video file or a folder of images")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise Refused(f"playback size is {size}; expected height and width of at least 1 pixel")
        if fps is not None and not (np.isfinite(fps) and fps > 0):
            raise Refused(f"playback fps is {fps}; expected a positive number")
        self.loop = loop
        self._source = _Folder(path) if path.is_dir() else _Video(path)
        first = next(self._source.frames())
        self.size = (first.shape[0], first.shape[1]) if size is None else (int(size[0]), int(size[1]))
        self.fps = float(self._source.fps if fps is None else fps)

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames from the first one on."""
        while True:
            for frame in self._source.frames():
                yield self._fit(frame)
            if not self.loop:
                return

    def _fit(self, frame: Frame) -> Frame:
        if frame.shape[:2] == self.size:
            return frame
        shrinks = self.size[0] * self.size[1] < frame.shape[0] * frame.shape[1]
        return cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


class _Folder:
    fps = 10.0  # images say nothing about time

    def __init__(self, folder: Path) -> None:
        found = [p for p in folder.iterdir() if p.suffix.lower() in _IMAGES and not p.name.startswith(".")]
        if not found:
            raise Refused(f"folder {str(folder)!r} holds no images; expected files ending in {', '.join(_IMAGES)}")
        self._paths = sorted(found, key=_natural)

    def frames(self) -> Iterator[Frame]:
        size = None
        for path in self._paths:
            try:
                encoded = np.frombuffer(path.read_bytes(), np.uint8)
            except OSError as error:
                raise Refused(f"image {str(path)!r} cannot be read: {error.strerror}; expected a png or jpg") from error
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB) if encoded.size else None
            if image is None:
                raise Refused(f"image {str(path)!r} cannot be decoded; expected a png or jpg")
            size = size or image.shape
            if image.shape != size:
                raise Refused(f"image {path.name!r} is {_by(image.shape)}; expected {_by(size)}, as the first one is")
            yield image


class _Video:
    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as container:
            rate = container.streams.video[0].average_rate
        self.fps = float(rate) if rate else 30.0  # a container may leave it out

    def frames(self) -> Iterator[Frame]:
        count = 0
        try:
            with self._open() as container:
                for frame in container.decode(video=0):
                    image = frame.to_ndarray(format="rgb24")
                    # Phones film upright by a note in the file; the pixels lie on their side.
                    yield np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
                    count += 1
        except av.error.FFmpegError as error:
            raise Refused(
                f"video {str(self._path)!r} cannot be decoded after {count} frames: {error.strerror}; "
                "expected a video file that FFmpeg decodes"
            ) from error
        if not count:
            raise Refused(f"video {str(self._path)!r} has no frames; expected at least one")

    def _open(self) -> av.container.InputContainer:
        try:
            container = av.open(str(self._path), metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise Refused(
                f"video {str(self._path)!r} cannot be opened: {error.strerror}; "
                "expected a video file that FFmpeg decodes, or a folder of images"
            ) from error
        if decodable(container) is None:
            container.close()
            raise Refused(
                f"{str(self._path)!r} has no video that can be decoded; expected a video file or a folder of images"
            )
        return container


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key by which numbers in names sort by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} pixels"
