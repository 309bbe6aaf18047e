import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.video import write_mp4
from mask2iv_ros.policy.benchmark.datasets import make_datasets, require_mergeable
from mask2iv_ros.policy.benchmark.plan import Extra, Plan, Run
from mask2iv_ros.policy.benchmark.report import in_words, write_report
from mask2iv_ros.policy.benchmark.results import Result, read_results, write_result
from mask2iv_ros.policy.benchmark.runs import run_all


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        tmp_path, ("coffee-push",), imagined="made", arms=("real", "imagined", "blind"), seeds=(0, 1), episodes=4
    )


def _finish(plan: Plan, run: Run, reached: int) -> None:
    rows = [
        {"seed": n, "scene": 6_000_000 + n, "success": n < reached, "distance_m": 0.1, "goal_iou": 0.1}
        for n in range(plan.episodes)
    ]
    film = plan.out / "film.mp4"
    write_mp4(film, np.zeros((2, 16, 16, 3), np.uint8), 8)
    training = {"losses": [(20, 0.5), (40, 0.25)], "episodes": 30, "frames": 480, "wall_s": 9.0, "cpu_s": 8.0}
    write_result(plan, Result(run, training, {"episodes": rows, "wall_s": 4.0, "cpu_s": 3.0}), [film] * 2)


def test_the_report_shows_what_is_there(plan: Plan):
    with pytest.raises(Refused, match="has no results"):
        write_report(plan)
    for run in plan.runs:
        if run.arm != "blind":
            _finish(plan, run, 3 if run.arm == "imagined" else 1)
    path = write_report(plan)
    text = path.read_text()
    assert "4 of 6" in text
    assert "films/coffee-push-imagined-0-1.mp4" in text
    assert len(list((plan.out / "films").glob("*.mp4"))) == 4
    table = in_words(plan, read_results(plan))
    assert table == (plan.out / "table.md").read_text().rstrip("\n")
    rows = {line.split(" | ")[1]: line.split(" | ") for line in table.splitlines() if "coffee-push" in line}
    assert rows["real"][3].startswith("25.0")
    assert rows["imagined"][3].startswith("75.0")
    assert rows["imagined"][4].startswith("50.0")
    assert rows["blind"][3] == "–"
    with (plan.out / "episodes.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 16


def test_results_of_another_benchmark_are_refused_before_anything_runs(plan: Plan):
    run = plan.runs[0]
    _finish(plan, run, 1)
    path = plan.result(run)
    found = json.loads(path.read_text())
    for change, said in (
        ({"plan": found["plan"] | {"steps": 7}}, f"was made with steps 7; expected {plan.steps}"),
        ({"run": found["run"] | {"seed": 1}}, "is of the run coffee-push-real-1"),
        ({"evaluation": {"episodes": found["evaluation"]["episodes"][:2]}}, "has 2 scenes"),
        ({"run": 3}, "cannot be read"),
        ({"plan": 3}, "cannot be read"),
        ({"evaluation": {"episodes": [{"seed": 0, "success": True}]}}, "cannot be read"),
    ):
        path.write_text(json.dumps(found | change))
        with pytest.raises(Refused, match=said):
            run_all(plan, 1)
    path.write_text("{")
    with pytest.raises(Refused, match="cannot be read"):
        run_all(plan, 1)
    with pytest.raises(Refused, match="workers is 0"):
        run_all(plan, 0)


def test_datasets_are_merged_by_lerobot_if_they_have_the_same_features(shown: Path, tmp_path: Path):
    real = tmp_path / "out/data/coffee-push/real"
    real.parent.mkdir(parents=True)
    real.symlink_to(shown)
    info = json.loads((shown / "meta/info.json").read_text())
    assert require_mergeable(shown, real) is None
    for change, said in (
        ({"fps": 8}, "at 8 fps; expected .* at 16"),
        ({"features": {k: v for k, v in info["features"].items() if k != "action"}}, "lacks the feature action"),
    ):
        other = tmp_path / "other/meta"
        other.mkdir(parents=True, exist_ok=True)
        (other / "info.json").write_text(json.dumps(info | change))
        with pytest.raises(Refused, match=said):
            require_mergeable(other.parent, real)
    with pytest.raises(Refused, match="cannot be read"):
        require_mergeable(tmp_path / "nothing", real)
    plan = Plan(tmp_path / "out", ("coffee-push",), 2, arms=("real",), extra=(Extra("twice", str(shown)),), seeds=(0,))
    for _ in range(2):
        make_datasets(plan, 1)
        merged = json.loads((plan.dataset("coffee-push", "twice") / "meta/info.json").read_text())
        assert (merged["total_episodes"], merged["total_frames"]) == (4, 64)
        assert merged["features"].keys() == info["features"].keys()
    with pytest.raises(Refused, match="has 2 episodes and 1 are wanted"):
        make_datasets(replace(plan, demonstrations=1), 1)
