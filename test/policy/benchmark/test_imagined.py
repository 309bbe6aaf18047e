from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.actions.settings import LabellerExperiment
from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings
from mask2iv_ros.export.shard import lerobot_contained, write_shard
from mask2iv_ros.policy.benchmark.datasets import require_mergeable
from mask2iv_ros.policy.benchmark.imagined import TUNED, imagine, in_turn, take
from mask2iv_ros.policy.benchmark.plan import MADE, Plan
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory
from mask2iv_ros.training.reading import read_settings


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("three") / "clips"
    write_clips(root, [replace(tiny_clip(seed), fps=8.0) for seed in range(3)])
    return root


@pytest.mark.parametrize("chosen", [[2, 0], [0, 1, 2]])
def test_episodes_are_taken_as_they_are(three: Path, tmp_path: Path, chosen: list[int]):
    take(three, chosen, tmp_path / "taken")
    whole, taken = LabelledDataset.open(three), LabelledDataset.open(tmp_path / "taken")
    require_mergeable(taken.root, three)
    assert len(taken.episodes) == len(chosen)
    for index, number in enumerate(sorted(chosen)):
        one, other = whole.read(number), taken.read(index)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert np.abs(one.video.astype(int) - other.video).mean() < 3
    assert not list(tmp_path.glob(".*.part"))


def test_the_labeller_is_tuned_as_its_experiment_says():
    file = Path(__file__).parents[3] / "config/experiments/tuned_actions.yaml"
    assert LabellerExperiment(**TUNED) == read_settings(LabellerExperiment, file)


@pytest.mark.parametrize("arm", MADE)
def test_what_is_there_is_not_imagined_again(three: Path, tmp_path: Path, arm: str):
    plan = Plan(tmp_path, ("coffee-push",), more=2)
    out = plan.source("coffee-push", arm)
    out.parent.mkdir(parents=True)
    take(three, [0, 1], out)
    before = sorted(path.name for path in out.parent.iterdir())
    imagine(plan, "coffee-push", arm, 1)
    assert sorted(path.name for path in out.parent.iterdir()) == before
    with pytest.raises(Refused, match="has 2 episodes and 3 are wanted"):
        imagine(replace(plan, more=3), "coffee-push", arm, 1)


def test_every_scene_gives_an_episode_before_one_gives_two(three: Path, tmp_path: Path):
    clip, settings = replace(tiny_clip(0), fps=8.0), ExportSettings()
    names = ["a-1.0.places0", "a-1.0.places2", "a-1.0.places3", "a-2.0.places1", "a-3.4.places0", "a-3.4.places1"]
    rollouts = [
        Rollout(
            name,
            Scene(clip.video[0], clip.labels[0]),
            Goal(clip.goal_mask, "go"),
            Trajectory(clip.labels),
            clip.video,
            8.0,
            0,
            "tiny",
        )
        for name in names
    ]
    with lerobot_contained(tmp_path / "cache"):
        write_shard(rollouts, tmp_path / "made", settings)
    assert in_turn(tmp_path / "made") == [0, 3, 4, 1, 5, 2]
