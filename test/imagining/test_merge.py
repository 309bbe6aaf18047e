"""What is imagined with a labeller joins what it was imagined from, by LeRobot's own means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset
from lerobot.datasets.dataset_tools import merge_datasets

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import read_provenance
from mask2iv_ros.export.shard import lerobot_contained
from mask2iv_ros.imagining.run import imagine_dataset
from mask2iv_ros.imagining.settings import ImaginingSettings


@pytest.fixture(scope="module")
def wanted(robot_source: Path, checkpoint: Path, labeller: Path) -> ImaginingSettings:
    return ImaginingSettings(
        robot_source, Path(), labeller, goals=("moves",), rollouts=2, keep="all", checkpoint=str(checkpoint)
    )


@pytest.fixture(scope="module")
def made(wanted: ImaginingSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labelled") / "out"
    imagine_dataset(replace(wanted, out=out, episodes="0,2"))
    return out


def test_actions_are_estimated_from_the_state_that_was_measured(made: Path, wanted: ImaginingSettings):
    source, imagined = LabelledDataset.open(wanted.source), LabelledDataset.open(made / "train")
    labeller = Labeller.load(wanted.labeller)
    for one, begun in zip(read_provenance(made / "train"), (0, 0, 2, 2), strict=True):
        robot, measured = imagined.robot(one.episode), source.robot(begun)
        assert robot.action.shape == measured.action.shape
        np.testing.assert_array_equal(robot.state[0], measured.state[0])
        assert one.estimate.source == labeller.source
        assert one.estimate.action_deviation.shape == (4, 2)
        assert not one.estimate.state_deviation[0].any()


def test_lerobot_merges_it_with_its_source(made: Path, wanted: ImaginingSettings, tmp_path: Path):
    about = [json.loads((root / "meta/info.json").read_text()) for root in (wanted.source, made / "train")]
    assert about[0]["features"] == about[1]["features"]
    assert about[0]["fps"] == about[1]["fps"]
    with lerobot_contained(tmp_path / "cache"):
        both = [
            LeRobotDataset(f"mask2iv/{number}", root=root, video_backend="pyav")
            for number, root in enumerate((wanted.source, made / "train"))
        ]
        # What lerobot-edit-dataset calls; the command itself takes ten seconds to start.
        merge_datasets(both, output_repo_id="mask2iv/merged", output_dir=tmp_path / "merged")
        merged = LeRobotDataset("mask2iv/merged", root=tmp_path / "merged", video_backend="pyav")
    assert merged.num_episodes == 10
    assert [bool(merged[row]["imagined"]) for row in (0, 23, 24, 39)] == [False, False, True, True]
    assert merged[39]["action"].shape == (2,)
    assert {one.estimate is None for one in read_provenance(tmp_path / "merged")} == {False}


def test_doubtful_actions_are_left_out(wanted: ImaginingSettings, tmp_path: Path):
    here = replace(wanted, out=tmp_path / "out", keep="good", episodes="0", rollouts=3)
    summary = imagine_dataset(here)
    kept = read_provenance(here.dataset) if here.dataset.exists() else []
    assert [one.id for one in kept] == [one.id for one in summary.kept]
    assert all(one.verdict == one.estimate.verdict == "good" for one in kept)
    assert len(kept) + len(summary.left) == 3


def test_without_actions_there_are_none(wanted: ImaginingSettings, tmp_path: Path):
    here = replace(wanted, out=tmp_path / "out", labeller=None, without_actions=True, episodes="0", rollouts=1)
    imagine_dataset(here)
    assert not LabelledDataset.open(here.dataset).settings.columns
    with pytest.raises(Refused, match="was begun with columns"):
        imagine_dataset(replace(wanted, out=here.out, episodes="0", rollouts=1))


def test_a_labeller_of_another_robot_is_refused(wanted: ImaginingSettings, source: Path, tmp_path: Path):
    told = json.loads((wanted.labeller / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for change, said in (
        ({"dataset": told["dataset"] | {"action": ["dx", "grip"]}}, "columns of action dx, dy"),
        ({"fps": 10}, "has fps 8"),
        ({"size": [96, 128]}, "has frames of"),
        ({"states": None}, "does not estimate it"),
    ):
        (other / "config.json").write_text(json.dumps(told | change))
        (other / "weights.safetensors").write_bytes((wanted.labeller / "weights.safetensors").read_bytes())
        with pytest.raises(Refused, match=said):
            imagine_dataset(replace(wanted, out=tmp_path / "out", labeller=other))
    with pytest.raises(Refused, match="has no action and there is a labeller"):
        imagine_dataset(replace(wanted, out=tmp_path / "out", source=source))
    assert not (tmp_path / "out").exists()
