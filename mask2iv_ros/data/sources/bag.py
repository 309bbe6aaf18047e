"""Episodes of ROS 2 bags, mcap or sqlite3: a camera's images with the states and commands that belong to them.

Every image is a frame. A state is the latest that was measured at or before the frame, a command the first that was
given from the frame on (`bag_times.align` says why). Frames without either are taken out, and their episode falls
into pieces there: after the last message of a topic nothing is made up. Times are those of the headers where all
topics have good ones of one clock, else those of reception (`bag_times.choose_times`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float32, Int64

from mask2iv_ros.data.sources.bag_file import Bag, find_bags
from mask2iv_ros.data.sources.bag_pictures import read_label_maps, read_pictures
from mask2iv_ros.data.sources.bag_pieces import labelled_frames, missing_frames, pieces_of, usable_frames
from mask2iv_ros.data.sources.bag_times import Aligned, Heard, align, choose_times
from mask2iv_ros.data.sources.bag_topics import COMPRESSED, IMAGE, TEXT, BagTopics, choose_topics, order_of
from mask2iv_ros.data.sources.bag_vectors import VECTORS, numbers_of
from mask2iv_ros.data.sources.base import SourceEpisode, require_camera
from mask2iv_ros.errors import Refused


@dataclass(frozen=True)
class BagSource:
    """Each bag an episode, named after its folder or file.

    Attributes:
        bags: their places by episode id.
        topics: as told, with those found that were not; "" where there is none.
    """

    name: ClassVar[str] = "bag"

    bags: Mapping[str, Path]
    topics: BagTopics
    _order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def open(cls, paths: str | Path | Sequence[str | Path], topics: BagTopics | None = None) -> Self:
        """List the bags, and find the topics that are not told in the first that has those that are.

        Args:
            paths: a bag's folder or file, a folder of bags, or several such.
            topics: that are taken.

        Raises:
            Refused: no bag, none that can be read, no such topic in any, several from which to choose, or two bags
                with the same id.
        """
        topics = topics or BagTopics()
        bags = find_bags([paths] if isinstance(paths, str | Path) else paths)
        refusal = None
        for path in bags.values():
            try:
                with Bag.open(path) as bag:
                    found = choose_topics(bag, topics)
                    wanted = [one for one in (found.state, found.action) if one]
                    return cls(bags, found, {topic: order_of(bag, topic) for topic in wanted})
            except Refused as error:
                refusal = refusal or error
        raise refusal

    def cameras(self) -> tuple[str, ...]:
        """Return the topics of images, with "." in place of "/": names that a clip's id may have."""
        return tuple(_camera(topic) for topic in self.topics.cameras)

    def ids(self) -> Sequence[str]:
        """Return the names of the bags; other characters than an id's are "_"."""
        return list(self.bags)

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Read one bag: first all but the pixels, then those of the frames that are taken.

        Raises:
            Refused: no such bag or camera; it is cut short, corrupt, lacks a topic or has it of another type, or has
                values that are not finite; no frame has a state, a command or a label; or the frames are too many
                for the memory.
        """
        require_camera(camera, self.cameras(), "the source")
        if id not in self.bags:
            raise Refused(f"there is no bag {id[:200]!r}; expected one of {', '.join(list(self.bags)[:5])}")
        topic = self.topics.cameras[self.cameras().index(camera)]
        with Bag.open(self.bags[id]) as bag:
            heard = self._listen(bag, topic)
            times, _ = self._times(heard)
            try:
                return self._episode(id, bag, topic, heard, times)
            except Refused as error:
                raise error if str(bag.path) in str(error) else Refused(f"{bag.path}: {error}") from error

    def describe(self) -> list[str]:
        """Return what is taken, in sentences: the topics, and of the first bag that can be read, its clocks."""
        taken = self.topics
        told = [
            f"cameras: {', '.join(taken.cameras)}; state: {taken.state or 'none'}; action: {taken.action or 'none'}; "
            f"labels: {taken.labels or 'made'}"
        ]
        for id_, path in self.bags.items():
            try:
                with Bag.open(path) as bag:
                    return [*told, f"{id_}: {self._times(self._listen(bag, taken.cameras[0]))[1]}"]
            except Refused:
                continue
        return told

    def _times(self, heard: Mapping[str, Heard]) -> tuple[dict[str, Int64[np.ndarray, " n"]], str]:
        # Label images are found by their stamps, however late they come.
        return choose_times({topic: one for topic, one in heard.items() if topic != self.topics.labels})

    def _listen(self, bag: Bag, camera: str) -> dict[str, Heard]:
        taken = self.topics
        kinds = {camera: bag.require(camera, (IMAGE, COMPRESSED))}
        for topic, fitting in (
            (taken.labels, (IMAGE,)),
            (taken.task, (TEXT,)),
            (taken.state, VECTORS),
            (taken.action, VECTORS),
        ):
            if topic:
                kinds[topic] = bag.require(topic, tuple(fitting))
        heard = {topic: Heard() for topic in kinds}
        for topic, time, message in bag.messages(kinds):
            own = heard[topic]
            own.received.append(time)
            stamp = getattr(getattr(message, "header", None), "stamp", None)
            own.stamped.append(0 if stamp is None else stamp.sec * 10**9 + stamp.nanosec)
            if kinds[topic] in VECTORS:
                own.numbers.append(
                    numbers_of(message, kinds[topic], f"{bag.path}: message {len(own.received) - 1} on {topic}")
                )
        for topic in kinds:
            if not heard[topic].received and topic != taken.task:
                raise Refused(f"{bag.path} has no message on {topic}; expected some")
        return {topic: one for topic, one in heard.items() if one.received}

    def _episode(
        self,
        id: str,  # noqa: A002
        bag: Bag,
        camera: str,
        heard: Mapping[str, Heard],
        times: Mapping[str, Int64[np.ndarray, " n"]],
    ) -> SourceEpisode:
        taken = self.topics
        seen = np.arange(len(times[camera]))
        labelled: dict[int, int] = {}
        if taken.labels:
            labelled = labelled_frames(heard[camera].stamped, heard[taken.labels].stamped)
            if not labelled:
                raise Refused(
                    f"no image on {taken.labels} has the stamp of one on {camera}; expected the camera's stamps"
                )
            seen = np.array(sorted(labelled))
        moments = times[camera][seen]
        columns = {
            topic: align(
                times[topic],
                heard[topic].numbers,
                moments,
                taken.stale,
                topic == taken.action,
                self._order.get(topic, ()),
            )
            for topic in (taken.state, taken.action)
            if topic
        }
        usable = usable_frames(columns, len(seen))
        missing = missing_frames(usable, seen, moments, columns, taken.stale)
        spans = pieces_of(usable, self._texts(bag, times, moments))
        chosen = seen[usable]
        frames = read_pictures(bag, camera, chosen, taken.height)
        labels = None
        if taken.labels:
            places = [labelled[one] for one in chosen.tolist()]
            labels = read_label_maps(bag, taken.labels, places, frames.shape[1:3], bool(taken.height))
        state, action = (_values(columns.get(topic), usable) for topic in (taken.state, taken.action))
        moments = moments[usable]
        return SourceEpisode(
            id=id,
            frames=frames,
            times=(moments - moments[0]) / 1e9,
            task=spans[0].task,
            state=state,
            action=action,
            state_names=_names(columns.get(taken.state)),
            action_names=_names(columns.get(taken.action)),
            labels=labels,
            spans=spans if len(spans) > 1 else None,
            missing=missing,
        )

    def _texts(
        self, bag: Bag, times: Mapping[str, Int64[np.ndarray, " n"]], moments: Int64[np.ndarray, " t"]
    ) -> list[str]:
        """Return each frame's task: the latest text at or before it."""
        if self.topics.task not in times:
            return [""] * len(moments)
        said = [" ".join(one.message.data.split()) for one in bag.messages([self.topics.task])]
        found = np.searchsorted(times[self.topics.task], moments, "right") - 1
        # A text that comes after the first frames is of them, too: nothing else was said.
        return [said[max(0, index)] for index in found]


def _camera(topic: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", topic.strip("/").replace("/", "."))[:100]


def _values(found: Aligned | None, usable: Bool[np.ndarray, " t"]) -> Float32[np.ndarray, "t n"] | None:
    return None if found is None else found.values[usable].astype(np.float32)


def _names(found: Aligned | None) -> tuple[str, ...] | None:
    return found.names if found is not None and found.named else None
