"""Why something is not in a dataset."""

from __future__ import annotations

from typing import NamedTuple

from mask2iv_ros.errors import Refused


class Drop(NamedTuple):
    """Why a clip, or an episode, is left out.

    Attributes:
        kind: one of a few, by which drops are counted.
        words: what was found and what is accepted.
    """

    kind: str
    words: str


class Dropped(Refused):
    """An episode or a piece of it cannot become clips; the others can."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.drop = Drop(kind, words)
