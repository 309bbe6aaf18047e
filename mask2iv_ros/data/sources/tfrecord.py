"""TFRecord files and the tf.train.Example in each of their records, without TensorFlow.

A record is its length (uint64, little endian), the length's checksum, the data and the data's checksum:
https://www.tensorflow.org/tutorials/load_data/tfrecord. Libraries that read the format without TensorFlow skip
the checksums; here a flipped bit is told from an episode.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from mask2iv_ros.errors import Refused

_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")
_ROTATED = 0xA282EAD8  # what is added to a checksum, so that a checksum of checksums keeps its strength


class RecordIndex(NamedTuple):
    """Where the records of a file lie.

    Attributes:
        offsets: of each record's first byte, as far as they can be told.
        fault: why no more can be told; empty for a whole file.
    """

    offsets: tuple[int, ...]
    fault: str


def index_records(path: Path) -> RecordIndex:
    """Find the records of a file by their lengths, reading 12 bytes of each.

    Raises:
        Refused: the file is missing or cannot be read.
    """
    offsets: list[int] = []
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            place = 0
            while place < size:
                file.seek(place)
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    return RecordIndex(tuple(offsets), f"is cut short at byte {place}")
                length, checksum = _HEAD.unpack(head)
                if checksum != _checksum(head[:8]):
                    return RecordIndex(tuple(offsets), f"has no record at byte {place}, where one should begin")
                offsets.append(place)
                place += _HEAD.size + length + _TAIL.size
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); expected a TFRecord file") from error
    return RecordIndex(tuple(offsets), "")


def read_record(path: Path, index: RecordIndex, number: int) -> bytes:
    """Return the data of one record.

    Args:
        path: the file.
        index: what `index_records` found in it.
        number: of the record in the file, from 0.

    Raises:
        Refused: there is no such record, it is cut short, or its checksum is another.
    """
    if number >= len(index.offsets):
        fault = index.fault or f"ends after {len(index.offsets)} records"
        raise Refused(f"record {number} of {path} cannot be found: the file {fault}; expected a whole TFRecord file")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(index.offsets[number])
            length, _ = _HEAD.unpack(file.read(_HEAD.size))
            # A length is asked of the disk before it is asked of the memory.
            if length > size - file.tell() - _TAIL.size:
                raise Refused(f"record {number} of {path} is cut short; expected {length} bytes of data")
            data = file.read(length)
            (checksum,) = _TAIL.unpack(file.read(_TAIL.size))
    except (OSError, struct.error) as error:
        raise Refused(f"record {number} of {path} cannot be read ({error}); expected a TFRecord file") from error
    if checksum != _checksum(data):
        raise Refused(f"record {number} of {path} is corrupt: its checksum is {_checksum(data)}; expected {checksum}")
    return data


def parse_example(data: bytes) -> Mapping[str, Sequence[Any]]:
    """Return the values of each feature of a serialised tf.train.Example: bytes, floats or ints.

    Floats are float32 values and stay exactly what they are as Python floats.

    Raises:
        Refused: it is none.
    """
    try:
        features = _example().FromString(data).features.feature
    except DecodeError as error:
        raise Refused(f"a record of {len(data)} bytes is no tf.train.Example ({error})") from error
    values = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        values[name] = getattr(feature, kind).value if kind else ()
    return values


def _checksum(data: bytes) -> int:
    value = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + _ROTATED) & 0xFFFFFFFF


@cache
def _example() -> type:
    """Return the message class of tf.train.Example (tensorflow/core/example/{example,feature}.proto).

    Made here, in a pool of its own, so that no generated file is shipped and none clashes with TensorFlow's.
    """
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def field(message: Any, name: str, number: int, what: int | str, repeated: bool = False, **extra: Any) -> None:
        if isinstance(what, str):
            extra["type_name"] = f".tensorflow.{what}"
            what = kind.TYPE_MESSAGE
        label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
        message.field.add(name=name, number=number, type=what, label=label, **extra)

    lists = {"bytes": ("BytesList", kind.TYPE_BYTES), "float": ("FloatList", kind.TYPE_FLOAT)}
    lists |= {"int64": ("Int64List", kind.TYPE_INT64)}
    for name, what in lists.values():
        field(file.message_type.add(name=name), "value", 1, what, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, (message, _)) in enumerate(lists.items(), 1):
        field(feature, f"{name}_list", number, message, oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, kind.TYPE_STRING)
    field(entry, "value", 2, "Feature")
    field(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
