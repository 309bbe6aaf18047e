"""A checkpoint file of somebody else's, read a few tensors at a time and never run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
        numbers: the names of those tensors that hold floating-point numbers.

    Raises:
        Refused: the file is torn, holds code or other things than tensors, or does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        with self._refusing():
            found = dict(self._describe())
        if not found:
            raise Refused(f"{path} is an empty state dict; expected tensors by name")
        self._stored = {canonical(name): name for name in found}
        if len(self._stored) < len(found):
            twice = sorted(found.keys() - set(self._stored.values()))
            raise Refused(f"{path} has tensors twice, once under an old name: {', '.join(twice)}")
        self.shapes = {name: found[stored][0] for name, stored in self._stored.items()}
        self.numbers = {name for name, stored in self._stored.items() if found[stored][1]}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return some tensors; they are pages of the file, which memory has only while they are used.

        Raises:
            Refused: the file is no longer what it was.
        """
        with self._refusing():
            if self.path.suffix == ".safetensors":
                with safe_open(self.path, "pt") as file:
                    return {name: file.get_tensor(self._stored[name]) for name in names}
            tensors = _unpickle(self.path)
            return {name: tensors[self._stored[name]] for name in names}

    def _describe(self) -> Iterator[tuple[str, tuple[tuple[int, ...], bool]]]:
        if self.path.suffix == ".safetensors":
            with safe_open(self.path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 it is no mapping
                    about = file.get_slice(name)
                    yield name, (tuple(about.get_shape()), about.get_dtype().startswith(("F", "BF")))
        else:
            for name, tensor in _unpickle(self.path).items():
                yield name, (tuple(tensor.shape), tensor.is_floating_point())

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Say in one sentence why the file cannot be read."""
        try:
            yield
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


def _unpickle(path: Path) -> dict[str, Tensor]:
    found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    elif isinstance(found, dict) and isinstance(found.get("module"), dict):
        found = _unwrapped(path, found["module"])
    if not isinstance(found, dict):
        raise Refused(f"{path} is no state dict but a {type(found).__name__}; expected tensors by name")
    strays = [name for name, tensor in found.items() if not (isinstance(name, str) and isinstance(tensor, Tensor))]
    if strays:
        raise Refused(
            f"{path} is no state dict: {len(strays)} entries such as {str(strays[0])[:80]!r} are no tensors with a "
            "name; expected tensors by name"
        )
    return found


def _unwrapped(path: Path, found: dict[str, Tensor]) -> dict[str, Tensor]:
    prefixes = {str(name)[:_WRAPPED] for name in found}
    if len(prefixes) != 1:
        raise Refused(
            f"{path} is wrapped as DeepSpeed does, but its keys begin differently ({', '.join(sorted(prefixes)[:3])}); "
            f"expected one prefix of {_WRAPPED} characters"
        )
    return {str(name)[_WRAPPED:]: tensor for name, tensor in found.items()}
