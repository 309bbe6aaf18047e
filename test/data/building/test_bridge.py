"""The real sample of BridgeData V2, built without clicks: the first of its episodes."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mask2iv_ros.data.building.build import build
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.sources.rlds import Rlds
from mask2iv_ros.export import read_provenance
from mask2iv_ros.masks import Role

SAMPLE = Path(__file__).parents[3].parent / "shared/data/bridge_v2_rlds"


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"{SAMPLE} is missing: the sample of BridgeData V2 in RLDS form")
def test_what_the_sample_says_is_kept_to_the_bit(tmp_path: Path):
    source = Rlds.open(SAMPLE)
    settings = BuildSettings(tmp_path, "bridge", ("image_0",), "motion", frames=8)
    summary, plan = build(source, settings, episodes=1)
    assert plan.fps == 5
    assert plan.state == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    (kept,) = summary.kept
    first = int(kept.id.rpartition(".")[2])
    chosen = slice(first, first + 8)
    truth = source.read(source.ids()[0], "image_0")
    rows = pq.read_table(next((tmp_path / "train/data").rglob("*.parquet"))).to_pydict()
    assert np.array(rows["observation.state"], np.float32).tobytes() == truth.state[chosen].tobytes()
    assert np.array(rows["action"], np.float32).tobytes() == truth.action[chosen].tobytes()
    dataset = LabelledDataset.open(tmp_path / "train")
    assert dataset.episodes[0].task == truth.task == "put cup from counter or drying rack into sink"
    (about,) = read_provenance(tmp_path / "train", imagined_only=False)
    assert about.checkpoint == "labels: grabcut, by motion: what it reached"
    found = dataset.read(0)
    assert np.abs(found.video.astype(int) - truth.frames[chosen]).mean() < 2
    # The blue cup in the rack, and the gripper that comes down to it from the upper left.
    assert (found.labels[0, 22:28, 12:18] == Role.OBJECT).mean() > 0.8
    assert (found.labels[0] == Role.OBJECT).sum() < 150
    assert (found.labels[-1] == Role.INTERACTOR)[4:16, 8:16].mean() > 0.5
