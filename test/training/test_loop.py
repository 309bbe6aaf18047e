import json
import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.build import begin
from mask2iv_ros.training.contact import RegionWeights
from mask2iv_ros.training.experiment import Experiment, Perturbation
from mask2iv_ros.training.freeze import choose_trained
from mask2iv_ros.training.loop import Trainer, accelerator_for
from mask2iv_ros.training.order import generator_at
from mask2iv_ros.training.state import load_state

CPU = torch.device("cpu")


def trainer(ready, asked: Experiment, folder: Path, stage: Stage | None = None) -> Trainer:
    scale = ready.windows.change_scale("masks" if asked.stage == "trajectory" else "video")
    source = None if asked.network else "base"
    beginning = begin(asked, ready.base, source, scale, CPU)
    if stage is not None:
        choose_trained(stage, asked.trained)
    held_out, accelerator = ready.windows, accelerator_for(asked, "cpu")
    return Trainer(
        stage or beginning.stage,
        ready.windows,
        held_out,
        ready.batcher(asked),
        asked,
        beginning.sampling,
        folder,
        accelerator,
        beginning.undecayed,
    )


def train(ready, asked: Experiment, folder: Path, stage: Stage | None = None) -> Stage:
    return trainer(ready, asked, folder, stage).run(progress=False)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same(one: Stage, other: Stage) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("stage", ["trajectory", "video"])
def test_training_lowers_the_loss_of_the_same_windows_and_noise(small, tiny_experiment, tmp_path: Path, stage: str):
    asked = tiny_experiment(stage, optimiser={"steps": 60}, log={"save": 20})
    train(small, asked, tmp_path)
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert lines[2]["validation"] < lines[1]["validation"] < lines[0]["validation"]
    assert lines[2]["validation"] < 0.7 * lines[0]["validation"]


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_training_in_two_parts_is_one(small, tiny_experiment, tmp_path: Path, average: float | None):
    asked = tiny_experiment(
        "video",
        dropout=0.1,
        perturbation=Perturbation(share=0.5, kernels=(3,)),
        optimiser={"average": average, "precision": "bf16"},
    )
    whole = train(small, asked, tmp_path / "whole")
    train(small, replace(asked, optimiser=replace(asked.optimiser, steps=3)), tmp_path / "parts")
    assert load_state(tmp_path / "parts")[1].step == 3
    torch.manual_seed(99)
    assert_same(train(small, asked, tmp_path / "parts"), whole)
    assert log(tmp_path / "parts") == log(tmp_path / "whole")


def test_layers_with_dropout_are_resumed_to_the_bit_too(full, base_experiment, tmp_path: Path):
    few = {"steps": 2, "batch": 2, "micro": 1, "checkpointing": True}
    asked = base_experiment("trajectory", optimiser=few, log={"windows": 1})
    half = replace(asked, optimiser=replace(asked.optimiser, steps=1))
    # A base's stage is trained in place: each run begins with one of its own.
    first, second, third = (deepcopy(full) for _ in range(3))
    assert any(one.p for one in first.base.stages["base"].denoiser.modules() if isinstance(one, torch.nn.Dropout))
    whole = train(first, asked, tmp_path / "whole")
    train(second, half, tmp_path / "parts")
    assert_same(train(third, asked, tmp_path / "parts"), whole)


def test_pieces_of_a_batch_add_up_to_it(small, tiny_experiment, tmp_path: Path):
    class Recorder(SpaceTimeUNet):
        sizes: list[int] = []

        def forward(self, sample, timestep, condition):
            if self.training:
                self.sizes.append(len(sample))
            return super().forward(sample, timestep, condition)

    network = Recorder(24, 8, 4, widths=(16,), depth=1, head_width=16)
    asked = tiny_experiment("video", optimiser={"steps": 1, "batch": 6, "micro": 3})
    train(small, asked, tmp_path, Stage(network, asked.schedule, scale=torch.ones(8)))
    assert network.sizes == [3, 3]


class Hungry(SpaceTimeUNet):
    """A network for which a GPU is too small: more windows at once than `most` do not fit."""

    most = 2

    def forward(self, sample, timestep, condition):
        if len(sample) > self.most:
            raise torch.OutOfMemoryError("too many")
        return super().forward(sample, timestep, condition)


def hungry(most: int) -> Stage:
    torch.manual_seed(0)
    network = Hungry(24, 8, 4, widths=(16,), depth=1, head_width=16)
    network.most = most
    return Stage(network, scale=torch.ones(8))


def test_out_of_memory_halves_what_is_taken_at_once(small, tiny_experiment, tmp_path: Path, caplog):
    asked = tiny_experiment("video", optimiser={"steps": 3})
    with caplog.at_level(logging.WARNING):
        train(small, asked, tmp_path / "halved", hungry(2))
    assert "memory is too small: going on with 2 windows at once" in caplog.text
    state = load_state(tmp_path / "halved")[1]
    assert (state.micro, state.step) == (2, 3)
    # A later run begins with what fitted, and does not try again.
    caplog.clear()
    more = replace(asked, optimiser=replace(asked.optimiser, steps=6))
    train(small, more, tmp_path / "halved", hungry(2))
    assert "too small" not in caplog.text
    whole = train(small, more, tmp_path / "whole", hungry(2))
    assert_same(train(small, more, tmp_path / "halved", hungry(2)), whole)


def test_out_of_memory_twice_is_one_sentence_that_says_what_would_fit(small, tiny_experiment, tmp_path: Path):
    asked = tiny_experiment("video")
    words = r"too small for 2 windows of 4 frames of 24 x 16 at once; expected optimiser\.micro=1, .*precision=bf16"
    with pytest.raises(Refused, match=words):
        train(small, asked, tmp_path, hungry(1))


def test_the_frozen_layers_did_not_move_while_others_did(full, base_experiment, tmp_path: Path):
    asked = base_experiment("trajectory", trained={"freeze_time": True}, optimiser={"steps": 2, "batch": 2, "micro": 2})
    before = {name: tensor.clone() for name, tensor in full.base.stages["base"].state_dict().items()}
    stage = train(full, asked, tmp_path)
    frozen = {f"denoiser.{name}" for name, _ in stage.denoiser.temporal_layers()}
    moved = {
        name
        for name, tensor in stage.state_dict().items()
        if before[name].shape != tensor.shape or not torch.equal(before[name], tensor)
    }
    assert frozen
    assert not moved & frozen
    parameters = {name for name, _ in stage.named_parameters()}
    assert moved == parameters - frozen
    # The states keep what is trained alone: the rest is the base's.
    assert load_state(tmp_path)[1].weights.keys() == parameters - frozen


def test_with_lambda_5_the_contact_regions_error_ends_lower(small, tiny_experiment, tmp_path: Path):
    errors = {}
    windows = [small.windows[index] for index in range(len(small.windows))]
    for contact in (1.0, 5.0):
        weights = RegionWeights(interactor=0, object=0, contact=contact)
        asked = tiny_experiment("video", weights=weights, optimiser={"steps": 40, "rate": 1e-3})
        stage = train(small, asked, tmp_path / str(contact)).eval()
        region = RegionWeights(interactor=0, object=0, contact=5)
        batch = small.batcher(replace(asked, weights=region)).plain(windows, generator_at(0))
        parts = [
            stage(batch.video, batch.origin, batch.condition, inside, generator_at(1)).item()
            for inside in ((batch.weight > 1).float(), (batch.weight == 1).float())
        ]
        errors[contact] = parts
    assert errors[5.0][0] < 0.97 * errors[1.0][0]
    # The price is paid elsewhere: it is no better training altogether.
    assert errors[5.0][1] > errors[1.0][1]


def test_the_averaged_weights_are_returned(small, tiny_experiment, tmp_path: Path):
    stage = train(small, tiny_experiment("video", optimiser={"average": 0.99}), tmp_path)
    state = load_state(tmp_path)[1]
    weight = stage.denoiser.leave[2].weight
    assert torch.equal(weight, state.average["denoiser.leave.2.weight"])
    assert not torch.equal(weight, state.weights["denoiser.leave.2.weight"])


def test_the_scale_is_kept_with_the_weights_that_mean_it(small, tiny_experiment, tmp_path: Path):
    asked = tiny_experiment("video")
    done = train(small, asked, tmp_path)
    other = begin(asked, small.base, None, 2 * small.windows.change_scale("video"), CPU).stage
    assert_same(train(small, asked, tmp_path, other), done)
    assert len(log(tmp_path)) == 2


def test_a_state_of_other_settings_or_another_network_is_refused(small, tiny_experiment, tmp_path: Path):
    asked = tiny_experiment("video", optimiser={"steps": 1})
    train(small, asked, tmp_path)
    with pytest.raises(Refused, match=r"trained with other settings \(seed was 0 and is 1\)"):
        train(small, replace(asked, seed=1), tmp_path)
    other = Stage(SpaceTimeUNet(24, 8, 4, widths=(32,), depth=1), asked.schedule, scale=torch.ones(8))
    with pytest.raises(Refused, match=r"step-00000001 cannot be resumed \(denoiser\..* has shape"):
        train(small, asked, tmp_path, other)


def test_a_loss_that_is_not_finite_ends_the_training(small, tiny_experiment, tmp_path: Path):
    asked = tiny_experiment("video")
    stage = begin(asked, small.base, None, torch.zeros(8), CPU).stage
    with pytest.raises(Refused, match=r"the loss of step 1 is (nan|inf); expected a rate below 0\.003"):
        train(small, asked, tmp_path, stage)
    assert load_state(tmp_path) is None


class Steep(SpaceTimeUNet):
    """A network whose gradient is not a number, though its loss is one."""

    def forward(self, sample, timestep, condition):
        output = super().forward(sample, timestep, condition)
        return output + (0 * output).abs().sqrt()


class Lost(SpaceTimeUNet):
    """A network that fails on what is held out alone."""

    def forward(self, sample, timestep, condition):
        output = super().forward(sample, timestep, condition)
        return output if self.training else output * torch.nan


@pytest.mark.parametrize(
    ("kind", "words"), [(Steep, "the gradient's norm of step 1 is nan"), (Lost, "validation after step 3 is nan")]
)
def test_weights_that_are_lost_are_not_kept(small, tiny_experiment, tmp_path: Path, kind: type, words: str):
    stage = Stage(kind(24, 8, 4, widths=(16,), depth=1, head_width=16), scale=torch.ones(8))
    with pytest.raises(Refused, match=rf"{words}; expected a rate below 0\.003"):
        train(small, tiny_experiment("video"), tmp_path, stage)
    assert load_state(tmp_path) is None
    assert all(tensor.isfinite().all() for tensor in stage.state_dict().values())


def test_curves_and_sample_videos_are_written(small, tiny_experiment, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(small, tiny_experiment("trajectory", optimiser={"warm_up": 4}, log={"sample": 3, "samples": 2}), tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "rate", "gradient norm", "validation"}
    assert [point.value for point in events.Scalars("rate")][:4] == pytest.approx([0.00075, 0.0015, 0.00225, 0.003])
    assert all(point.value > 0 for point in events.Scalars("gradient norm"))
    assert set(events.Tags()["images"]) == {"true | sampled/0", "true | sampled/1"}
    videos = events.Images("true | sampled/1")
    assert [video.step for video in videos] == [3, 6]
    assert (videos[0].width, videos[0].height) == (2 * 24, 16)


def test_sample_videos_take_guidance(full, base_experiment, tmp_path: Path):
    one = {"steps": 1, "batch": 1, "micro": 1}
    guided = Sampling(steps=2, guidance=3.0, image_guidance=2.0)
    asked = base_experiment("trajectory", optimiser=one, log={"sample": 1, "samples": 1})
    train(full, replace(asked, sampling=guided), tmp_path)
    assert log(tmp_path)


def test_a_network_that_cannot_compute_twice_is_refused(small, tiny_experiment, tmp_path: Path):
    with pytest.raises(Refused, match="checkpointing is true for a SpaceTimeUNet"):
        train(small, tiny_experiment("video", optimiser={"checkpointing": True}), tmp_path)


def test_processes_wait_for_one_that_encodes_for_days(tiny_experiment: Callable[..., Experiment]):
    assert accelerator_for(tiny_experiment("video"), "cpu").init_handler.timeout.days == 7


def test_half_precision_needs_a_gpu(tiny_experiment: Callable[..., Experiment]):
    with pytest.raises(Refused, match="precision is fp16 on a CPU; expected fp32 or bf16"):
        accelerator_for(tiny_experiment("video", optimiser={"precision": "fp16"}), "cpu")
