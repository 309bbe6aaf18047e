"""Files beside a dataset, one an episode, that say of what they were made and are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mask2iv_ros.data.labelled import EpisodeInfo
from mask2iv_ros.errors import Refused


def episode_file(info: EpisodeInfo) -> str:
    """Return the name of an episode's file."""
    return f"{info.index:06d}.safetensors"


@contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[Any]:
    """Open a safetensors file.

    Args:
        path: of the file.
        what: it should hold, for a refusal.
        remedy: what to do where it does not.

    Raises:
        Refused: it is gone or torn.
    """
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path} does not hold {what} ({error}); {remedy}") from error


def told(path: Path, digest: str) -> dict[str, str] | None:
    """Return what a file says of itself, None unless it is whole and was made of what has this digest."""
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return found if found.get("digest") == digest else None


def write(path: Path, tensors: Mapping[str, Tensor], digest: str, **about: str) -> None:
    """Write a file whole or not at all, floating-point tensors in half precision.

    Args:
        path: of the file.
        tensors: by name.
        digest: of what they were made of.
        about: what else the file says of itself.
    """
    kept = {
        name: value.to("cpu", torch.float16 if value.is_floating_point() else None).contiguous()
        for name, value in tensors.items()
    }
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(kept, part, metadata={"digest": digest} | about)
    os.replace(part, path)
