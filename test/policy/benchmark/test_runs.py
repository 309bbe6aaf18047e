import sys
import threading
from pathlib import Path

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark.runs import spend


def test_a_command_runs_on_one_thread_and_its_cost_is_told(tmp_path: Path):
    log = tmp_path / "log"
    code = "import os; print(os.environ['OMP_NUM_THREADS']); sum(range(3_000_000))"
    spent = spend([sys.executable, "-c", code], log, threading.Event())
    assert log.read_text() == "1\n"
    assert 0 < spent["cpu_s"] < 60
    assert spent["command"] == ["-c", code]


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path):
    log, stop = tmp_path / "log", threading.Event()
    with pytest.raises(Refused, match=r"ended with 3 \(no room\); .*log tells more"):
        spend([sys.executable, "-c", "print('no room'); raise SystemExit(3)"], log, stop)
    stop.set()
    with pytest.raises(Refused, match="was not begun"):
        spend([sys.executable, "-c", "print('never')"], log, stop)
    assert "never" not in log.read_text()


def test_a_command_is_ended_when_another_one_failed(tmp_path: Path):
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Refused, match="ended with -15"):
        spend([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", stop)
