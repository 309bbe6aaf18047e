"""Pickles from outside: numpy arrays in plain containers, and nothing else.

No class of the pickle's choosing is made, not even numpy's: `ndarray.__setstate__` believes a forged dtype
and then reads memory that is not its own. What an array's pickle says is taken as data, and the array is made here.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from mask2iv_ros.errors import Refused

_LARGEST = 64 << 20  # bytes; BridgeData's own are below one MiB
_KINDS = re.compile(r"[<>|=]?([?biuf][1248]?)")
# What pickles of containers, numbers and arrays are made of: no instances, no sets, no references to elsewhere.
_OPCODES = """
PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 INT LONG LONG1 LONG4 FLOAT BINFLOAT
UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_DICT DICT SETITEM
SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE GET
BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError, MemoryError, struct.error,
)  # fmt: skip


def load_plain(path: Path) -> Any:
    """Return what a pickle holds; arrays in it are to be asked for by `as_array`.

    Raises:
        Refused: missing, over 64 MiB, corrupt, or it asks for anything but plain containers and arrays of numbers.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); expected a pickle") from error
    if len(data) > _LARGEST:
        raise Refused(f"{path} has over {_LARGEST} bytes; expected a pickle of numbers")
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except _BROKEN as error:
        why = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        raise Refused(f"{path} cannot be read ({why[:300]}); accepted are numpy arrays in plain containers") from error


def as_array(value: Any, what: str) -> np.ndarray:
    """Return an array of numbers that `load_plain` found, or a list of numbers or of such arrays as one.

    Raises:
        Refused: it is something else.
    """
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, list) and value:
        try:
            rows = [as_array(one, what) if isinstance(one, _Array | list) else float(one) for one in value]
            return np.stack(rows) if isinstance(rows[0], np.ndarray) else np.array(rows, np.float64)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Refused(f"{what} is a list of {len(value)}; expected numbers, or arrays of one shape") from error
    raise Refused(f"{what} is a {type(value).__name__}; expected an array of numbers")


class _Dtype:
    """A dtype as a pickle tells it: a letter and a size; of its state, only the byte order."""

    def __init__(self, kind: str, *_: Any) -> None:
        match = _KINDS.fullmatch(kind)
        if not match:
            raise Refused(f"it holds an array of {kind[:50]!r}")
        self.dtype = np.dtype(match[1])

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(one is not None for one in state[2:5]):
            raise Refused("it holds an array of a structured dtype")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array that a pickle tells: `_reconstruct(...)`, then its state."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self._fill(data, dtype, shape, "F" if is_fortran else "C")

    def _fill(self, data: Any, dtype: _Dtype, shape: Any, order: str) -> None:
        if not (isinstance(data, bytes | bytearray) and isinstance(dtype, _Dtype) and isinstance(shape, tuple)):
            raise Refused("it holds an array of objects")
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


class _Scalar(_Array):
    def __init__(self, dtype: _Dtype, data: bytes) -> None:
        self._fill(data, dtype, (), "C")


class _Buffer(_Array):
    def __init__(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> None:
        self._fill(data, dtype, shape, order)


class _Bytes:
    """Bytes as protocol 2 spells them: a text and how to encode it, or nothing where there are none."""

    def __new__(cls, text: str = "", encoding: str = "latin1") -> bytes:
        if encoding != "latin1":
            raise Refused(f"it holds bytes in {encoding!r}")
        return text.encode("latin1")


_NAMES: dict[tuple[str, str], type] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
}
for _home in ("numpy.core", "numpy._core"):
    _NAMES |= {
        (f"{_home}.multiarray", "_reconstruct"): _Array,
        (f"{_home}.multiarray", "scalar"): _Scalar,
        (f"{_home}.numeric", "_frombuffer"): _Buffer,
    }


class _Unpickler(pickle._Unpickler):
    """The unpickler written in Python: the one in C makes tables as large as a number in the file says."""

    dispatch = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _OPCODES.split()
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise Refused(f"it asks for {module[:100]}.{name[:100]}")
        return _NAMES[module, name]

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))  # not bytearray(length): the file need not be that long

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    dispatch |= {
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _key(key: Any) -> str | int:
    """Return a key that may be hashed: a tuple nested deeply enough takes the process down."""
    if not isinstance(key, str | int):
        raise Refused(f"it has a key of type {type(key).__name__}")
    return key
