"""Frames and label maps out of a bag: only those that are taken, none larger than they are wanted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from mask2iv_ros.data.sources.bag_file import Bag
from mask2iv_ros.data.sources.bag_topics import COMPRESSED
from mask2iv_ros.data.sources.pictures import decode_picture
from mask2iv_ros.encodings import pixel_rows, rgb
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import resize_labels

_MOST_BYTES = 4 << 30  # of decoded frames: a worker holds an episode in memory


def read_pictures(bag: Bag, topic: str, chosen: Collection[int], height: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Decode some of a topic's images; the others' bytes are passed over.

    Args:
        bag: to read.
        topic: of images, plain or compressed.
        chosen: their numbers, ascending.
        height: pixels to which higher ones are reduced; 0: none.

    Raises:
        Refused: one is corrupt or of another encoding or size, or all are too many for the memory.
    """
    kind, frames, size, told = bag.topics[topic], None, None, None
    wanted = {int(one): place for place, one in enumerate(chosen)}
    for index, one in enumerate(bag.messages([topic])):
        if index not in wanted:
            continue
        where = f"{bag.path}: image {index} on {topic}"
        picture = decode_picture(bytes(one.message.data), where) if kind == COMPRESSED else rgb(one.message, where)
        if frames is None:
            told = picture.shape[:2]
            size = _reduced(told, height)
            _check_memory(bag, len(wanted), size)
            frames = np.empty((len(wanted), *size, 3), np.uint8)
        if picture.shape[:2] != told:
            raise Refused(
                f"{where} is {picture.shape[1]} x {picture.shape[0]} pixels and those before {told[1]} x {told[0]}; "
                "expected one size throughout"
            )
        if picture.shape[:2] != size:
            picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
        frames[wanted[index]] = picture
    return frames


def read_label_maps(
    bag: Bag, topic: str, chosen: Sequence[int], size: tuple[int, int], reduced: bool
) -> UInt8[np.ndarray, "t h w"]:
    """Decode some of a topic's label images.

    Args:
        bag: to read.
        topic: of mono8 images.
        chosen: their numbers.
        size: (height, width) of the frames.
        reduced: the frames were, and label maps may be.

    Raises:
        Refused: one is corrupt, not mono8, or of another size than the frames.
    """
    found: dict[int, UInt8[np.ndarray, "h w"]] = {}
    wanted = set(chosen)
    for index, one in enumerate(bag.messages([topic])):
        if index in wanted:
            where = f"{bag.path}: label image {index} on {topic}"
            labels = pixel_rows(one.message, where, ("mono8",))
            if labels.shape != size and not reduced:
                raise Refused(
                    f"{where} is {labels.shape[1]} x {labels.shape[0]} pixels; "
                    f"expected the frames' {size[1]} x {size[0]}"
                )
            found[index] = resize_labels(np.ascontiguousarray(labels), size).copy()
    return np.stack([found[one] for one in chosen])


def _reduced(size: tuple[int, int], height: int) -> tuple[int, int]:
    if not height or size[0] <= height:
        return size
    return height, max(1, round(size[1] * height / size[0]))


def _check_memory(bag: Bag, count: int, size: tuple[int, int]) -> None:
    if count * size[0] * size[1] * 3 > _MOST_BYTES:
        raise Refused(
            f"{bag.path} has {count} frames of {size[1]} x {size[0]} pixels, more than {_MOST_BYTES >> 30} GiB when "
            "decoded; expected fewer, or a --height to which they are reduced"
        )
