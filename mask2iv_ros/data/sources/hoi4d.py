"""HOI4D: first-person videos of hands that handle things, with masks and the times of actions.

The layout, from https://github.com/leolyliu/HOI4D-Instructions:

    ZY2021080000*/H*/C*/N*/S*/s*/T*/      camera, person, category, instance, room, its layout, task
        align_rgb/image.mp4               300 frames of 1920 x 1080, as a rule 20 s at 15 a second
        2Dseg/shift_mask/00000.png ...    a mask a frame; some cameras have 2Dseg/mask instead
        action/color.json                 what happens from when to when

Its archives unpack to HOI4D_release (videos) and HOI4D_annotations (the rest), each with this tree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import av
import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from mask2iv_ros.data.sources.base import SourceEpisode, Span, require_camera
from mask2iv_ros.data.sources.hoi4d_facts import Thing, decode_labels, handled, roles_of_labels
from mask2iv_ros.data.sources.pictures import decode_picture
from mask2iv_ros.decoding import decodable
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

HEIGHT = 480  # pixels to which recordings are reduced, unless more are asked for
_CAMERA = "align_rgb"
_LEVELS = [re.compile(level) for level in (r"ZY\d+", r"H\d+", r"C\d+", r"N\d+", r"S\d+", r"s\d+", r"T\d+")]
_MASKS = ("shift_mask", "mask")  # the first is aligned to the video
_RATE = 15  # frames a second at which masks were drawn: utils/decode.py
_LONGEST = 1800  # frames; 60 s at 30 a second
_LARGEST_JSON = 1 << 24  # bytes
_SLACK = 1.05  # by which an action may outlast the recording


class _Action(NamedTuple):
    """One action; times are shares of the recording, because some files' clock runs at half its rate."""

    event: str
    start: float
    stop: float


class _Video(NamedTuple):
    frames: UInt8[np.ndarray, "t h w 3"]
    times: Float64[np.ndarray, " t"]
    size: tuple[int, int]  # (height, width) as filmed


@dataclass(frozen=True)
class Hoi4d:
    """Every recording below a folder of HOI4D.

    A recording's spans are the actions in which something is handled, each with its text; outside of them frames
    are unlabelled. The object is what that action handles: a bottle while it is put into a drawer, else the drawer.

    Attributes:
        root: the folder above ZY*, or above HOI4D_release and HOI4D_annotations.
        height: to which frames and masks are reduced; a recording as filmed fills 1.9 GB.
    """

    name: ClassVar[str] = "hoi4d"

    root: Path
    height: int
    _ids: tuple[str, ...]

    @classmethod
    def open(cls, root: str | Path, height: int = HEIGHT) -> Self:
        """List the recordings; none of their files is touched.

        Raises:
            Refused: no such folder, no recording in it, or a height that is none.
        """
        root = Path(root).expanduser().resolve()
        if height < 16:
            raise Refused(f"height is {height}; expected at least 16 pixels")
        try:
            ids = tuple("_".join(parts) for parts in _recordings(_below(root, "HOI4D_release")))
        except OSError as error:
            raise Refused(f"{error.filename} cannot be read ({error.strerror}); expected HOI4D's folders") from error
        if not ids:
            raise Refused(f"{root} holds no folder such as ZY20210800001/H1/C1/N1/S1/s1/T1; expected HOI4D")
        return cls(root, int(height), ids)

    def cameras(self) -> tuple[str, ...]:
        """Return the one camera that there is, on the person's head."""
        return (_CAMERA,)

    def ids(self) -> Sequence[str]:
        """Return the recordings' folders, with underscores between."""
        return list(self._ids)

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Read one recording with its masks and actions.

        Raises:
            Refused: no such recording or camera, a file that is missing or corrupt, a mask of another size than
                the video, or no action in which anything is handled.
        """
        require_camera(camera, self.cameras(), self.root)
        if id not in self._ids:
            raise Refused(f"{self.root} has no recording {id[:200]!r}; it has {len(self._ids)} others")
        parts = id.split("_")
        notes = _below(self.root, "HOI4D_annotations").joinpath(*parts)
        actions = _actions(notes / "action/color.json")
        try:
            things = handled(parts[2], parts[6], [action.event for action in actions])
        except Refused as error:
            raise Refused(f"recording {id}: {error}") from error
        masks = _masks(notes / "2Dseg")
        video = _decode(_below(self.root, "HOI4D_release").joinpath(*parts, "align_rgb/image.mp4"), self.height)
        video = _at_the_masks_rate(video, len(masks))
        if max(masks) >= len(video.frames):
            raise Refused(
                f"recording {id} has {len(video.frames)} frames and a mask {masks[max(masks)].name}; expected as "
                "many frames: the video is cut short, or of another recording"
            )
        count = len(video.frames)
        labels = np.full(video.frames.shape[:3], Role.UNLABELLED, np.uint8)
        spans = []
        for action, found in zip(actions, things, strict=True):
            start, stop = (min(round(share * count), count) for share in (action.start, action.stop))
            if found is None or stop <= start:
                continue
            text, thing = found
            spans.append(Span(start, stop, text))
            for frame in range(start, stop):
                labels[frame] = _roles(masks, frame, parts[2], thing, video)
        if not spans:
            raise Refused(f"recording {id} has {len(actions)} actions and none that handles anything; expected one")
        return SourceEpisode(id=id, frames=video.frames, times=video.times, labels=labels, spans=tuple(spans))


def _below(root: Path, name: str) -> Path:
    return root / name if (root / name).is_dir() else root


def _recordings(folder: Path, level: int = 0) -> Iterator[tuple[str, ...]]:
    """Yield the names of the folders on the way to each recording."""
    if level == len(_LEVELS):
        yield ()
        return
    for child in sorted(folder.iterdir()):
        if _LEVELS[level].fullmatch(child.name) and child.is_dir():
            yield from ((child.name, *rest) for rest in _recordings(child, level + 1))


def _actions(path: Path) -> list[_Action]:
    """Read action/color.json, of which the release has two forms, in the order of time."""
    try:
        with path.open("rb") as file:
            known = json.loads(file.read(_LARGEST_JSON))
        info = known["info"]
        duration = float(info["duration"] if "duration" in info else info["Duration"])
        if "events" in known:
            rows, keys = known["events"], ("startTime", "endTime")
        else:
            rows, keys = known["markResult"]["marks"], ("hdTimeStart", "hdTimeEnd")
        found = [_Action(str(row["event"]), *(float(row[key]) / duration for key in keys)) for row in rows]
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); expected the times of actions") from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise Refused(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected HOI4D's info.duration, and events or "
            "markResult.marks"
        ) from error
    for action in found:
        if not (math.isfinite(duration) and 0 <= action.start <= action.stop <= _SLACK):
            raise Refused(
                f"{path} has {action.event[:100]!r} from {action.start * duration:g} to {action.stop * duration:g} s "
                f"of {duration:g} s; expected it within the recording"
            )
    return sorted(found, key=lambda action: action.start)


def _masks(folder: Path) -> dict[int, Path]:
    """Return the masks by their frames."""
    for name in _MASKS:
        if (folder / name).is_dir():
            names = [path.name for path in (folder / name).iterdir() if re.fullmatch(r"[0-9]{5}\.png", path.name)]
            if names:
                return {int(one[:5]): folder / name / one for one in names}
    raise Refused(f"{folder} has no {' and no '.join(f'{name}/00000.png' for name in _MASKS)}; expected masks")


def _roles(masks: dict[int, Path], frame: int, category: str, thing: Thing, video: _Video) -> UInt8[np.ndarray, "h w"]:
    if frame not in masks:
        raise Refused(
            f"{masks[min(masks)].parent} has no {frame:05d}.png; expected a mask for every frame of an action"
        )
    path = masks[frame]
    try:
        picture = decode_picture(path.read_bytes(), path, video.size)
        # Reduced before colours become labels: the same labels in a fifth of the time.
        picture = cv2.resize(picture, video.frames.shape[2:0:-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return roles_of_labels(category, thing)[decode_labels(picture)]
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); expected a mask") from error
    except Refused as error:
        raise error if str(path) in str(error) else Refused(f"mask {path}: {error}") from error


def _decode(path: Path, height: int) -> _Video:
    """Decode a video, reduced to a height and an even width."""
    times: list[float] = []
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if (stream := decodable(container)) is None:
                raise Refused(f"{path} has no video that can be decoded; expected HOI4D's image.mp4")
            size = (stream.height, stream.width)
            height = min(height, size[0])
            width = 2 * round(size[1] * height / size[0] / 2)
            # Room for as many as it promises: a list of frames would have to be copied, which doubles the memory.
            frames = np.empty((min(stream.frames, _LONGEST) or _LONGEST, height, width, 3), np.uint8)
            for frame in container.decode(stream):
                if len(times) == len(frames):
                    raise Refused(f"{path} has over {len(frames)} frames; expected a recording of 20 s")
                frames[len(times)] = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
                times.append(float(frame.time))
    except (av.error.FFmpegError, OSError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{path} cannot be decoded after {len(times)} frames ({why}); expected a whole video") from error
    if not times:
        raise Refused(f"{path} has no frame that can be decoded; expected HOI4D's image.mp4")
    return _Video(frames[: len(times)], np.array(times) - times[0], size)


def _at_the_masks_rate(video: _Video, masks: int) -> _Video:
    """Return the frames that the masks were drawn on: all if there are as many, else those at 15 a second."""
    if len(video.frames) == masks:
        return video
    count = math.floor(video.times[-1] * _RATE + 0.01) + 1  # times in a file are rounded
    nearest = np.abs(video.times[None] - np.arange(count)[:, None] / _RATE).argmin(1)
    chosen = np.unique(nearest)
    return _Video(video.frames[chosen], video.times[chosen], video.size)
