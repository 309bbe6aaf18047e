from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.policy.benchmark.datasets import require_mergeable
from mask2iv_ros.policy.benchmark.imagined import imagine, take
from mask2iv_ros.policy.benchmark.plan import Plan


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("three") / "clips"
    write_clips(root, [replace(tiny_clip(seed), fps=8.0) for seed in range(3)])
    return root


@pytest.mark.parametrize("count", [2, 3])
def test_the_first_episodes_are_taken_as_they_are(three: Path, tmp_path: Path, count: int):
    take(three, count, tmp_path / "taken")
    whole, taken = LabelledDataset.open(three), LabelledDataset.open(tmp_path / "taken")
    require_mergeable(taken.root, three)
    assert len(taken.episodes) == count
    for index in range(count):
        one, other = whole.read(index), taken.read(index)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert np.abs(one.video.astype(int) - other.video).mean() < 3
    assert not list(tmp_path.glob(".*.part"))


def test_what_is_there_is_not_imagined_again(three: Path, tmp_path: Path):
    plan = Plan(tmp_path, ("coffee-push",), more=2)
    out = plan.source("coffee-push", "imagined")
    out.parent.mkdir(parents=True)
    take(three, 2, out)
    before = sorted(path.name for path in out.parent.iterdir())
    imagine(plan, "coffee-push", 1)
    assert sorted(path.name for path in out.parent.iterdir()) == before
    with pytest.raises(Refused, match="has 2 episodes and 3 are wanted"):
        imagine(replace(plan, more=3), "coffee-push", 1)
