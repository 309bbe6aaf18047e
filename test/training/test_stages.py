import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.denoiser import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.latents import LatentClips
from mask2iv_ros.training.stages import StageTraining, train_stage


def fresh(latents: LatentClips, name: str) -> Stage:
    torch.manual_seed(0)
    denoiser = SpaceTimeUNet(channels=4, condition_channels=8, frames=4, widths=(16, 16), depth=1, head_width=16).to(
        memory_format=torch.channels_last
    )
    return Stage(denoiser, latents.change_scale(name))


def settings(name: str, **change: object) -> StageTraining:
    return replace(StageTraining(name, steps=6, batch=2, rate=3e-3, save_every=3), **change)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["trajectory", "video"])
def test_a_few_steps_lower_the_held_out_loss(latents: LatentClips, tmp_path: Path, name: str):
    for steps in (1, 30):
        asked = settings(name, steps=steps, save_every=15, decay=0.5)
        train_stage(fresh(latents, name), latents, latents, asked, tmp_path / str(steps))
    lines = log(tmp_path / "30")
    assert [line["step"] for line in lines] == [15, 30]
    # Validation has the same noise every time; a training loss of 15 steps has too little of it.
    (begin,) = log(tmp_path / "1")
    assert lines[1]["validation"] < lines[0]["validation"] < begin["validation"]
    assert lines[1]["validation"] < 0.8 * begin["validation"]


class Killed(Exception):
    """Ends a training between two checkpoints, as a kill does."""


class Mortal(Stage):
    """A stage whose training ends in its n-th loss."""

    left = 5

    def loss(self, *told: object) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().loss(*told)


@pytest.mark.parametrize("name", ["trajectory", "video"])
def test_a_killed_training_goes_on_as_if_unbroken(latents: LatentClips, tmp_path: Path, name: str):
    unbroken = train_stage(fresh(latents, name), latents, latents, settings(name), tmp_path / "unbroken")
    model = fresh(latents, name)
    # Three steps, a validation and one step more, which is lost.
    with pytest.raises(Killed):
        train_stage(Mortal(model.denoiser, model.scale), latents, latents, settings(name), tmp_path / "broken")
    torch.manual_seed(99)
    resumed = train_stage(fresh(latents, name), latents, latents, settings(name), tmp_path / "broken")
    for one, other in zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert log(tmp_path / "unbroken") == log(tmp_path / "broken")


def test_a_finished_training_is_not_done_again(latents: LatentClips, tmp_path: Path):
    done = train_stage(fresh(latents, "video"), latents, latents, settings("video"), tmp_path)
    # Clips that came since change the scale; the weights still mean the old one.
    more = replace(latents, video=2 * latents.video)
    again = train_stage(fresh(more, "video"), more, more, settings("video"), tmp_path)
    assert len(log(tmp_path)) == 2
    for one, other in zip(done.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_averaged_weights_are_returned(latents: LatentClips, tmp_path: Path):
    model = train_stage(fresh(latents, "video"), latents, latents, settings("video"), tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    shadow = state["average"]["shadow_params"]
    assert all(torch.equal(one, other) for one, other in zip(model.denoiser.parameters(), shadow, strict=True))
    assert not torch.equal(state["denoiser"]["leave.2.weight"], model.denoiser.leave[2].weight)


@pytest.mark.parametrize("content", [b"", b"not a state", b"\x80\x02cposix\nsystem\nq\x00."])
def test_a_corrupt_state_is_refused(latents: LatentClips, tmp_path: Path, content: bytes):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(Refused, match=r"state\.pt cannot be resumed \(.*\); .*remove it"):
        train_stage(fresh(latents, "video"), latents, latents, settings("video"), tmp_path)


@pytest.mark.parametrize("kept", [100, 20_000, -1])
def test_a_torn_state_is_refused(latents: LatentClips, tmp_path: Path, kept: int):
    train_stage(fresh(latents, "video"), latents, latents, settings("video", steps=1), tmp_path)
    path = tmp_path / "state.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match=r"state\.pt cannot be resumed"):
        train_stage(fresh(latents, "video"), latents, latents, settings("video"), tmp_path)


@pytest.mark.parametrize("state", [[], {}, {"denoiser": {}}, {"denoiser": 3}])
def test_a_foreign_state_is_refused(latents: LatentClips, tmp_path: Path, state: object):
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(Refused, match=r"state\.pt cannot be resumed"):
        train_stage(fresh(latents, "video"), latents, latents, settings("video"), tmp_path)


def test_a_loss_that_is_not_finite_ends_the_training(latents: LatentClips, tmp_path: Path):
    broken = replace(latents, video=latents.video * float("inf"))
    with pytest.raises(Refused, match="the loss of step 1 is nan; expected a rate below"):
        train_stage(fresh(latents, "trajectory"), broken, latents, settings("trajectory"), tmp_path)
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "third"},
        {"steps": 0},
        {"batch": 0},
        {"save_every": 0},
        {"imperfect": 1.1},
        {"imperfect": float("nan")},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"decay": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match=r"expected|accepted"):
        settings("video", **change)
