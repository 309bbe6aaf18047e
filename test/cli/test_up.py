"""`mask2iv up`: the nodes as processes, until Ctrl-C or until one of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.generator.tiny import write_tiny_checkpoint


def _start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mask2iv_ros.cli.main", "up", "--namespace", "up_test", *arguments]
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(10 + os.getpid() % 40),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    (tmp_path / "footage").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / "footage" / f"{index}.png"), np.full((48, 64, 3), 90 * index, np.uint8))
    return tmp_path / "footage"


def test_up_starts_all_nodes_and_leaves_cleanly_on_ctrl_c(tmp_path: Path, footage: Path):
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    dataset = str(tmp_path / "dataset")
    process = _start(tmp_path, "--checkpoint", str(checkpoint), "--playback", str(footage), "--dataset", dataset)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "loaded tiny@" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert any("loaded tiny@" in line for line in lines), "".join(lines)
    assert process.returncode == 0, "".join(lines) + rest
    assert "Traceback" not in "".join(lines) + rest


def test_up_ends_with_the_node_that_cannot_start(tmp_path: Path):
    process = _start(tmp_path, "--playback", str(tmp_path / "nothing.mp4"), "--dataset", str(tmp_path / "dataset"))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "nothing.mp4" in said
    assert "playback ended" in said


def test_a_stand_in_without_its_footage_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["up", "--stand-in", "playback"]) == 2
    assert "stand-in is 'playback' and playback is ''" in capsys.readouterr().err
