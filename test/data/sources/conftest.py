from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3].parent / "shared/data"


@pytest.fixture(scope="session")
def bridge_sample() -> Path:
    """The 25 episodes of BridgeData V2 in RLDS form."""
    root = SHARED / "bridge_v2_rlds"
    if not root.is_dir():
        pytest.skip(f"{root} is missing: the sample of BridgeData V2 in RLDS form")
    return root


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    """RFC 3720's checksum bit by bit, and TFRecord's mask, by nothing that the package uses."""
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 255] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15) + (value << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.fixture(scope="session")
def write_records() -> Callable[[Path, Sequence[bytes]], None]:
    def write(path: Path, records: Sequence[bytes]) -> None:
        with path.open("wb") as file:
            for record in records:
                length = struct.pack("<Q", len(record))
                file.write(length + struct.pack("<I", masked_crc32c(length)))
                file.write(record + struct.pack("<I", masked_crc32c(record)))

    return write


@pytest.fixture(scope="session")
def checksum() -> Callable[[bytes], int]:
    return masked_crc32c
