import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.actions.tiny import SETTINGS, TINY, write_moving
from mask2iv_ros.actions.train import train_labeller
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import ExportSettings

QUICK = replace(TINY, steps=2)


def test_a_labeller_learns_to_see_actions_and_tells_what_it_was_measured_on(trained: Path):
    told = json.loads((trained / "figures.json").read_text())
    assert told["episodes"] == {"learned": 29, "calibrating": 5, "measured": 6}
    for name in ("right", "down"):
        ours, mean = (told["action"][method][name]["rmse"][0] for method in ("labeller", "mean"))
        assert ours < 0.9 * mean
    assert told["action"]["labeller"]["grip"]["rmse"][0] < 1e-6
    assert told["action"]["labeller"]["grip"]["r2"] is None
    assert told["state"].keys() == {"x", "y"}
    report = (trained / "report.html").read_text()
    assert "Constant in the demonstrations and kept as they are: grip" in report
    assert (trained / "estimates.png").stat().st_size > 1000
    assert told["source"] in (trained / "README.md").read_text()


def test_the_network_without_masks_and_a_dataset_to_measure_on_are_reported(demonstrations: Path, tmp_path: Path):
    other = write_moving(tmp_path / "other", range(100, 103))
    found = train_labeller(QUICK, demonstrations, tmp_path / "out", other, compare_masks=True)
    assert found.episodes == (34, 6, 3)
    assert {"labeller", "without masks", "zero", "mean"} < found.figures().keys()
    assert found.labeller.states is None
    assert not list(tmp_path.glob(".*part"))


def test_the_same_training_gives_the_same_labeller(demonstrations: Path, tmp_path: Path):
    first, second = (train_labeller(QUICK, demonstrations, tmp_path / name).labeller.source for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda action: np.full_like(action, 0.3), "all columns of action are constant"),
        (lambda action: np.where(np.arange(3) == 1, np.float32(np.nan), action), "action 'down' is nan in frame 0"),
    ],
)
def test_actions_that_teach_nothing_are_refused(tmp_path: Path, change, words: str):
    data = write_moving(tmp_path / "data", range(6), change=change)
    with pytest.raises(Refused, match=words):
        train_labeller(QUICK, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_episodes_are_refused_and_it_is_said_how_many_are_needed(tmp_path: Path):
    data = write_moving(tmp_path / "data", range(5))
    with pytest.raises(Refused, match="has 5 episodes of at least 3 frames; expected at least 6"):
        train_labeller(QUICK, data, tmp_path / "out")
    assert train_labeller(QUICK, data, tmp_path / "out", data).episodes == (4, 1, 5)


def test_states_cannot_be_learned_where_there_are_none(tmp_path: Path):
    data = write_moving(tmp_path / "data", range(6), ExportSettings("front", (), SETTINGS.action))
    with pytest.raises(Refused, match=r"has no observation.state to learn"):
        train_labeller(QUICK, data, tmp_path / "out", state=True)
    assert train_labeller(QUICK, data, tmp_path / "out").labeller.settings.state == ()


def test_a_dataset_without_actions_teaches_none(tmp_path: Path):
    data = write_moving(tmp_path / "data", range(6), ExportSettings())
    with pytest.raises(Refused, match="has no feature action"):
        train_labeller(QUICK, data, tmp_path / "out")


def test_another_robot_to_measure_on_is_refused(demonstrations: Path, tmp_path: Path):
    other = write_moving(tmp_path / "other", range(2), ExportSettings("front", ("x", "y"), ("a", "b", "c")))
    with pytest.raises(Refused, match=r"has columns of action a, b, c"):
        train_labeller(QUICK, demonstrations, tmp_path / "out", other)


def test_a_labeller_may_be_put_into_the_present_folder(
    demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    made = train_labeller(QUICK, demonstrations, Path()).labeller
    assert Labeller.load(here, "cpu").source == made.source


def test_what_is_there_already_is_not_overwritten(demonstrations: Path, trained: Path):
    before = Labeller.load(trained, "cpu").source
    with pytest.raises(Refused, match="is there already"):
        train_labeller(QUICK, demonstrations, trained)
    assert Labeller.load(trained, "cpu").source == before


def test_what_a_labeller_knows_already_needs_few_demonstrations(trained: Path, tmp_path: Path):
    data, other = (write_moving(tmp_path / str(seeds.start), seeds) for seeds in (range(200, 205), range(300, 306)))
    before = Labeller.load(trained, "cpu").source
    anew, gone_on = (
        train_labeller(replace(QUICK, rate=1e-4), data, tmp_path / name, other, state=True, base=base)
        for name, base in (("anew", None), ("gone_on", trained))
    )
    for name in ("right", "down"):
        errors = [found.figures()["labeller"][name]["rmse"][0] for found in (anew, gone_on)]
        assert errors[1] < 0.95 * errors[0]
    assert Labeller.load(trained, "cpu").source == before != gone_on.labeller.source
    assert json.loads((tmp_path / "gone_on/config.json").read_text())["base"] == before
    units = [Labeller.load(folder, "cpu").actions for folder in (trained, tmp_path / "gone_on")]
    assert units[0].spread == units[1].spread, "what the network answers is in the same units"
    assert units[0].high != units[1].high, "limits are those of the new demonstrations"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"experiment": replace(QUICK, network=replace(QUICK.network, keypoints=8))}, "has the network .*keypoints=4"),
        ({"compare_masks": True}, "cannot go on from --base"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(demonstrations: Path, trained: Path, tmp_path: Path, change, words: str):
    told = {"experiment": QUICK, "data": demonstrations, "out": tmp_path / "out", "base": trained}
    with pytest.raises(Refused, match=words):
        train_labeller(**told | change)
    other = write_moving(tmp_path / "other", range(6), ExportSettings("front", ("x", "y"), ("a", "b", "c")))
    with pytest.raises(Refused, match=r"base .* has columns of action .* expected the same of both"):
        train_labeller(**told | {"data": other})
    stateless = tmp_path / "stateless"
    train_labeller(QUICK, demonstrations, stateless)
    with pytest.raises(Refused, match=r"was trained without --state and .* has states"):
        train_labeller(QUICK, demonstrations, tmp_path / "out", base=stateless)
    assert not (tmp_path / "out").exists()
