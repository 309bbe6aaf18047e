"""Which rollouts there are to be: their names, from which all else follows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.listed import Listed, read_list
from mask2iv_ros.imagining.settings import ImaginingSettings, parse_selection
from mask2iv_ros.imagining.source import Source


@dataclass(frozen=True)
class Unit:
    """One rollout that is to be.

    Attributes:
        id: "<source's id>.<frame>.<kind><number>".
        episode: number in the source.
        frame: that it begins with.
        kind: of goal; empty for a listed one.
        number: of the goal among those of its kind for this frame.
        listed: the goal that was asked for.
    """

    id: str
    episode: int
    frame: int
    kind: str = ""
    number: int = 0
    listed: Listed | None = None

    @property
    def place(self) -> str:
        """Name of the first frame."""
        return self.id.rpartition(".")[0]

    def noise(self, seed: int, candidate: int) -> int:
        """Return the seed of a candidate's noise: what it is depends on nothing that is made beside it."""
        told = hashlib.sha256(f"{seed} {self.id} {candidate}".encode()).digest()
        return int.from_bytes(told[:8]) >> 1


def plan(source: Source, settings: ImaginingSettings) -> list[Unit]:
    """Return the rollouts of a dataset, in the order of its frames, listed ones last.

    Raises:
        Refused: the selection, the frames or a list name what is not there.
    """
    lengths = {one.index: one.frames for one in source.dataset.episodes if one.index in source.known}
    chosen = parse_selection(settings.episodes, sorted(lengths))
    units = []
    for episode in chosen if settings.kinds else ():
        for frame in _frames(episode, lengths[episode], settings):
            for index in range(settings.rollouts):
                number, turn = divmod(index, len(settings.kinds))
                kind = settings.kinds[turn]
                units.append(Unit(_id(source, episode, frame, f"{kind}{number}"), episode, frame, kind, number))
    for path in settings.lists:
        for one in read_list(path, source.dataset.size):
            if one.episode not in chosen:
                raise Refused(f"{path} asks for episode {one.episode}; expected one that is chosen and was filmed")
            if one.frame >= lengths[one.episode]:
                raise Refused(f"{path} asks for frame {one.frame} of {lengths[one.episode]} of episode {one.episode}")
            name = _id(source, one.episode, one.frame, f"list{one.name}")
            units.append(Unit(name, one.episode, one.frame, listed=one))
    if len({unit.id for unit in units}) < len(units):
        raise Refused("two lists ask for the same goal; expected it once")
    return units


def _frames(episode: int, length: int, settings: ImaginingSettings) -> Sequence[int]:
    if settings.every is not None:
        return range(0, length, settings.every)
    if beyond := [frame for frame in settings.frames if frame >= length]:
        raise Refused(f"frame is {beyond[0]} and episode {episode} has {length} frames; expected one of these")
    return sorted(settings.frames)


def _id(source: Source, episode: int, frame: int, name: str) -> str:
    return f"{source.known[episode].id}.{frame}.{name}"
