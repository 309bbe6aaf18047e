import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.sources.pickled import as_array, load_plain
from mask2iv_ros.errors import Refused

ARRAYS = {
    "state": np.random.default_rng(0).normal(size=(5, 7)),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "done": np.zeros(4, bool),
    "empty": np.zeros((0, 7), np.float32),
    "scalar": np.float64(3.5),
    "list": [np.arange(2.0), np.arange(2.0) + 1],
    "numbers": [1.5, 2],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_back_to_the_bit(tmp_path: Path, protocol: int):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(ARRAYS | {"kept": {"a": (1, None, True, "x")}}, protocol))
    found = load_plain(tmp_path / "a.pkl")
    assert found["kept"] == {"a": (1, None, True, "x")}
    for name, expected in ARRAYS.items():
        array = as_array(found[name], name)
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.asarray(expected).dtype, name


def test_pickles_of_older_numpys_are_read(tmp_path: Path):
    data = pickle.dumps(ARRAYS["state"], 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "a.pkl").write_bytes(data)
    np.testing.assert_array_equal(as_array(load_plain(tmp_path / "a.pkl"), "a"), ARRAYS["state"])


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


# An array of objects whose dtype hides that it is one: numpy would take its eight bytes for an address.
FORGED = (
    b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K\x01\x85"
    b"cnumpy\ndtype\nX\x02\0\0\0O8\x89\x88\x87R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89C\x08\xef\xbe\xad\xde\0\0\0\0tb."
)


def test_hostile_pickles_are_refused_and_do_nothing(tmp_path: Path):
    path = tmp_path / "a.pkl"
    hostile = {
        "runs a command": (pickle.dumps(Touch(tmp_path / "touched")), r"it asks for \w+\.mkdir"),
        "forges an array": (FORGED, "it holds an array of 'O8'"),
        "is an array of objects": (pickle.dumps(np.array([{}, None])), "it holds an array of 'O8'"),
        "has fields": (pickle.dumps(np.zeros(2, [("a", "f4")])), "it holds an array of 'V4'"),
        "has a key that is hashed for ever": (
            pickle.PROTO + b"\x02}(" + b")" + pickle.TUPLE1 * 200_000 + b"K\x01u.",
            "it has a key of type tuple",
        ),
        "wants a table of gigabytes": (pickle.PROTO + b"\x02Nr\xff\xff\xff\x7f0", "EOFError"),
        "wants a buffer of gigabytes": (b"\x80\x05\x96" + b"\xff" * 5 + b"\0\0\0.", "EOFError"),
        "makes an instance": (pickle.dumps(Path("/")), "it asks for pathlib.Pos"),
        "refers to elsewhere": (b"Pelsewhere\n.", "KeyError"),
        "changes a function": (b"\x80\x02cnumpy\ndtype\nN}X\x01\0\0\0aK\x01s\x86b.", "TypeError"),
        "is cut short": (pickle.dumps(ARRAYS)[:200], "exhausted before end"),
        "is empty": (b"", "EOFError"),
        "is text": (b"hello", "Memo value not found"),
    }
    for what, (data, match) in hostile.items():
        path.write_bytes(data)
        with pytest.raises(Refused, match=rf"^{path} cannot be read \(.*{match}.*in plain containers$"):
            print(what, load_plain(path))
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(Refused, match="No such file"):
        load_plain(tmp_path / "missing.pkl")


def test_no_flipped_byte_does_more_than_be_refused(tmp_path: Path):
    data, path = pickle.dumps(ARRAYS, 4), tmp_path / "a.pkl"
    rng, refused = np.random.default_rng(0), 0
    for _ in range(200):
        flipped = bytearray(data)
        for place in rng.integers(len(data), size=3):
            flipped[place] = rng.integers(256)
        path.write_bytes(flipped)
        try:
            found = load_plain(path)
            for name, value in found.items() if isinstance(found, dict) else ():
                as_array(value, str(name))
        except Refused:
            refused += 1
    assert refused > 50


def test_what_is_no_array_is_named(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": "x", "ragged": [np.zeros(2), np.zeros(3)], "mixed": [1, "x"]}))
    found = load_plain(tmp_path / "a.pkl")
    with pytest.raises(Refused, match="a is a str; expected an array of numbers"):
        as_array(found["a"], "a")
    for name in ("ragged", "mixed"):
        with pytest.raises(Refused, match=f"{name} is a list of 2; expected numbers, or arrays of one shape"):
            as_array(found[name], name)
