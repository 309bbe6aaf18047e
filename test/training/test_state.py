import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.state import State, changed_settings, check_origin, load_state, save_state

STATE = State(
    step=500,
    experiment={"seed": 0, "optimiser": {"rate": 0.1, "steps": 9}},
    micro=2,
    weights={"a": torch.arange(6.0).view(2, 3).T, "scale": torch.ones(2)},
    optimiser={"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    average={"a": torch.zeros(3, 2)},
    scaler={"scale": 2.0},
    origin={"base": "12ab"},
)


def test_a_state_comes_back(tmp_path: Path):
    assert load_state(tmp_path) is None
    save_state(tmp_path / "work", STATE)
    path, found = load_state(tmp_path / "work")
    assert path.name == "step-00000500"
    assert (found.step, found.micro, found.experiment, found.scaler) == (500, 2, STATE.experiment, STATE.scaler)
    assert found.origin == STATE.origin
    assert torch.equal(found.weights["a"], STATE.weights["a"])
    assert torch.equal(found.average["a"], STATE.average["a"])
    assert torch.equal(found.optimiser["state"][0]["exp_avg"], torch.ones(3))


def test_the_latest_state_stays_alone(tmp_path: Path):
    save_state(tmp_path, STATE)
    save_state(tmp_path, replace(STATE, step=1000, average=None))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00001000"]
    _, found = load_state(tmp_path)
    assert (found.step, found.average) == (1000, None)


def test_a_state_is_on_the_disk_before_the_one_before_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_state(tmp_path, STATE)
    synced, fsync = [], os.fsync

    def watched(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.relative_to(tmp_path).as_posix(), (tmp_path / "step-00000500").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    save_state(tmp_path, replace(STATE, step=1000))
    part = "step-00001000.part"
    names = ("state.json", "weights.safetensors", "average.safetensors", "optimiser.pt")
    assert {(f"{part}/{name}", True) for name in names} | {(part, True)} <= set(synced)
    # The rename too.
    assert (".", True) in synced[synced.index((part, True)) :]
    assert not (tmp_path / "step-00000500").exists()


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"base": "34cd"}, "was trained with base '12ab', not '34cd'; expected the same, or another folder"),
        ({"base": "12ab", "dataset": "5"}, "was trained with dataset None, not '5'; expected the same, its files' t"),
    ],
)
def test_a_state_of_another_origin_is_refused(tmp_path: Path, now: dict, words: str):
    check_origin(tmp_path, STATE.origin, {"base": "12ab"})
    with pytest.raises(Refused, match=words):
        check_origin(tmp_path, STATE.origin, now)


def test_what_a_kill_left_half_written_is_not_taken_for_a_state(tmp_path: Path):
    save_state(tmp_path, STATE)
    torn = tmp_path / "step-00001000.part"
    torn.mkdir()
    (torn / "state.json").write_text('{"step": 1000}')
    assert load_state(tmp_path)[1].step == 500
    # A kill after the new state is in place and before the old one is gone leaves both.
    (tmp_path / "step-00000500").rename(tmp_path / "kept")
    save_state(tmp_path, replace(STATE, step=1500))
    (tmp_path / "kept").rename(tmp_path / "step-00000500")
    assert load_state(tmp_path)[1].step == 1500
    assert not torn.exists()


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "average.safetensors", "optimiser.pt"])
@pytest.mark.parametrize("content", [b"", b"not a state", b"\x80\x02cposix\nsystem\nq\x00.", None])
def test_a_corrupt_state_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes | None):
    save_state(tmp_path, STATE)
    file = tmp_path / "step-00000500" / name
    file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    with pytest.raises(Refused, match=r"step-00000500 cannot be resumed \(\w+\); remove it or train") as refusal:
        load_state(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_state_without_its_weights_is_refused(tmp_path: Path):
    save_state(tmp_path, STATE)
    (tmp_path / "step-00000500" / "weights.safetensors").unlink()
    with pytest.raises(Refused, match="cannot be resumed"):
        load_state(tmp_path)


def test_code_in_a_state_is_not_run(tmp_path: Path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    save_state(tmp_path, STATE)
    torch.save({"state": Attack()}, tmp_path / "step-00000500" / "optimiser.pt")
    with pytest.raises(Refused, match="cannot be resumed"):
        load_state(tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(Refused, match=r"step-00000500 cannot be written .*room for a state"):
        save_state(tmp_path / "work", STATE)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"seed": 0, "optimiser": {"rate": 0.1, "steps": 9}}, ""),
        ({"seed": 0, "optimiser": {"rate": 0.1, "steps": 20}, "log": {"every": 3}}, ""),
        ({"seed": 0, "optimiser": {"rate": 0.2, "steps": 9}}, "optimiser.rate was 0.1 and is 0.2"),
        ({"seed": 0, "optimiser": None}, "optimiser was {'rate': 0.1, 'steps': 9} and is None"),
        ({"seed": (1, 2), "optimiser": {"rate": 0.1}}, r"seed was 0 and is [1, 2]"),
    ],
)
def test_settings_that_change_what_is_computed_are_named(now: dict, words: str):
    assert changed_settings(json.loads(json.dumps(STATE.experiment)), now) == words
