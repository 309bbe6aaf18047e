"""Run by the test of kills: imagines, killed at one moment after the other, each time going on.

A process of its own, which imports once and holds no threads that its forks would lose.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mask2iv_ros.export import exchange, read_provenance, shard
from mask2iv_ros.imagining import run, worker
from mask2iv_ros.imagining.settings import ImaginingSettings

KILLS = (
    (worker, "write_job", "before"),  # in the middle of a shard
    (exchange, "publish", "before"),  # a shard was finished, and is being added
    (exchange, "publish", "after"),  # it was added, and is not noted
    (run, "write_job", "before"),
    (run, "write_job", "after"),  # it was noted, and is still there
)


def main(source: str, out: str, checkpoint: str, rollouts_per_job: str) -> None:
    """Raise AssertionError if a run is not killed, or takes away or doubles what was in the dataset."""
    run.ROLLOUTS_PER_JOB = int(rollouts_per_job)
    kinds = ("moves", "places", "episodes")
    wanted = ImaginingSettings(
        Path(source), Path(out), goals=kinds, rollouts=3, keep="all", checkpoint=checkpoint, episodes="0-1"
    )
    assert shard  # LeRobot is imported here once, and not in every fork
    seen: set[str] = set()
    for module, name, when in KILLS:
        if not (child := os.fork()):
            true = getattr(module, name)

            def last(*arguments: object, true=true, when=when) -> None:
                if when == "after":
                    true(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(module, name, last)
            run.imagine_dataset(wanted)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        found = [one.id for one in read_provenance(wanted.dataset)] if wanted.dataset.exists() else []
        assert len(set(found)) == len(found)
        assert seen <= set(found), "what was in the dataset stays there"
        seen = set(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
