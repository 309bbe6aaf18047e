import struct
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.sources.tfrecord import index_records, parse_example, read_record
from mask2iv_ros.errors import Refused

RECORDS = [b"one", b"", b"three" * 100]


@pytest.fixture
def path(tmp_path: Path, write_records) -> Path:
    write_records(tmp_path / "a.tfrecord", RECORDS)
    return tmp_path / "a.tfrecord"


def test_records_come_back(path: Path):
    index = index_records(path)
    assert index == ((0, 19, 35), "")
    assert [read_record(path, index, number) for number in range(3)] == RECORDS


def test_a_flipped_bit_costs_its_own_record_alone(path: Path):
    data = bytearray(path.read_bytes())
    data[13] ^= 4
    path.write_bytes(data)
    index = index_records(path)
    with pytest.raises(Refused, match=r"^record 0 of .*a\.tfrecord is corrupt: its checksum is \d+; expected \d+$"):
        read_record(path, index, 0)
    assert [read_record(path, index, number) for number in (1, 2)] == RECORDS[1:]


def test_a_flipped_length_costs_what_follows(path: Path):
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    index = index_records(path)
    assert read_record(path, index, 0) == b"one"
    for number in (1, 2):
        with pytest.raises(Refused, match=rf"^record {number} of .* the file has no record at byte 19"):
            read_record(path, index, number)


@pytest.mark.parametrize(("cut", "fault"), [(1, "is cut short; expected 500"), (20, "is cut short"), (505, "cut")])
def test_a_torn_file_costs_its_last_record(path: Path, cut: int, fault: str):
    path.write_bytes(path.read_bytes()[:-cut])
    index = index_records(path)
    assert read_record(path, index, 1) == b""
    with pytest.raises(Refused, match=fault):
        read_record(path, index, 2)


def test_what_is_not_there_is_named(path: Path):
    index = index_records(path)
    with pytest.raises(Refused, match=r"record 3 of .* the file ends after 3 records"):
        read_record(path, index, 3)
    with pytest.raises(Refused, match="No such file"):
        index_records(path.with_name("b"))


def test_a_length_of_terabytes_is_not_believed(tmp_path: Path, checksum):
    length = struct.pack("<Q", 1 << 44)
    (tmp_path / "a").write_bytes(length + struct.pack("<I", checksum(length)) + b"short")
    with pytest.raises(Refused, match="is cut short; expected 17592186044416 bytes"):
        read_record(tmp_path / "a", index_records(tmp_path / "a"), 0)


def test_examples_hold_floats_to_the_bit():
    floats = np.array([0.1, -0.0, np.inf, 1e-45, 3.4e38], np.float32)
    feature = b"\x12" + bytes([2 + floats.nbytes]) + b"\x0a" + bytes([floats.nbytes]) + floats.tobytes()
    entry = b"\x0a\x01a\x12" + bytes([len(feature)]) + feature
    example = b"\x0a" + bytes([2 + len(entry)]) + b"\x0a" + bytes([len(entry)]) + entry
    found = parse_example(example)
    assert list(found) == ["a"]
    assert np.array(found["a"], np.float32).tobytes() == floats.tobytes()
    with pytest.raises(Refused, match="of 3 bytes is no"):
        parse_example(b"\xff\xff\xff")
