"""Reads goals that a planner wrote: JSON lines or CSV, one rollout a line.

    {"episode": 0, "frame": 0, "dx": 24, "dy": -3, "rotation": 0.2, "scale": 1.1}
    {"episode": 4, "mask": "goals/4.png", "instruction": "push the mug behind the plate"}

`episode` is the number in the source, `frame` (0) the first of the rollout. `dx`, `dy` (pixels to the right and down),
`rotation` (radians, clockwise) and `scale` move the object's present mask; `mask` is an 8-bit picture beside the list,
of the frames' size and non-zero where the object should be. A CSV file has these names in its first line; an empty
cell is one that is left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import move_mask

_MOST_BYTES = 1 << 26
_MOST_TEXT = 1000


@dataclass(frozen=True)
class Listed:
    """A goal that was asked for.

    Attributes:
        episode: number in the source.
        frame: that the rollout begins with.
        dx: pixels to the right.
        dy: pixels downwards.
        rotation: clockwise, in radians.
        scale: size factor.
        mask: the goal itself; the object is then not moved.
        instruction: text; empty: the source's.
    """

    episode: int
    frame: int = 0
    dx: float = 0.0
    dy: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    mask: Bool[np.ndarray, "h w"] | None = None
    instruction: str = ""

    @property
    def name(self) -> str:
        """Eight hexadecimal digits that follow from what is asked for."""
        told = self.dx, self.dy, self.rotation, self.scale, self.instruction
        state = hashlib.sha256(repr(told).encode())
        if self.mask is not None:
            state.update(np.packbits(self.mask).tobytes())
        return state.hexdigest()[:8]

    def goal(self, start: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """Return the goal mask for an object that is at `start`.

        Raises:
            Refused: it leaves the picture.
        """
        return move_mask(start, self.dx, self.dy, self.rotation, self.scale) if self.mask is None else self.mask


def read_list(path: Path, size: tuple[int, int]) -> list[Listed]:
    """Read a list.

    Args:
        path: a file that ends in .csv, .jsonl or .json.
        size: (height, width) of the source's frames.

    Raises:
        Refused: it is missing, too large or none; a line lacks its episode, has an unknown name, a value out of range,
            both a mask and a move or neither, a mask that is not beside the list or of another size, or asks for
            what another line asks for.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Refused(f"{path} has {path.stat().st_size} bytes; expected a list of at most {_MOST_BYTES}")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read ({error}); expected JSON lines or CSV in UTF-8") from error
    if path.suffix not in (".csv", ".jsonl", ".json"):
        raise Refused(f"{path} ends in {path.suffix!r}; expected .jsonl or .csv")
    found: dict[tuple[int, int, str], int] = {}
    listed = []
    for line, told in _lines(path, text):
        one = _entry(f"{path}, line {line}", path.parent, told, size)
        other = found.setdefault((one.episode, one.frame, one.name), line)
        if other != line:
            raise Refused(f"{path}, line {line} asks for what line {other} asks for; expected it once")
        listed.append(one)
    if not listed:
        raise Refused(f"{path} has no goal; expected one a line")
    return listed


def _lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".csv":
        reader = csv.DictReader(text.splitlines(), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise Refused(f"{path}, line {reader.line_num} has another number of cells than the first line")
                yield reader.line_num, {name: _value(name, cell) for name, cell in row.items() if cell.strip()}
        except csv.Error as error:
            raise Refused(f"{path}, line {reader.line_num} is no CSV ({error}); expected cells under names") from error
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{path}, line {number} is no JSON ({error}); expected an object a line") from error
        if not isinstance(told, dict):
            raise Refused(
                f"{path}, line {number} is {line[:80]!r}; expected an object such as {{'episode': 0, 'dx': 9}}"
            )
        yield number, told


def _value(name: str, cell: str) -> int | float | str:
    for kind in () if name in ("mask", "instruction") else (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _entry(where: str, folder: Path, told: dict[str, Any], size: tuple[int, int]) -> Listed:
    names = [field.name for field in fields(Listed)]
    if unknown := sorted(told.keys() - set(names)):
        raise Refused(f"{where} has {unknown[0]!r}; accepted are {', '.join(names)}")
    if "episode" not in told:
        raise Refused(f"{where} names no episode; expected its number")
    for name in ("episode", "frame"):
        value = told.get(name, 0)
        if type(value) is not int or not 0 <= value < 1 << 40:
            raise Refused(f"{where} has {name} {_short(value)}; expected a number from 0 on")
    moved = {name: told[name] for name in ("dx", "dy", "rotation", "scale") if name in told}
    for name, value in moved.items():
        least, most = (0.1, 10) if name == "scale" else (-1e5, 1e5)
        if type(value) not in (int, float) or not least <= value <= most:
            raise Refused(f"{where} has {name} {_short(value)}; expected a number from {least:g} to {most:g}")
    if ("mask" in told) == bool(moved):
        raise Refused(
            f"{where} has {'both a mask and' if moved else 'neither a mask nor'} a move; expected one of them"
        )
    text = told.get("instruction", "")
    if not isinstance(text, str) or len(text) > _MOST_TEXT or not _is_line(text.strip()):
        raise Refused(f"{where} has the instruction {_short(text)}; expected one line of text")
    mask = _mask(where, folder, told["mask"], size) if "mask" in told else None
    return Listed(
        told["episode"], told.get("frame", 0), **{name: float(value) for name, value in moved.items()},
        mask=mask, instruction=text.strip(),
    )  # fmt: skip


def _mask(where: str, folder: Path, name: object, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    if not isinstance(name, str) or not name or "\0" in name or not _is_line(name):
        raise Refused(f"{where} has the mask {_short(name)}; expected the path of a PNG beside the list")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Refused(f"{where} has the mask {_short(name)}, which is not beside the list; expected one that is")
    try:
        there = path.is_file()
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if there else None
    except (OSError, cv2.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(f"{where} has the mask {_short(name)}, which cannot be read ({reason})") from error
    if image is None:
        word = "no picture" if there else "not there"
        raise Refused(f"{where} has the mask {_short(name)}, which is {word}; expected an 8-bit PNG")
    if image.shape != size:
        raise Refused(
            f"{where}: {_short(name)} is {image.shape[1]} x {image.shape[0]} pixels; expected the frames' "
            f"{size[1]} x {size[0]}"
        )
    if not image.any():
        raise Refused(f"{where}: {_short(name)} is all zero; expected non-zero pixels where the object should be")
    return image > 0


def _is_line(text: str) -> bool:
    # JSON can name halves of characters, which no file takes.
    return len(text.splitlines()) <= 1 and not any("\ud800" <= one <= "\udfff" for one in text)


def _short(value: object) -> str:
    return repr(value)[:80]
