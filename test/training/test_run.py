import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.data.tiny import write_tiny_dataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.checkpoint_config import CheckpointConfig
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.training.experiment import Perturbation
from mask2iv_ros.training.run import hold_out, train_stage
from mask2iv_ros.training.state import load_state
from mask2iv_ros.training.trajectories import Drawing, sample_trajectories
from mask2iv_ros.training.windows import Windows

CPU = torch.device("cpu")


def train(asked, data: Path, base: Path, folder: Path, **more: object) -> Path:
    """Train into `folder/out` and return it."""
    train_stage(asked, data, base, folder / "out", folder / asked.stage, device="cpu", **more)
    return folder / "out"


def test_a_checkpoint_grows_stage_by_stage_and_imagines(data: Path, small_base: Path, tiny_experiment, tmp_path: Path):
    few = {"optimiser": {"steps": 2}, "log": {"windows": 1}}
    out = train(tiny_experiment("trajectory", **few), data, small_base, tmp_path)
    assert set(checkpoints.read_config(out).stages) == {"trajectory"}
    train(tiny_experiment("video", **few), data, small_base, tmp_path)
    made = checkpoints.load(out, CPU)
    assert (made.config.name, made.config.frames, made.config.size, made.config.fps) == ("out", 4, (16, 24), 10.0)
    assert made.config.stages["trajectory"].conditions == ("mask", "text")
    assert made.config.stages["video"].conditions == ()
    assert made.config.stages["video"].sampling == Sampling(steps=2, eta=0.0, guidance=1.0)
    state = load_state(tmp_path / "video")[1]
    for name, tensor in made.stages["video"].denoiser.state_dict().items():
        assert torch.equal(tensor, state.weights[f"denoiser.{name}"].half().float()), name
    # Encoders are the base's, bit by bit.
    told = [json.loads((folder / "config.json").read_text())["parts"] for folder in (small_base, out)]
    for part in ("autoencoder", "text_encoder", "tokenizer"):
        assert told[0][part] == told[1][part]


def test_the_full_size_models_classes_train_by_the_same_code(
    data: Path, full_base: Path, base_experiment, tmp_path: Path
):
    few = {"optimiser": {"steps": 1, "batch": 1, "micro": 1}, "log": {"windows": 1}}
    one = base_experiment("trajectory", dropout=0.05, trained={"freeze_time": True}, **few)
    out = train(one, data, full_base, tmp_path, dtype=torch.float32)
    two = base_experiment("video", trained={"lora": 2, "projector": False}, **few)
    train(two, data, full_base, tmp_path, dtype=torch.float32)
    base, made = checkpoints.load(full_base, CPU, stages=("base",)), checkpoints.load(out, CPU)
    assert made.stages["video"].schedule == base.stages["base"].schedule
    old, frozen, adapted = (
        parts.denoiser.state_dict() for parts in (base.stages["base"], made.stages["trajectory"], made.stages["video"])
    )
    temporal = {name for name, _ in base.stages["base"].denoiser.temporal_layers()}
    assert all(torch.equal(frozen[name], old[name]) for name in temporal)
    assert not torch.equal(frozen["conv_out.weight"], old["conv_out.weight"])
    # Adapters are merged into the attention; all else is the base's.
    assert adapted.keys() == old.keys()
    moved = {
        name for name in old if old[name].shape != adapted[name].shape or not torch.equal(old[name], adapted[name])
    }
    assert "conv_in.weight" in moved
    assert all("attn" in name or "to_" in name for name in moved - {"conv_in.weight"})
    assert any(".attn1.to_q.weight" in name for name in moved)
    assert (tmp_path / "video" / "adapter" / "adapter_config.json").exists()
    for projected, same in (("trajectory", False), ("video", True)):
        pair = [one.projector.state_dict().values() for one in (base.stages["base"], made.stages[projected])]
        assert all(torch.equal(one, other) for one, other in zip(*pair, strict=True)) == same


def test_a_stage_with_a_branch_is_loaded_as_it_was_trained(
    data: Path, small_base: Path, tiny_experiment, tmp_path: Path
):
    asked = tiny_experiment(
        "video", network={"branch": True}, masks="interactor", optimiser={"steps": 2}, log={"windows": 1}
    )
    made = checkpoints.load(train(asked, data, small_base, tmp_path), CPU, stages=("video",))
    assert made.config.stages["video"].masks == "interactor"
    weights = load_state(tmp_path / "video")[1].weights
    assert any(name.startswith("denoiser.branch.") for name in weights)
    for name, tensor in made.stages["video"].denoiser.state_dict().items():
        assert torch.equal(tensor, weights[f"denoiser.{name}"].half().float()), name


def test_whoever_is_told_the_steps_may_end_it(data: Path, small_base: Path, tiny_experiment, tmp_path: Path, capfd):
    asked, told = tiny_experiment("video", optimiser={"steps": 4}, log={"windows": 1, "save": 1}), []

    def on_step(done: int) -> None:
        told.append(done)
        if told == [1, 2, 3]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, data, small_base, tmp_path, on_step=on_step)
    assert not checkpoints.read_config(tmp_path / "out").stages
    train(asked, data, small_base, tmp_path, on_step=on_step)
    # The third was not saved when it was told.
    assert told == [1, 2, 3, 3, 4]
    assert "step" not in capfd.readouterr().err


def test_a_stage_2_that_is_told_sampled_trajectories_goes_on_to_the_bit_with_the_same(
    data: Path, small_base: Path, tiny_experiment, tmp_path: Path
):
    told = Perturbation(share=0.2, kernels=(3,), sampled=0.6, agreement=0.0)
    asked = tiny_experiment("video", perturbation=told, log={"windows": 1})
    with pytest.raises(
        Refused, match=r"holds no trajectories .*mask2iv data trajectories --data .*/clips --checkpoint"
    ):
        train(asked, data, small_base, tmp_path)
    sampled, others = (
        sample_trajectories(data, small_base, Drawing(steps=2, seed=seed), tmp_path / str(seed))[0] for seed in (0, 1)
    )
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    train(replace(asked, optimiser=replace(asked.optimiser, steps=3)), data, small_base, parts, trajectories=sampled)
    with pytest.raises(Refused, match=r"step-00000003 was trained with trajectories '.*', not '.*'"):
        train(asked, data, small_base, parts, trajectories=others)
    outs = [train(asked, data, small_base, folder, trajectories=sampled) for folder in (parts, whole)]
    one, other = (checkpoints.load(out, CPU, stages=("video",)).stages["video"].state_dict() for out in outs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    # With others it becomes another stage, so they are told.
    third = checkpoints.load(
        train(asked, data, small_base, tmp_path / "third", trajectories=others), CPU, stages=("video",)
    )
    assert any(not torch.equal(one[name], tensor) for name, tensor in third.stages["video"].state_dict().items())
    plain = tiny_experiment("video", optimiser={"steps": 1}, log={"windows": 1})
    with pytest.raises(Refused, match=r"trajectories '.*' are given and perturbation.sampled is 0; expected a share"):
        train(plain, data, small_base, tmp_path / "plain", trajectories=sampled)


def test_a_finished_training_only_writes_its_stage_again(data: Path, small_base: Path, tiny_experiment, tmp_path: Path):
    asked = tiny_experiment("video", optimiser={"steps": 1}, log={"windows": 1})
    first = train(asked, data, small_base, tmp_path)
    told = json.loads((first / "config.json").read_text())
    again = train(asked, data, small_base, tmp_path)
    assert json.loads((again / "config.json").read_text()) == told
    assert len((tmp_path / "video" / "log.jsonl").read_text().splitlines()) == 1


def test_a_validation_dataset_leaves_all_others_to_learn_from(
    data: Path, small_base: Path, tiny_experiment, tmp_path: Path
):
    other = write_tiny_dataset(tmp_path / "other", 2, (16, 24), 4)
    asked = tiny_experiment("video", optimiser={"steps": 1})
    lines = []
    for validation in (None, other):
        folder = tmp_path / str(validation is None)
        train(asked, data, small_base, folder, validation=validation)
        lines.append(json.loads((folder / "video" / "log.jsonl").read_text())["validation"])
    assert lines[0] != lines[1]


def test_a_share_of_the_episodes_spread_evenly_is_held_out(small):
    latents = replace(small.latents, episodes=tuple(small.latents.episodes[index % 5] for index in range(40)))
    numbered = replace(
        latents, episodes=tuple(replace(one, index=number) for number, one in enumerate(latents.episodes))
    )
    learned, held_out = hold_out(numbered, 0.1)
    assert [one.index for one in held_out.episodes] == [5, 15, 25, 35]
    assert len(learned.episodes) == 36
    assert not {one.index for one in learned.episodes} & {one.index for one in held_out.episodes}
    few = replace(numbered, episodes=numbered.episodes[:2])
    assert [len(part.episodes) for part in hold_out(few, 0.9)] == [1, 1]
    assert [len(part.episodes) for part in hold_out(few, 0.01)] == [1, 1]
    with pytest.raises(Refused, match="has 1 episode; expected 2"):
        hold_out(replace(few, episodes=few.episodes[:1]), 0.1)


def test_a_checkpoint_that_the_stage_does_not_fit_into_is_refused_before_training(
    data: Path, small_base: Path, full_base: Path, tiny_experiment, tmp_path: Path
):
    asked = tiny_experiment("video", optimiser={"steps": 1}, log={"windows": 1})
    out = train(asked, data, small_base, tmp_path)
    other = tiny_experiment("video", data={"size": (24, 24)})
    with pytest.raises(Refused, match=r"out makes 4 frames of \(16, 24\) and the experiment 4 of \(24, 24\)"):
        train(other, data, small_base, tmp_path)
    with pytest.raises(Refused, match="out has another autoencoder than base"):
        train(asked, data, full_base, tmp_path)
    assert set(checkpoints.read_config(out).stages) == {"video"}


def test_a_training_that_fails_leaves_a_checkpoint_that_the_next_one_makes_its_own(
    data: Path, small_base: Path, full_base: Path, tiny_experiment, tmp_path: Path
):
    few = {"optimiser": {"steps": 1}, "log": {"windows": 1}}
    lost = tiny_experiment("trajectory", data={"size": (24, 24), "windows": Windows(frames=99)})
    with pytest.raises(Refused, match="99"):
        train(lost, data, small_base, tmp_path)
    left = checkpoints.read_config(tmp_path / "out")
    assert (left.stages, left.frames, left.size) == ({}, 99, (24, 24))
    out = train(tiny_experiment("video", **few), data, small_base, tmp_path)
    made = checkpoints.read_config(out)
    assert (set(made.stages), made.frames, made.size) == ({"video"}, 4, (16, 24))
    # Without stages too, a checkpoint with parts of its own is somebody's work.
    own = tmp_path / "own" / "out"
    checkpoints.derive(own, full_base, CheckpointConfig("out", 4, (16, 24), 10.0, {}))
    with pytest.raises(Refused, match="own/out has another autoencoder than base"):
        train(tiny_experiment("video", **few), data, small_base, own.parent)


def test_a_checkpoint_that_cannot_be_made_is_refused_before_the_training(
    data: Path, small_base: Path, tiny_experiment, tmp_path: Path
):
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(Refused, match="out"):
        train(tiny_experiment("video"), data, small_base, tmp_path)
    assert not (tmp_path / "video").exists()


def test_a_training_is_resumed_with_what_it_began_with(data: Path, small_base: Path, tiny_experiment, tmp_path: Path):
    base = tmp_path / "base"
    shutil.copytree(small_base, base)
    config = json.loads((base / "config.json").read_text())
    asked = tiny_experiment("video", optimiser={"steps": 1}, log={"windows": 1})
    train(asked, data, base, tmp_path)
    # Another stage of the base is not what it began with.
    config["stages"]["trajectory"]["conditions"] = ["mask"]
    (base / "config.json").write_text(json.dumps(config))
    train(asked, data, base, tmp_path)
    other = write_tiny_dataset(tmp_path / "other", 5, (16, 24), 4)
    with pytest.raises(Refused, match=r"step-00000001 was trained with dataset '.*', not '.*'; expected the same"):
        train(asked, other, base, tmp_path)
    further = tiny_experiment(
        "video", network=None, schedule=None, sampling=None, optimiser={"steps": 1}, log={"windows": 1}
    )
    train(further, data, base, tmp_path / "further")
    config["stages"]["video"]["schedule"]["steps"] = 999
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(Refused, match=r"step-00000001 was trained with base '.*', not '.*'; expected the same, or"):
        train(further, data, base, tmp_path / "further")
