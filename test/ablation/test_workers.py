"""Workers as processes of a script of their own: what they do, and that nothing of them stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SCRIPT = """
import sys, time
from pathlib import Path
from mask2iv_ros.ablation.workers import Job, Workers

def square(folder, number, tick):
    tick(1)
    (folder / str(number)).write_text(str(number ** 2))

def fail(tick):
    time.sleep(0.5)
    raise ArithmeticError("two is no prime")

def linger(folder, tick):
    (folder / "lingers").touch()
    for second in range(6000):
        tick(second)
        time.sleep(0.01)
    (folder / "lingered").touch()

if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    with Workers(count, 1, most=3) as workers:
        for numbers in ((2, 3, 4), (5,)):
            workers.work_off([Job(square, (folder, number), 1) for number in numbers], "squaring", "number")
        jobs = [Job(linger, (folder,), 6000), Job(fail, (), 1)]
        workers.work_off(jobs, "waiting", "second")
"""


def start(folder: Path, count: int) -> subprocess.Popen:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen([sys.executable, str(script), str(folder), str(count)], stderr=subprocess.PIPE, text=True)


def test_jobs_are_done_until_one_fails_which_ends_the_others(tmp_path: Path):
    process = start(tmp_path, 2)
    _, said = process.communicate(timeout=300)
    squares = {number: (tmp_path / str(number)).read_text() for number in (2, 3, 4, 5)}
    assert squares == {2: "4", 3: "9", 4: "16", 5: "25"}
    assert "squaring: 100%" in said
    assert process.returncode == 1
    assert "ArithmeticError: two is no prime" in said
    assert (tmp_path / "lingers").exists()
    assert not (tmp_path / "lingered").exists()


def test_workers_do_not_outlive_a_command_that_is_killed(tmp_path: Path):
    process = start(tmp_path, 1)  # which lingers, and is never free to fail
    end = time.monotonic() + 300
    while not (tmp_path / "lingers").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    assert not (tmp_path / "lingered").exists()
