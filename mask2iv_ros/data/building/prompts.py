"""What a person says about episodes without masks: clicks, boxes or words, in a small YAML file or on the command line.

The file, in which either of `all` and `episodes` may be left out:

    all:                                  # of every episode that is not named below
      interactor: robot gripper           # words, for back ends that find things by text
      object: cup
    episodes:
      kitchen_03.mp4:                     # id of the episode: a file, "000004", or as train-00000-00004 in RLDS
        - interactor: {box: [410, 0, 120, 230]}                     # x, y, width, height in the source's pixels
          object: {points: [[322, 180]], outside: [[360, 175]]}     # clicks on it, and beside it
          task: put the cup on the shelf  # in place of the source's text; may be left out
        - frame: 210                      # from this frame on; frames before the first entry are not used
          interactor: [{points: [[100, 30]]}, {points: [[500, 40]]}]  # two arms
          object: {box: [200, 160, 40, 60]}
          camera: front                   # only for this camera; may be left out
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import Prompt

_NUMBERS = re.compile(r"-?\d+(,-?\d+)*")
_KEYS = {"frame", "camera", "task", "interactor", "object"}
_SHAPE = {"points", "outside", "box"}


@dataclass(frozen=True)
class Asked:
    """What is said of one frame.

    Attributes:
        prompts: of the object, at least one; and of the interactor, where motion does not find it.
        frame: of the episode; what is said holds from it on.
        camera: that it is said of; "" for every camera.
        task: in place of the source's text; "" to keep that.
    """

    prompts: tuple[Prompt, ...]
    frame: int = 0
    camera: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        if not self.of(Role.OBJECT):
            raise Refused("nothing is said of the object; expected clicks, a box or words of it")
        if self.frame < 0:
            raise Refused(f"frame is {self.frame}; expected 0 or more")

    def of(self, role: Role) -> tuple[Prompt, ...]:
        """Return what is said of a role."""
        return tuple(one for one in self.prompts if one.role == role)


@dataclass(frozen=True)
class Prompts:
    """What is said of a source's episodes.

    Attributes:
        episodes: of those that are named, by id.
        everywhere: of all others; None if nothing is.
        digest: changes with what is said.
    """

    episodes: Mapping[str, tuple[Asked, ...]] = field(default_factory=dict)
    everywhere: Asked | None = None
    digest: str = ""

    def of(self, episode: str, camera: str) -> tuple[Asked, ...]:
        """Return what is said of an episode as a camera saw it, by ascending frames; nothing if nothing is."""
        if episode not in self.episodes:
            return () if self.everywhere is None else (self.everywhere,)
        fitting = [one for one in self.episodes[episode] if one.camera in ("", camera)]
        return tuple(sorted(fitting, key=lambda one: one.frame))

    def require_interactors(self, said: bool) -> None:
        """Check that something is said of the interactor wherever something is said of the object, or nowhere.

        Raises:
            Refused: otherwise; the sentence names the first entry.
        """
        entries = [(name, asked) for name, entries in self.episodes.items() for asked in entries]
        for name, asked in [*entries, *([("all", self.everywhere)] if self.everywhere else [])]:
            if said and not asked.of(Role.INTERACTOR):
                raise Refused(f"nothing is said of the interactor of {name!r}; expected clicks, a box or words of it")
            if not said and asked.of(Role.INTERACTOR):
                raise Refused(f"motion finds the interactor of {name!r}, of which something is said; expected nothing")

    def require_known(self, ids: Sequence[str]) -> None:
        """Check that the source has every episode that is named: nothing said of another would be heard.

        Raises:
            Refused: it has not; the sentence names the first.
        """
        if unknown := sorted(self.episodes.keys() - set(ids)):
            known = ", ".join(ids[:3])
            raise Refused(f"prompts are of episode {unknown[0]!r}, which the source has not; its ids are as {known}")


def read_prompts(path: Path) -> Prompts:
    """Read the YAML file described above.

    Raises:
        Refused: it cannot be read, or says something else; the sentence names the entry.
    """
    try:
        told = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"{path} cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(told, dict) or not told or not told.keys() <= {"all", "episodes"}:
        raise Refused(f"{path} holds {_short(told)}; expected the keys 'all' and 'episodes', at least one of them")
    try:
        everywhere = _asked(told["all"], "all") if "all" in told else None
        named = told.get("episodes", {})
        if not isinstance(named, dict):
            raise Refused(f"episodes is {_short(named)}; expected entries by episode id")
        episodes = {}
        for name, entries in named.items():
            entries = entries if isinstance(entries, list) else [entries]
            episodes[str(name)] = tuple(
                _asked(entry, f"{name}, entry {place + 1}") for place, entry in enumerate(entries)
            )
            _require_apart(str(name), episodes[str(name)])
    except Refused as refusal:
        raise Refused(f"{path}: {refusal}") from refusal
    return Prompts(episodes, everywhere, json.dumps(told, default=str))


def _require_apart(name: str, entries: Sequence[Asked]) -> None:
    """Refuse entries that begin at the same frame of the same camera: no frame would be left for the first."""
    for one, other in combinations(entries, 2):
        if one.frame == other.frame and (one.camera == other.camera or not (one.camera and other.camera)):
            raise Refused(f"{name} has two entries from frame {one.frame} on; expected one a frame and camera")


def told_prompts(interactor: Sequence[str], object_: Sequence[str]) -> Prompts:
    """Return prompts from a command line: per role words, or "X,Y" of clicks, or one "X,Y,WIDTH,HEIGHT" of a box.

    Raises:
        Refused: the object has nothing, or a role something else.
    """
    prompts = (*((_told(Role.INTERACTOR, interactor),) if interactor else ()), _told(Role.OBJECT, object_))
    return Prompts(everywhere=Asked(prompts), digest=json.dumps([list(interactor), list(object_)]))


def _told(role: Role, given: Sequence[str]) -> Prompt:
    name = role.name.lower()
    numbers = [[int(one) for one in value.split(",")] for value in given if _NUMBERS.fullmatch(value)]
    if given and not numbers:
        return Prompt(role, words=" ".join(given))
    points = [one for one in numbers if len(one) == 2]
    boxes = [one for one in numbers if len(one) == 4]
    if len(numbers) != len(given) or len(points) + len(boxes) != len(numbers) or len(boxes) > 1 or not numbers:
        raise Refused(
            f"--{name} is {' '.join(given)!r}; expected words, clicks as X,Y, or a box as X,Y,WIDTH,HEIGHT in pixels"
        )
    xs, ys = ([one[axis] for one in points] for axis in (0, 1))
    return Prompt.from_lists(int(role), xs, ys, box=boxes[0] if boxes else ())


def _asked(entry: Any, where: str) -> Asked:
    if not isinstance(entry, dict):
        raise Refused(f"{where} is {_short(entry)}; expected a mapping with interactor and object")
    if unknown := sorted(map(str, entry.keys() - _KEYS)):
        raise Refused(f"{where} has the key {unknown[0]!r}; accepted are {', '.join(sorted(_KEYS))}")
    prompts: list[Prompt] = []
    for role in (Role.INTERACTOR, Role.OBJECT):
        said = entry.get(role.name.lower(), [])
        for one in said if isinstance(said, list) else [said]:
            try:
                prompts.append(_prompt(role, one))
            except Refused as refusal:
                raise Refused(f"{where}, {role.name.lower()}: {refusal}") from refusal
    frame, camera, task = entry.get("frame", 0), entry.get("camera", ""), entry.get("task", "")
    if isinstance(frame, bool) or not isinstance(frame, int):
        raise Refused(f"{where}: frame is {_short(frame)}; expected a whole number")
    if not isinstance(camera, str) or not isinstance(task, str):
        raise Refused(f"{where}: camera is {_short(camera)} and task {_short(task)}; expected texts")
    try:
        return Asked(tuple(prompts), frame, camera, task)
    except Refused as refusal:
        raise Refused(f"{where}: {refusal}") from refusal


def _prompt(role: Role, said: Any) -> Prompt:
    if isinstance(said, str):
        return Prompt(role, words=said)
    if not isinstance(said, dict) or not said or not said.keys() <= _SHAPE:
        raise Refused(f"it is {_short(said)}; expected words, or a mapping with points, outside and box")
    points, outside, box = (said.get(key, []) for key in ("points", "outside", "box"))
    for name, value, width in (("points", points, 2), ("outside", outside, 2), ("box", [box] if box else [], 4)):
        if not isinstance(value, list) or not all(_whole(one, width) for one in value):
            raise Refused(f"{name} is {_short(value)}; expected whole numbers, {width} each, in pixels")
    xs, ys = ([one[axis] for one in [*points, *outside]] for axis in (0, 1))
    return Prompt.from_lists(int(role), xs, ys, [True] * len(points) + [False] * len(outside), box)


def _whole(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(one, int) and not isinstance(one, bool) and abs(one) < 2**31 for one in value)
    )


def _short(value: Any) -> str:
    return repr(value)[:80]
