import os
import signal
import subprocess
import sys

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.lock import DatasetLock


def test_second_writer_is_refused_with_the_process_of_the_first(tmp_path):
    lock = DatasetLock(tmp_path / "lock", tmp_path / "dataset")
    with pytest.raises(Refused, match=f"process {os.getpid()};"):
        DatasetLock(tmp_path / "lock", tmp_path / "dataset")
    lock.release()
    DatasetLock(tmp_path / "lock", tmp_path / "dataset").release()


def test_lock_vanishes_with_its_process(tmp_path):
    hold = (
        "import pathlib, sys, time; from mask2iv_ros.export.lock import DatasetLock; path = pathlib.Path(sys.argv[1]);"
        "lock = DatasetLock(path, path); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Refused, match=f"process {process.pid};"):
        DatasetLock(tmp_path / "lock", tmp_path / "dataset")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    DatasetLock(tmp_path / "lock", tmp_path / "dataset").release()


def test_lock_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(Refused, match="No such file or directory"):
        DatasetLock(tmp_path / "absent/lock", tmp_path / "dataset")
