from pathlib import Path

import pytest
import yaml

from mask2iv_ros.actions.tiny import SIZE, write_moving
from mask2iv_ros.cli.main import main
from mask2iv_ros.export import ExportSettings


@pytest.fixture
def config(tmp_path: Path) -> str:
    network = {"size": list(SIZE), "chunk": 2, "seen": 3, "widths": [16, 32], "keypoints": 4, "layers": 1, "heads": 2}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"network": network, "steps": 3, "batch": 2, "span": 8}))
    return str(path)


def train(data: Path, out: Path, config: str, *more: str) -> int:
    return main(["actions", "train", "--data", str(data), "--out", str(out), "--config", config, *more])


def label(data: Path, labeller: Path, out: Path, *more: str) -> int:
    return main(["actions", "label", "--data", str(data), "--labeller", str(labeller), "--out", str(out), *more])


def test_demonstrations_to_a_labeller_and_rollouts_to_actions(tmp_path: Path, config: str, capsys):
    data = write_moving(tmp_path / "data", range(6))
    rollouts = write_moving(tmp_path / "rollouts", range(50, 52), ExportSettings())
    assert train(data, tmp_path / "labeller", config, "--state", "--set", "steps=2") == 0
    shown = capsys.readouterr().out
    assert "grip: constant, kept at 0.5" in shown
    assert "labeller, right: RMSE" in shown
    assert "zero, right: RMSE" in shown
    assert (tmp_path / "labeller/report.html").exists()
    assert label(rollouts, tmp_path / "labeller", tmp_path / "out", "--drop") == 0
    shown = capsys.readouterr().out
    assert "labelled by idm:" in shown
    assert train(data, tmp_path / "labeller", config) == 2
    assert "is there already" in capsys.readouterr().err


def test_without_states_to_give_the_user_is_told_what_to_do(tmp_path: Path, config: str, capsys):
    data = write_moving(tmp_path / "data", range(6))
    rollouts = write_moving(tmp_path / "rollouts", range(50, 51), ExportSettings())
    assert train(data, tmp_path / "labeller", config, "--threads", "0") == 2
    assert "threads is 0" in capsys.readouterr().err
    assert train(data, tmp_path / "labeller", config, "--set", "span=2") == 2
    assert "span is 2; expected more than the chunk" in capsys.readouterr().err
    assert train(data, tmp_path / "labeller", config) == 0
    assert label(rollouts, tmp_path / "labeller", tmp_path / "out") == 2
    assert "trained with --state" in capsys.readouterr().err
