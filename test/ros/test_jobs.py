import threading
import time

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.ros.jobs import Desk, Job


def until_stopped(job):
    while not job.stop_reason:
        time.sleep(0.001)


@pytest.fixture
def desk():
    desk = Desk("test")
    yield desk
    desk.stop("the test ended")
    desk.close()


def test_a_second_job_is_refused(desk):
    first = Job(until_stopped)
    desk.submit(first, preempt=False)
    assert desk.busy
    with pytest.raises(Refused, match="an imagination is running"):
        desk.submit(Job(until_stopped), preempt=False)
    desk.stop("enough")
    assert first.stop_reason == "enough"
    assert not desk.busy


def test_a_job_that_is_about_to_end_is_waited_for(desk):
    desk.submit(Job(lambda job: time.sleep(0.02)), preempt=False)
    desk.submit(Job(lambda job: None), preempt=False)


def test_a_newer_job_ends_the_one_before_and_the_one_that_waits(desk):
    ran = []
    jobs = [Job(lambda job, number=number: (ran.append(number), until_stopped(job))) for number in range(3)]
    for job in jobs:
        desk.submit(job, preempt=True)
    while 2 not in ran:
        time.sleep(0.001)
    assert jobs[0].stop_reason == jobs[1].stop_reason == "preempted by a newer goal"
    assert jobs[2].stop_reason == ""
    assert ran[-1] == 2


def test_all_work_is_done_in_one_thread(desk):
    names = [desk.call(lambda: threading.current_thread().name) for _ in range(3)]
    assert len(set(names)) == 1
    assert names[0] != threading.current_thread().name


def test_idle_says_whether_the_thread_has_come_to_an_end(desk):
    gate = threading.Event()
    desk.post(gate.wait)
    assert not desk.idle(0.01)
    gate.set()
    assert desk.idle(10)
