"""BridgeData V2's raw release: a folder of JPEGs a camera, pickled states and actions, an instruction.

The layout is that of `data_processing/bridgedata_raw_to_numpy.py` in https://github.com/rail-berkeley/bridge_data_v2:

    rss/toykitchen2/set_table/00/2022-01-01_00-00-00/raw/traj_group0/traj0/
        images0/im_0.jpg ...    one folder a camera; the fixed one is images0 as a rule
        obs_dict.pkl            full_state (t, 7), time_stamp (t,) in seconds, and more
        policy_out.pkl          t - 1 actions (7,), bare or in dictionaries under "actions"
        lang.txt                the instruction, and how confident its writer was; may be missing
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from mask2iv_ros.data.sources.base import SourceEpisode, require_camera
from mask2iv_ros.data.sources.bridge_facts import ACTION_NAMES, RATE, STATE_NAMES, names_for
from mask2iv_ros.data.sources.pickled import as_array, load_plain
from mask2iv_ros.data.sources.pictures import decode_picture
from mask2iv_ros.errors import Refused

# Most have three or fewer; the authors' converter knows four and drops what little has more.
_CAMERAS = ("images0", "images1", "images2", "images3", "images4")
# "Data collected prior to 7-23 has a delay of 1, otherwise a delay of 0", says the converter.
_NO_DELAY_FROM = datetime(2021, 7, 23)
_ID_LENGTH = 160


class _Steps(NamedTuple):
    """What the pickles hold, a row an image; one action fewer."""

    state: Float32[np.ndarray, "t n"]
    action: Float32[np.ndarray, "s m"]
    times: Float64[np.ndarray, " t"]


@dataclass(frozen=True)
class BridgeRaw:
    """Every trajectory below a folder of the raw release.

    The last image of a trajectory has no action and is left out, and recordings from before July 23rd, 2021 are
    paired one step later, both as in the authors' converter: no value is made up. States and actions are rounded
    to float32, as in their TFDS release.

    Attributes:
        root: any folder of the release that holds trajectories.
    """

    name: ClassVar[str] = "bridge"

    root: Path
    _folders: Mapping[str, str]  # words: 60,000 paths are pickled with every job

    @classmethod
    def open(cls, root: str | Path) -> Self:
        """List the trajectories; none of their files is touched.

        Raises:
            Refused: no such folder, or none in it.
        """
        root = Path(root).expanduser().resolve()
        if not root.is_dir():
            raise Refused(f"{root} is no folder; expected one of BridgeData V2's raw release")
        folders: dict[str, str] = {}
        try:
            for place, names, _ in os.walk(root, onerror=_raise):
                names.sort()
                if re.fullmatch(r"traj_group\d+", Path(place).name):
                    found = [name for name in names if re.fullmatch(r"traj\d+", name)]
                    below = os.path.relpath(place, root)
                    folders |= {_id(Path(below, name)): os.path.join(below, name) for name in found}  # noqa: PTH118
                    names.clear()
                # A cache of some lab's that the release carries along; the converter leaves it out, too.
                names[:] = [name for name in names if "lmdb" not in name]
        except OSError as error:
            raise Refused(f"{error.filename} cannot be read ({error.strerror}); expected the raw release") from error
        if not folders:
            raise Refused(f"{root} holds no folder such as raw/traj_group0/traj0; expected BridgeData V2's raw release")
        return cls(root, folders)

    def cameras(self) -> tuple[str, ...]:
        """Return the names of the folders that a trajectory may have; most have some of them."""
        return _CAMERAS

    def ids(self) -> Sequence[str]:
        """Return the trajectories' folders below `root`, with dots between."""
        return list(self._folders)

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Read one trajectory; times are the robot's own, or 5 a second where it noted none.

        Raises:
            Refused: no such trajectory, this camera did not film it, a file is missing or corrupt, or their lengths
                do not fit together.
        """
        if id not in self._folders:
            raise Refused(f"{self.root} has no trajectory {id[:200]!r}; it has {len(self._folders)} others")
        folder = self.root / self._folders[id]
        require_camera(camera, [name for name in _CAMERAS if (folder / name).is_dir()], folder)
        pictures = _pictures(folder / camera)
        steps = _steps(folder)
        if not len(pictures) == len(steps.state) == len(steps.times) == len(steps.action) + 1:
            raise Refused(
                f"{folder} has {len(pictures)} images, {len(steps.state)} states, {len(steps.times)} times and "
                f"{len(steps.action)} actions; expected as many of each and one action fewer"
            )
        delay = _delay(folder)
        seen = slice(delay, len(pictures) - 1)
        if not pictures[seen]:
            raise Refused(f"{folder} has {len(pictures)} images; expected at least {delay + 2}")
        frames = _decode(pictures[seen])
        return SourceEpisode(
            id=id,
            frames=frames,
            times=steps.times[seen] - steps.times[delay],
            task=_instruction(folder / "lang.txt"),
            state=steps.state[seen],
            action=steps.action[: len(frames)],
            state_names=names_for(STATE_NAMES, steps.state.shape[1]),
            action_names=names_for(ACTION_NAMES, steps.action.shape[1]),
        )


def _id(path: Path) -> str:
    """Return a name for a folder that no other has, from its way below the root."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", ".".join(path.parts))
    if len(name) <= _ID_LENGTH and all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in path.parts):
        return name
    # What was cut off or replaced, or a dot in a folder's name, may be all that tells two of them apart.
    return f"{name[-_ID_LENGTH:]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _raise(error: OSError) -> None:
    raise error


def _pictures(folder: Path) -> list[Path]:
    """Return a camera's files in the order of their numbers."""
    try:
        names = {one.name for one in folder.iterdir() if re.fullmatch(r"im_\d+\.jpg", one.name)}
    except OSError as error:
        raise Refused(f"{folder} cannot be read ({error.strerror}); expected images im_0.jpg, ...") from error
    expected = [f"im_{number}.jpg" for number in range(len(names))]
    if missing := [name for name in expected if name not in names]:
        raise Refused(f"{folder} has {len(names)} images and no {missing[0]}; expected them numbered without a gap")
    return [folder / name for name in expected]


def _decode(paths: Sequence[Path]) -> UInt8[np.ndarray, "t h w 3"]:
    frames: list[np.ndarray] = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Refused(f"{path} cannot be read ({error.strerror}); expected a JPEG") from error
        frames.append(decode_picture(data, path, frames[0].shape[:2] if frames else None))
    return np.stack(frames)


def _steps(folder: Path) -> _Steps:
    observed, done = (load_plain(folder / name) for name in ("obs_dict.pkl", "policy_out.pkl"))
    if not (isinstance(observed, dict) and isinstance(done, list)):
        raise Refused(
            f"{folder} has a {type(observed).__name__} of observations and a {type(done).__name__} of actions; "
            "expected a dict and a list"
        )
    state = _matrix(observed.get("full_state"), f"full_state in {folder / 'obs_dict.pkl'}")
    rows = [one.get("actions") if isinstance(one, dict) else one for one in done]
    action = _matrix(rows, f"the list of actions in {folder / 'policy_out.pkl'}")
    if observed.get("time_stamp") is None:
        return _Steps(state, action, np.arange(len(state)) / RATE)
    times = as_array(observed["time_stamp"], f"time_stamp in {folder / 'obs_dict.pkl'}")
    if times.ndim != 1 or times.dtype.kind not in "fiu":
        raise Refused(f"time_stamp in {folder / 'obs_dict.pkl'} is {times.dtype} {times.shape}; expected seconds (t,)")
    return _Steps(state, action, times.astype(np.float64))


def _matrix(value: Any, what: str) -> Float32[np.ndarray, "t n"]:
    found = as_array(value, what)
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise Refused(f"{what} is {found.dtype} {found.shape}; expected a row of numbers a step")
    return found.astype(np.float32)


def _delay(folder: Path) -> int:
    """Return by how many steps the camera lagged; the dated folder above the trajectory tells."""
    name = folder.parents[2].name
    try:
        return int(datetime.strptime(name, "%Y-%m-%d_%H-%M-%S") < _NO_DELAY_FROM)
    except ValueError as error:
        raise Refused(
            f"{folder} lies below a folder {name!r}; expected the release's, such as 2022-01-01_00-00-00: it tells "
            "whether the camera lagged"
        ) from error


def _instruction(path: Path) -> str:
    """Return the first line of lang.txt that is not the writer's confidence in it; "" where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read ({error}); expected an instruction in UTF-8") from error
    return next((line.strip() for line in lines if line.strip() and "confidence" not in line), "")
