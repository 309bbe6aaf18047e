import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.listed import read_list

SIZE = (32, 48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mask = np.zeros(SIZE, np.uint8)
    mask[4:9, 30:36] = 255
    cv2.imwrite(str(tmp_path / "goal.png"), mask)
    cv2.imwrite(str(tmp_path / "empty.png"), 0 * mask)
    cv2.imwrite(str(tmp_path / "large.png"), np.full((64, 96), 255, np.uint8))
    (tmp_path / "endless.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in (
                (b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)),
                (b"IDAT", zlib.compress(bytes(9))),
            )
        )
    )
    return tmp_path


def test_a_list_is_read_from_json_lines_and_csv(folder: Path):
    (folder / "a.jsonl").write_text(
        '{"episode": 2, "frame": 1, "dx": 7, "dy": -2.0}\n\n{"episode": 0, "mask": "goal.png", "instruction": "go"}\n'
    )
    (folder / "a.csv").write_text("episode,frame,dx,dy,mask,instruction\n2,1,7,-2,,\n0,,,,goal.png,go\n")
    moved, shown = read_list(folder / "a.jsonl", SIZE)
    assert (moved.episode, moved.frame, moved.dx, moved.dy, moved.scale) == (2, 1, 7.0, -2.0, 1.0)
    assert (shown.episode, shown.frame, shown.instruction, shown.mask.sum()) == (0, 0, "go", 30)
    assert [one.name for one in read_list(folder / "a.csv", SIZE)] == [moved.name, shown.name]
    start = np.zeros(SIZE, bool)
    start[10:14, 10:14] = True
    np.testing.assert_array_equal(np.argwhere(moved.goal(start)).min(0), [8, 17])
    np.testing.assert_array_equal(shown.goal(start), shown.mask)


def test_an_instruction_of_digits_stays_as_it_is(folder: Path):
    (folder / "a.csv").write_text("episode,dx,instruction\n0,3,007\n")
    assert read_list(folder / "a.csv", SIZE)[0].instruction == "007"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "has no goal"),
        ("[" * 100_000, "line 1 is no JSON"),
        ("7", "line 1 is '7'; expected an object"),
        ('{"dx": 1}', "names no episode"),
        ('{"episode": true, "dx": 1}', "episode True"),
        ('{"episode": -1, "dx": 1}', "episode -1; expected a number from 0 on"),
        ('{"episode": 0, "frame": 1.5, "dx": 1}', "frame 1.5"),
        ('{"episode": 0}', "neither a mask nor a move"),
        ('{"episode": 0, "dx": 1, "mask": "goal.png"}', "both a mask and a move"),
        ('{"episode": 0, "dx": NaN}', "dx nan"),
        ('{"episode": 0, "dx": 1e999}', "dx inf"),
        ('{"episode": 0, "dx": 1' + "0" * 400 + "}", "expected a number from -100000 to 100000"),
        ('{"episode": 0, "dx": "1"}', "dx '1'"),
        ('{"episode": 0, "scale": 0}', "scale 0; expected a number from 0.1 to 10"),
        ('{"episode": 0, "dx": 1, "left": 2}', "has 'left'; accepted are episode, frame"),
        ('{"episode": 0, "dx": 1, "instruction": ["go"]}', "instruction ['go']"),
        ('{"episode": 0, "dx": 1, "instruction": "a\\nb"}', "expected one line"),
        ('{"episode": 0, "dx": 1, "instruction": "a\\rb"}', "expected one line"),
        ('{"episode": 0, "dx": 1, "instruction": "\\ud800"}', "expected one line"),
        ('{"episode": 0, "dx": 1, "instruction": true}', "instruction True"),
        ('{"episode": 0, "mask": "\\ud800.png"}', "expected the path"),
        ('{"episode": 0, "mask": "' + "a" * 300 + '.png"}', "which cannot be read"),
        ('{"episode": 0, "mask": "endless.png"}', "which cannot be read"),
        ('{"episode": 0, "mask": 3}', "mask 3; expected the path"),
        ('{"episode": 0, "mask": "none.png"}', "which is not there"),
        ('{"episode": 0, "mask": "../goal.png"}', "not beside the list"),
        ('{"episode": 0, "mask": "/etc/passwd"}', "not beside the list"),
        ('{"episode": 0, "mask": "a.jsonl"}', "which is no picture"),
        ('{"episode": 0, "mask": "empty.png"}', "is all zero"),
        ('{"episode": 0, "mask": "large.png"}', "is 96 x 64 pixels; expected the frames' 48 x 32"),
        ('{"episode": 0, "dx": 1}\n{"episode": 0, "dx": 1.0}', "line 2 asks for what line 1 asks for"),
    ],
)
def test_a_bad_line_is_refused(folder: Path, line: str, said: str):
    (folder / "a.jsonl").write_text(line)
    with pytest.raises(Refused) as refusal:
        read_list(folder / "a.jsonl", SIZE)
    assert said in str(refusal.value)


def test_a_file_that_is_no_list_is_refused(folder: Path):
    for name, content, said in (
        ("a.csv", b"episode,dx\n1\n", "another number of cells"),
        ("b.csv", b'episode,dx\n1,"2\n', "is no CSV"),
        ("a.txt", b"{}", "ends in '.txt'"),
        ("c.csv", b"\xff\xfe\x00", "cannot be read"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(Refused, match=said):
            read_list(folder / name, SIZE)
    with pytest.raises(Refused, match="cannot be read"):
        read_list(folder / "missing.csv", SIZE)
