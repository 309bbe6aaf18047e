"""What back ends with weights have in common: device, precision, and where weights come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.base import Unusable

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a back end that has weights.

    Attributes:
        weights: a path on this machine or a hub id; "" takes the back end's own default.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".
        precision: "auto" (bfloat16 on a GPU, float32 elsewhere), "float32", "bfloat16" or "float16".
    """

    weights: str = ""
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *PRECISIONS):
            raise Refused(f"precision is {self.precision!r}; accepted are auto, {', '.join(PRECISIONS)}")
        if self.device != "auto":
            try:
                kind = torch.device(self.device).type
            except RuntimeError:
                kind = ""
            if kind not in ("cpu", "cuda"):
                raise Refused(f"device is {self.device!r}; accepted are auto, cpu, cuda and cuda:N")
            if kind == "cuda" and not torch.cuda.is_available():
                raise Refused(f"device is {self.device!r}, but torch finds no GPU here; expected auto or cpu")

    @property
    def torch_device(self) -> torch.device:
        """The device that "auto" stands for here."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision that "auto" stands for on this device."""
        if self.precision == "auto":
            return torch.bfloat16 if self.torch_device.type == "cuda" else torch.float32
        return PRECISIONS[self.precision]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute without gradients in the settings' precision; weights stay in float32, as SAM 2's code has it."""
        reduced = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.torch_device.type, self.dtype, enabled=reduced):
            yield


def or_unusable[**P, R](load: Callable[P, R]) -> Callable[P, R]:
    """Make what a function refuses `Unusable`: it loads what a back end cannot do without."""

    @wraps(load)
    def loading(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return load(*arguments, **named)
        except Refused as refusal:
            raise Unusable(str(refusal)) from refusal

    return loading


def free() -> None:
    """Give the memory of what has been dropped back to the GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def local(weights: str) -> Path | None:
    """Return the path that the setting `weights` names, or None if it is a hub id.

    Raises:
        Refused: it looks like a path, and nothing is there.
    """
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if path.suffix in (".pt", ".pth", ".safetensors") or weights.startswith((".", "/", "~")) or weights.count("/") != 1:
        raise Refused(f"weights are {weights!r}, and nothing is there; expected a path or a hub id such as owner/name")
    return None


def missing(what: str, weights: str, needs: str = "") -> Refused:
    """Return the refusal for weights that are neither here nor can be fetched."""
    return Refused(
        f"{what} finds no weights {weights!r}: fetch them once by `hf download {weights}`{needs}, "
        "or set weights to a folder or file on this machine"
    )
