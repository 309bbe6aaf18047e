import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, Estimate, ExportSettings, RobotColumns, read_provenance

SETTINGS = ExportSettings(state=("x",), action=("dx", "dy"))


def estimate(**changes) -> Estimate:
    told = {
        "source": "idm:01ab23cd",
        "action_deviation": np.full((2, 2), 0.123456, np.float32),
        "verdict": "doubtful: its actions are jerky",
        "figures": {"jerk": 0.5},
    }
    return Estimate(**told | changes)


def test_what_is_known_of_estimated_actions_goes_through_a_dataset(tmp_path, make_rollout):
    rollouts = [make_rollout(0), make_rollout(1)]
    frames = len(rollouts[0].video)
    deviation = np.linspace(0.01, 0.2, frames * 2, dtype=np.float32).reshape(frames, 2)
    robots = [
        RobotColumns(np.ones((frames, 1), np.float32), np.zeros((frames, 2), np.float32), one)
        for one in (estimate(action_deviation=deviation), None)
    ]
    with DatasetWriter(tmp_path / "dataset", SETTINGS) as writer:
        writer.append(rollouts, robots)
    first, second = read_provenance(tmp_path / "dataset")
    assert first.estimate.source == "idm:01ab23cd"
    assert first.estimate.verdict.startswith("doubtful: ")
    assert first.estimate.figures == {"jerk": 0.5}
    np.testing.assert_allclose(first.estimate.action_deviation, deviation, rtol=1e-3)
    assert first.estimate.state_deviation is None
    assert second.estimate is None
    assert "actions" not in first.scores
    np.testing.assert_array_equal(LabelledDataset.open(tmp_path / "dataset").robot(1).state, robots[1].state)


def test_it_is_json_and_back():
    told = json.loads(json.dumps(estimate(state_deviation=np.ones((2, 3), np.float32)).told()))
    assert Estimate.read(told).told() == told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "a guess"}, "source of actions is 'a guess'"),
        ({"verdict": "fine"}, "verdict on actions is 'fine'"),
        ({"action_deviation": np.full((1, 1), np.nan, np.float32)}, "not all finite"),
        ({"state_deviation": np.full((1, 1), -1, np.float32)}, "at least 0"),
    ],
)
def test_what_says_nothing_is_refused(change, words):
    with pytest.raises(Refused, match=words):
        estimate(**change)


@pytest.mark.parametrize(
    "scores",
    [
        "no JSON",
        "[" * 100_000,
        "[1, 2]",
        '{"verdict": 3}',
        '{"goal_iou": "high"}',
        '{"actions": 3}',
        '{"actions": {"source": "idm:01ab23cd"}}',
        json.dumps({"actions": estimate().told() | {"source": 3}}),
        json.dumps({"actions": estimate().told() | {"source": "a guess"}}),
        json.dumps({"actions": estimate().told() | {"action_deviation": [[1], [2, 3]]}}),
        json.dumps({"actions": estimate().told() | {"action_deviation": [[10**400]]}}),
        json.dumps({"actions": estimate().told() | {"figures": {"jerk": "high"}}}),
        json.dumps({"actions": estimate().told() | {"figures": 3}}),
    ],
)
def test_a_dataset_that_says_something_else_is_refused(tmp_path, make_rollout, scores: str):
    root = tmp_path / "dataset"
    with DatasetWriter(root, ExportSettings()) as writer:
        writer.append([make_rollout(0)])
    (path,) = Path(root).glob("data/*/*.parquet")
    table = pq.read_table(path)
    place = table.column_names.index("mask2iv.scores")
    pq.write_table(table.set_column(place, "mask2iv.scores", pa.array([scores] * len(table))), path)
    with pytest.raises(Refused, match="origin of episode 0 cannot be read"):
        read_provenance(root)
