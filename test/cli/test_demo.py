"""`mask2iv demo` as a user runs it: real nodes, real topics, a real dataset."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2

from mask2iv_ros.cli.main import main
from mask2iv_ros.export.provenance import read_provenance
from mask2iv_ros.generator.tiny import write_tiny_checkpoint


def test_demo_ends_with_pictures_and_a_dataset(tmp_path):
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    command = [sys.executable, "-m", "mask2iv_ros.cli.main", "demo", "--out", str(tmp_path / "out")]
    command += ["--tasks", "plate-slide", "--rollouts", "2", "--seed", "3", "--checkpoint", str(checkpoint)]
    environment = os.environ | {"ROS_DOMAIN_ID": str(60 + os.getpid() % 40)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr + (tmp_path / "out" / "nodes.log").read_text()
    episodes = read_provenance(tmp_path / "out" / "dataset")
    assert [episode.seed for episode in episodes] == [3, 4]
    assert {episode.source_frame_id for episode in episodes} == {"stand_in_camera"}
    assert all(episode.source_stamp_ns > 0 for episode in episodes)
    sheet = cv2.imread(str(tmp_path / "out" / "contact_sheet.png"))
    assert sheet.shape[0] > 4 * 100
    for line in ("contact sheet:", "video:", "dataset:"):
        assert line in done.stdout


def test_demo_refuses_what_it_cannot_show(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--tasks", "juggle"]) == 2
    assert "task 'juggle' is unknown; accepted are plate-slide" in capsys.readouterr().err
    assert main(["demo", "--out", str(tmp_path), "--rollouts", "65"]) == 2
    assert "rollouts is 65; expected 1 to 64" in capsys.readouterr().err
