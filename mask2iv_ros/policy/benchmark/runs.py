"""Trains and tries all policies of the benchmark, each in a process of its own, some at a time."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark import commands
from mask2iv_ros.policy.benchmark.plan import Plan, Run
from mask2iv_ros.policy.benchmark.results import Result, read_results, write_result

_ONE_THREAD = ("OMP_NUM_THREADS", "LP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PR_SET_PDEATHSIG = 1


def run_all(plan: Plan, workers: int) -> None:
    """Train and try every policy that has no result yet.

    After a kill the next call goes on: a training from its last checkpoint, an evaluation from its beginning.

    Raises:
        Refused: `workers` < 1, results of another plan are there, or a command of LeRobot fails.
    """
    if workers < 1:
        raise Refused(f"workers is {workers}; expected at least 1")
    done = {result.run for result in read_results(plan)}
    missing = [run for run in plan.runs if run not in done]
    stop = threading.Event()
    with (
        tqdm(total=2 * len(plan.runs), initial=2 * (len(plan.runs) - len(missing)), unit="job", desc="policies") as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        try:
            for future in as_completed([pool.submit(_run, plan, run, stop, bar) for run in missing]):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _run(plan: Plan, run: Run, stop: threading.Event, bar: tqdm) -> None:
    work = plan.work(run)
    work.mkdir(parents=True, exist_ok=True)
    trained = work / "trained.json"
    if not trained.is_file():
        command, start = commands.training(plan, run)
        if not start:
            shutil.rmtree(work / "train", ignore_errors=True)
            for old in work.glob("train-*.log"):
                old.unlink()
        spent = spend(command, work / f"train-{start}.log", stop) if start < plan.steps else {}
        logs = {int(log.stem.split("-")[1]): log for log in work.glob("train-*.log")}
        dataset = LabelledDataset.open(plan.dataset(run.task, run.arm))
        noted = {
            **spent,
            "losses": commands.losses(plan, logs),
            "episodes": len(dataset.episodes),
            "frames": sum(one.frames for one in dataset.episodes),
        }
        _write(trained, noted)
    bar.update()
    commands.records(plan, run).unlink(missing_ok=True)
    shutil.rmtree(work / "eval", ignore_errors=True)
    spent = spend(commands.evaluation(plan, run), work / "eval.log", stop)
    films = sorted((work / "eval").glob("videos/*/*.mp4"), key=lambda film: int(film.stem.rpartition("_")[2]))
    found = commands.episodes(plan, run)
    if len(found) != plan.episodes:
        raise Refused(f"{work / 'eval.log'} tells of {len(found)} episodes; expected {plan.episodes}")
    write_result(plan, Result(run, json.loads(trained.read_text()), {**spent, "episodes": found}), films)
    bar.update()


def spend(command: list[str], log: Path, stop: threading.Event) -> dict[str, Any]:
    """Run a command to its end; return what it cost.

    Raises:
        Refused: it fails, or `stop` is set.
    """
    if stop.is_set():
        raise Refused("another run failed; this one was not begun")
    environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "HF_HUB_OFFLINE": "1"}
    begin = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            preexec_fn=_end_with_parent,
        )
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if stop.is_set():
                os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.2)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise Refused(
            f"{' '.join(command[1:3])} ended with {process.returncode} ({lines[-1][:300] if lines else 'no output'}); "
            f"{log} tells more"
        )
    return {
        "wall_s": round(time.monotonic() - begin, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "command": command[1:],
    }


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _write(path: Path, value: Any) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value))
    os.replace(part, path)
