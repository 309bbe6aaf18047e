"""A checkpoint file of somebody else's, read a few tensors at a time and never run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.keys import canonical

# DeepSpeed's wrapper puts "_forward_module." before every name; the reference cuts as many characters.
_WRAPPED = 16


class Source:
    """The tensors of a `.safetensors` file, or of one that torch.save wrote (`.ckpt`, `.pt`).

    The file is opened anew for every reading, and mapped, not read: so memory holds no more of it
    than the tensors of one reading.

    Attributes:
        path: the file.
        shapes: of every tensor, by its name as the 512 layout has it, wrappers taken off.
        dtypes: of every tensor.

    Raises:
        Refused: the file is torn, holds code or other things than tensors, or does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        tensors = self._open(None)
        strays = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
        if strays or not tensors:
            found = f"{len(strays)} entries that are none, such as {strays[0]!r}" if strays else "no entries"
            raise Refused(f"{path} is no state dict but has {found}; expected tensors by name")
        self._names = {canonical(name): name for name in tensors}
        if len(self._names) < len(tensors):
            twice = sorted(set(tensors) - set(self._names.values()))
            raise Refused(f"{path} has tensors twice, once under an old name: {', '.join(twice)}")
        self.shapes = {name: tuple(tensors[stored].shape) for name, stored in self._names.items()}
        self.dtypes = {name: tensors[stored].dtype for name, stored in self._names.items()}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return some tensors; they are pages of the file, which memory has only while they are used."""
        wanted = {self._names[name]: name for name in names}
        tensors = self._open(wanted)
        return {name: tensors[stored] for stored, name in wanted.items()}

    def _open(self, wanted: Iterable[str] | None) -> dict[str, Tensor]:
        read: Callable[..., dict[str, Tensor]] = (
            _read_safetensors if self.path.suffix == ".safetensors" else _read_pickled
        )
        try:
            return read(self.path, wanted)
        except Refused:
            raise
        except OSError as error:
            raise Refused(f"{self.path} cannot be read ({error.strerror or error})") from error
        except Exception as error:
            # What torch and safetensors raise at a torn or foreign file differs from file to file.
            code = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
            if code:
                raise Refused(
                    f"{self.path} would run code ({code[1]}), which is never done; expected tensors alone: save it as "
                    "safetensors where you trust it"
                ) from error
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            raise Refused(
                f"{self.path} is no checkpoint, or is torn ({why}); expected a file of torch.save or safetensors"
            ) from error


def _read_safetensors(path: Path, wanted: Iterable[str] | None) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in (file.keys() if wanted is None else wanted)}


def _read_pickled(path: Path, wanted: Iterable[str] | None) -> dict[str, Tensor]:
    found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    elif isinstance(found, dict) and isinstance(found.get("module"), dict):
        found = _unwrapped(path, found["module"])
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise Refused(f"{path} is no state dict but a {type(found).__name__}; expected tensors by name")
    return dict(found)


def _unwrapped(path: Path, found: dict[str, Tensor]) -> dict[str, Tensor]:
    prefixes = {str(name)[:_WRAPPED] for name in found}
    if len(prefixes) != 1:
        raise Refused(
            f"{path} is wrapped as DeepSpeed does, but its keys begin differently ({', '.join(sorted(prefixes)[:3])}); "
            f"expected one prefix of {_WRAPPED} characters"
        )
    return {name[_WRAPPED:]: tensor for name, tensor in found.items()}
