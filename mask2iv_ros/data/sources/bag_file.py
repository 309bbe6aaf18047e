"""ROS 2 bags on the disk, by rosbags and without ROS: which there are, their topics, and their messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from mask2iv_ros.errors import Refused

FILES = (".mcap", ".db3")
METADATA = "metadata.yaml"

_DEEPEST = 4  # folders below the one that is told
_LATEST = 1 << 62  # ns
_LISTED = 40  # topics that a sentence names


class Received(NamedTuple):
    """One message.

    Attributes:
        topic: that it came on.
        time: ns at which the recorder received it.
        message: decoded, with the fields of its type.
    """

    topic: str
    time: int
    message: Any


@dataclass(frozen=True)
class Bag:
    """A bag that is open.

    Messages are decoded by the definitions of ROS 2 Jazzy: those that are read here have been the same since Foxy,
    bags of sqlite3 from before Jazzy hold none, and one that a bag brings along may be anything.

    Attributes:
        path: of the bag.
        topics: their types by their names; "" where a topic has several.
    """

    path: Path
    topics: Mapping[str, str]
    _reader: Reader

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open a bag, for a `with`.

        Raises:
            Refused: it is none, is cut short or is corrupt.
        """
        with ExitStack() as stack:
            with _refusing(path):
                reader = stack.enter_context(Reader(path))
            topics: dict[str, str] = {}
            for one in reader.connections:
                topics[one.topic] = one.msgtype if topics.get(one.topic, one.msgtype) == one.msgtype else ""
            yield cls(path, dict(sorted(topics.items())), reader)

    def of(self, types: Collection[str]) -> list[str]:
        """Return the topics of some types."""
        return [name for name, kind in self.topics.items() if kind in types]

    def require(self, topic: str, types: Collection[str]) -> str:
        """Return the type of a topic if it is one of some.

        Raises:
            Refused: there is no such topic, the sentence names those that there are, or it has another type, or a
                definition of it that is not Jazzy's.
        """
        if topic not in self.topics:
            raise Refused(f"{self.path} has no topic {topic!r}; its topics are {self.described()}")
        kind = self.topics[topic]
        if kind not in types:
            raise Refused(
                f"{self.path}: topic {topic} is of type {kind or 'several'}; expected one of {', '.join(types)}"
            )
        for one in self._connections([topic]):
            if one.ext.serialization_format != "cdr":
                raise Refused(f"{self.path}: topic {topic} is serialised as {one.ext.serialization_format!r}, not cdr")
            if one.digest and one.digest != _store().hash_rihs01(kind):
                raise Refused(f"{self.path}: its {kind} on {topic} is defined otherwise than that of ROS 2 Jazzy")
        return kind

    def described(self) -> str:
        """Return the topics with their types, in words."""
        told = [f"{name} ({kind or 'several types'})" for name, kind in self.topics.items()]
        more = f" and {len(told) - _LISTED} more" if len(told) > _LISTED else ""
        return ", ".join(told[:_LISTED]) + more or "none"

    def messages(self, topics: Collection[str]) -> Iterator[Received]:
        """Yield the messages on some topics, one after the other as they were received.

        Raises:
            Refused: the bag is corrupt, or a message is.
        """
        connections = self._connections(topics)
        if not connections:
            return
        store, raw = _store(), self._reader.messages(connections)
        while True:
            with _refusing(self.path):
                found = next(raw, None)
            if found is None:
                return
            connection, time, data = found
            # A database may have anything in its columns, and mcap counts to twice what ROS does.
            if not isinstance(data, bytes) or not isinstance(time, int) or not 0 <= time < _LATEST:
                raise Refused(
                    f"{self.path}: a message on {connection.topic} is {type(data).__name__} of time {str(time)[:40]}; "
                    f"expected bytes, received at 0 to {_LATEST} ns"
                )
            try:
                message = store.deserialize_cdr(data, connection.msgtype)
            except Exception as error:
                raise Refused(
                    f"{self.path}: a message of {len(data)} bytes on {connection.topic} is no {connection.msgtype} "
                    f"({_line(error)}); it is corrupt"
                ) from error
            yield Received(connection.topic, time, message)

    def _connections(self, topics: Collection[str]) -> list[Any]:
        return [one for one in self._reader.connections if one.topic in topics]


def find_bags(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Return the bags at some places by ids, which are their names; in natural order.

    Args:
        paths: each a bag's folder (with metadata.yaml), a lone file, or a folder of such things, at any depth.

    Raises:
        Refused: there is no bag, or two whose names differ only in characters that an id has not.
    """
    found: dict[str, Path] = {}
    for told in paths:
        root = Path(told).expanduser()
        try:
            inside = sorted(_bags(root, _DEEPEST), key=lambda path: _natural(path.relative_to(root)))
        except OSError as error:
            raise Refused(f"{root} cannot be read ({error.strerror}); expected a ROS 2 bag") from error
        if not inside:
            raise Refused(
                f"{root} holds no ROS 2 bag; expected a folder with {METADATA}, a file that ends in "
                f"{' or '.join(FILES)}, or a folder of such things"
            )
        for path in inside:
            below = path.relative_to(root).parts or (path.resolve().name,)
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", "_".join(below).removesuffix(path.suffix * (path.suffix in FILES)))
            if name[:200] in found:
                raise Refused(f"{found[name[:200]]} and {path} would both be episode {name[:200]!r}; rename one")
            found[name[:200]] = path
    return found


def _bags(path: Path, deepest: int) -> Iterator[Path]:
    if (path.is_file() and path.suffix in FILES) or (path / METADATA).is_file():
        yield path
    elif path.is_dir() and deepest:
        for one in path.iterdir():
            if not one.name.startswith("."):
                yield from _bags(one, deepest - 1)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key by which numbers in names sort by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


@cache
def _store() -> Typestore:
    return get_typestore(Stores.ROS2_JAZZY)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Refuse a bag that rosbags cannot read, whatever it raises: at corrupt files that is nearly anything."""
    try:
        yield
    except Exception as error:
        raise Refused(
            f"{path} cannot be read ({_line(error)}); expected a whole ROS 2 bag: `mcap recover` or `ros2 bag "
            "reindex` save what a crash has left"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
