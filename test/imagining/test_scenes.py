"""Rollouts that begin at photographs of other scenes and are merged with demonstrations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings, read_provenance
from mask2iv_ros.imagining.report import write_report
from mask2iv_ros.imagining.run import imagine_dataset
from mask2iv_ros.imagining.settings import ImaginingSettings
from mask2iv_ros.masks import Role


def photographs(root: Path, seeds: range, settings: ExportSettings | None = None, fps: float = 8.0) -> Path:
    """Scenes of another dataset whose own goals lie in a corner, where no goal should be drawn."""
    corner = np.zeros((32, 48), bool)
    corner[25:30, 2:7] = True
    write_clips(root, [replace(tiny_clip(seed), fps=fps, goal_mask=corner) for seed in seeds], settings)
    return root


@pytest.fixture
def wanted(robot_source: Path, labeller: Path, checkpoint: Path, tmp_path: Path) -> ImaginingSettings:
    scenes = photographs(tmp_path / "scenes", range(20, 22))
    return ImaginingSettings(
        robot_source,
        tmp_path / "out",
        labeller,
        goals=("moves", "episodes"),
        keep="all",
        checkpoint=str(checkpoint),
        scenes=scenes,
    )


def test_rollouts_begin_at_the_scenes_and_have_the_demonstrations_columns_and_goals(
    wanted: ImaginingSettings, robot_source: Path
):
    summary = imagine_dataset(replace(wanted, rollouts=2))
    found, made = read_provenance(wanted.dataset), LabelledDataset.open(wanted.dataset)
    scenes, source = LabelledDataset.open(wanted.scenes), LabelledDataset.open(robot_source)
    assert [one.id for one in found] == [f"slide-{seed}.0.{kind}0" for seed in (20, 21) for kind in wanted.goals]
    assert made.settings == source.settings
    assert made.robot(0).action.shape[1] == 2
    shown = [source.read(number).goal_mask for number in range(6)]
    for one in found:
        episode = made.read(one.episode)
        np.testing.assert_array_equal(episode.labels[0], scenes.read(one.episode // 2).labels[0])
        assert not episode.goal_mask[25:30, 2:7].all()
        if one.id.endswith("episodes0"):
            assert any((episode.goal_mask == goal).all() for goal in shown)
        else:
            assert episode.goal_mask.sum() == (episode.labels[0] == Role.OBJECT).sum()
    assert "scenes" in write_report(summary, wanted).read_text()
    assert imagine_dataset(replace(wanted, rollouts=2)).kept == summary.kept


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": ExportSettings("wrist")}, "has the camera wrist and .* front"),
        ({"fps": 4.0}, "has fps 4 and .* 8"),
    ],
)
def test_scenes_of_another_camera_are_refused(wanted: ImaginingSettings, tmp_path: Path, change: dict, words: str):
    other = photographs(tmp_path / "other", range(2), **change)
    with pytest.raises(Refused, match=words):
        imagine_dataset(replace(wanted, scenes=other))
    assert not wanted.out.exists()


def test_a_run_does_not_go_on_with_other_scenes(wanted: ImaginingSettings, tmp_path: Path):
    imagine_dataset(replace(wanted, rollouts=1))
    with pytest.raises(Refused, match="was begun with source"):
        imagine_dataset(replace(wanted, rollouts=1, scenes=photographs(tmp_path / "other", range(30, 32))))
