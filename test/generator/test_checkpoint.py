import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.checkpoint import (
    CheckpointConfig,
    StageConfig,
    add_stage,
    derive,
    load,
    read_config,
)
from mask2iv_ros.generator.parts import hash_part
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.generator.tiny import SMALL_SCHEDULE, write_tiny_checkpoint

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    about = json.loads((folder / "config.json").read_text())
    change(about)
    (folder / "config.json").write_text(json.dumps(about))


def rewrite_hash(folder: Path, part: str) -> None:
    """Do as somebody who changes a part and makes the hash fit."""
    edit(folder, lambda about: about["parts"][part].update(sha256=hash_part(folder / part)))


def edit_weights(folder: Path, part: str, change: Callable[[dict], dict]) -> None:
    path = folder / part / WEIGHTS
    weights = change(load_file(path))
    save_file({name: tensor.clone() for name, tensor in weights.items()}, path, metadata={"format": "pt"})
    rewrite_hash(folder, part)


def small_stage(seed: int = 5, in_channels: int = 24, **changes: object) -> tuple[Stage, StageConfig]:
    torch.manual_seed(seed)
    settings = {"frames": 4, "widths": (16, 32), "depth": 1, "head_width": 16} | changes
    scale = torch.linspace(0.5, 2, 8)
    told = StageConfig(SMALL_SCHEDULE, Sampling(steps=3, eta=0.0, guidance=1.0), scale=tuple(scale.tolist()))
    return Stage(SpaceTimeUNet(in_channels, 8, **settings), SMALL_SCHEDULE, scale=scale), told


def test_a_stage_is_loaded_as_it_was_added_to_half_precision(copy: Path):
    stage, told = small_stage()
    add_stage(copy, "video", stage, told, torch.float16)
    loaded = load(copy, CPU)
    assert loaded.config.stages["video"] == told
    after = loaded.stages["video"]
    assert torch.equal(after.scale, stage.scale)
    assert not after.training
    assert not any(parameter.requires_grad for parameter in after.parameters())
    for (name, one), other in zip(stage.state_dict().items(), after.state_dict().values(), strict=True):
        assert other.dtype == one.dtype == torch.float32, name
        # Half precision keeps 11 bits, and below 2**-14 steps of 2**-24.
        torch.testing.assert_close(one, other, rtol=2**-11, atol=2**-25)


def test_adding_a_stage_leaves_the_others_as_they_were(tiny: Path, copy: Path):
    add_stage(copy, "video", *small_stage(), torch.float16)
    before, after = (load(folder, CPU).stages["trajectory"].state_dict() for folder in (tiny, copy))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in copy.parent.iterdir()) == [".copy.lock", "copy"]


def test_stages_added_at_the_same_time_are_both_there(tmp_path: Path):
    base = write_tiny_checkpoint(tmp_path / "base")
    derive(tmp_path / "own", base, CheckpointConfig("own", 4, (32, 48), 8.0, {}))
    stage, told = small_stage()
    both = {"trajectory": replace(told, conditions=("mask",)), "video": told}
    with ThreadPoolExecutor() as pool:
        for done in [
            pool.submit(add_stage, tmp_path / "own", name, stage, one, torch.float16) for name, one in both.items()
        ]:
            done.result()
    assert load(tmp_path / "own", CPU).config.stages == both


def test_a_derived_checkpoint_has_the_encoders_and_no_stage(tmp_path: Path):
    base = write_tiny_checkpoint(tmp_path / "base", conditions=("mask", "text"))
    derive(tmp_path / "own", base, CheckpointConfig("own", 4, (32, 48), 8.0, {}))
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == [
        "autoencoder",
        "config.json",
        "text_encoder",
        "tokenizer",
    ]
    with pytest.raises(Refused, match="has no stage 'trajectory' but none; train it"):
        load(tmp_path / "own", CPU)
    loaded, source = load(tmp_path / "own", CPU, stages=()), load(base, CPU)
    texts = ["push the puck"]
    assert torch.equal(loaded.text_encoder.encode(texts), source.text_encoder.encode(texts))
    add_stage(tmp_path / "own", "video", *small_stage(), torch.float32)
    assert set(read_config(tmp_path / "own").stages) == {"video"}
    assert load(tmp_path / "own", CPU, stages=["video"]).config.name == "own"


def test_a_checkpoint_that_is_there_may_be_kept(copy: Path, tiny: Path):
    derive(copy, tiny, CheckpointConfig("other", 4, (32, 48), 8.0, {}), keep=True)
    assert read_config(copy) == read_config(tiny)


def test_encoders_are_shared_out_of_a_cache_of_symbolic_links(tiny: Path, tmp_path: Path):
    cache = tmp_path / "snapshots"
    for path in tiny.rglob("*"):
        if path.is_file():
            link = cache / path.relative_to(tiny)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(path, link.parent))
    derive(tmp_path / "own", cache, CheckpointConfig("own", 4, (32, 48), 8.0, {}))
    add_stage(tmp_path / "own", "video", *small_stage(), torch.float32)
    assert load(tmp_path / "own", CPU, stages=["video"]).config.name == "own"


def test_precision_is_chosen_on_loading(tiny: Path):
    loaded = load(tiny, CPU, torch.bfloat16)
    dtypes = {parameter.dtype for parameter in loaded.stages["video"].parameters()}
    assert dtypes == {torch.bfloat16}
    assert loaded.stages["video"].scale.dtype == torch.float32


def test_the_hash_says_which_weights(tiny: Path, copy: Path):
    assert load(tiny, CPU).sha256 == load(copy, CPU).sha256
    edit_weights(copy, "video", lambda weights: weights | {"entry.bias": weights["entry.bias"] + 1})
    assert load(tiny, CPU).sha256 != load(copy, CPU).sha256


@pytest.mark.parametrize("part", ["autoencoder", "trajectory", "video"])
@pytest.mark.parametrize("kept", [0, -1])
def test_torn_weights_are_refused(copy: Path, part: str, kept: int):
    path = copy / part / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match=rf"{part} has SHA-256 .* the checkpoint is corrupt"):
        load(copy, CPU)


def test_stages_that_changed_places_are_refused(copy: Path):
    (copy / "video").rename(copy / "other")
    (copy / "trajectory").rename(copy / "video")
    (copy / "other").rename(copy / "trajectory")
    with pytest.raises(Refused, match="trajectory has SHA-256"):
        load(copy, CPU)


@pytest.mark.parametrize("text", ["", "{", "[]", '"name"', "null", "{}", '{"format": 2}', '{"format": 2, "parts": []}'])
def test_a_config_that_is_none_is_refused(copy: Path, text: str):
    (copy / "config.json").write_text(text)
    with pytest.raises(Refused, match=r"copy/config\.json does not describe a checkpoint"):
        load(copy, CPU)


def test_a_config_of_bytes_is_refused(copy: Path):
    (copy / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match=r"config\.json does not describe a checkpoint"):
        load(copy, CPU)


def test_another_format_is_refused(copy: Path):
    edit(copy, lambda about: about.update(format=1))
    with pytest.raises(Refused, match=r"^\S*copy is a checkpoint of format 1; this version reads format 2$"):
        load(copy, CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 1},
        {"frames": "4"},
        {"frames": 4.5},
        {"size": [32]},
        {"size": [30, 48]},
        {"size": [0, 48]},
        {"size": [32.0, 48.0]},
        {"size": "ab"},
        {"fps": 0},
        {"fps": float("nan")},
        {"fps": "quick"},
        {"stages": {"dream": None}},
    ],
)
def test_an_altered_config_is_refused(copy: Path, change: dict):
    edit(copy, lambda about: about.update(change))
    with pytest.raises(Refused):
        load(copy, CPU)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"conditions": []}, "takes no condition"),
        ({"conditions": ["smell"]}, "accepted are mask, text"),
        ({"scale": [0.0] * 8}, "expected positive numbers"),
        ({"scale": [float("nan")] * 8}, "expected positive numbers"),
        ({"scale": [1.0] * 7}, "has 7 scales; expected 24, 8 and 8"),
        ({"schedule": {"prediction": "fate"}}, "accepted are v, epsilon, sample"),
        ({"schedule": {"betas": 3}}, "does not describe a checkpoint"),
        ({"sampling": {"steps": 0}}, r"^\S*config\.json cannot be used: steps is 0"),
    ],
)
def test_an_altered_stage_is_refused(copy: Path, change: dict, why: str):
    edit(copy, lambda about: about["stages"]["trajectory"].update(change))
    with pytest.raises(Refused, match=why):
        load(copy, CPU)


def test_more_frames_than_the_weights_know_are_refused(copy: Path):
    edit(copy, lambda about: about.update(frames=5))
    with pytest.raises(Refused, match="trajectory knows 4 frames; expected 5"):
        load(copy, CPU)


def test_an_autoencoder_of_other_channels_is_refused(copy: Path):
    _, told = small_stage()
    wide = Stage(SpaceTimeUNet(48, 16, frames=4, widths=(16, 32), depth=1, head_width=16), SMALL_SCHEDULE)
    add_stage(copy, "video", wide, replace(told, scale=None), torch.float16)
    with pytest.raises(Refused, match="takes 48 channels, gives 16 and has 8 scales; expected 24, 8 and 8"):
        load(copy, CPU)


@pytest.mark.parametrize("change", [{"in_channels": 25}, {"widths": [16, 48]}, {"depth": 2}, {"head_width": 0}])
def test_an_altered_network_is_refused(copy: Path, change: dict):
    path = copy / "video" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Refused, match="video has SHA-256"):
        load(copy, CPU)
    rewrite_hash(copy, "video")
    with pytest.raises(Refused, match="copy/video"):
        load(copy, CPU)


def test_a_part_of_an_unknown_class_is_refused(copy: Path):
    edit(copy, lambda about: about["parts"]["video"].update({"class": "Oracle"}))
    with pytest.raises(Refused, match=r"video is a 'Oracle'; accepted are .*SpaceTimeUNet"):
        load(copy, CPU)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "tiny", conditions=("text",))
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    rewrite_hash(folder, "tokenizer")
    with pytest.raises(Refused, match="tokenizer cannot be loaded as a tokenizer"):
        load(folder, CPU)


def test_a_schedule_and_a_sampling_come_back(copy: Path):
    stage, told = small_stage()
    told = replace(told, schedule=NoiseSchedule("v", rescale=0.3), sampling=Sampling("unipc", steps=7, guidance=2.5))
    add_stage(copy, "video", stage, told, torch.float16)
    assert read_config(copy).stages["video"] == told


def test_a_stage_says_which_masks_it_is_told(copy: Path):
    assert read_config(copy).stages["video"].masks == "both"
    stage, told = small_stage()
    add_stage(copy, "video", stage, replace(told, masks="interactor"), torch.float16)
    assert read_config(copy).stages["video"].masks == "interactor"
    edit(copy, lambda about: about["stages"]["video"].pop("masks"))
    assert read_config(copy).stages["video"].masks == "both"
    edit(copy, lambda about: about["stages"]["video"].update(masks="goal"))
    with pytest.raises(Refused, match="masks is 'goal'; accepted are none, interactor, both"):
        read_config(copy)


def test_a_stage_says_where_its_change_begins(copy: Path):
    stage, told = small_stage(in_channels=32)
    add_stage(copy, "video", stage, replace(told, origin="pasted"), torch.float16)
    assert load(copy, CPU).config.stages["video"].origin == "pasted"
    edit(copy, lambda about: about["stages"]["video"].pop("origin"))
    with pytest.raises(Refused, match="takes 32 channels, gives 8 and has 8 scales; expected 24"):
        load(copy, CPU)
    for change, words in (
        ({"origin": "last"}, "origin is 'last'; accepted are first, pasted"),
        ({"origin": "pasted", "scale": None}, "origin is 'pasted'; expected it of a stage 2"),
        ({"origin": "pasted", "masks": "none"}, "origin is 'pasted'; expected it of a stage 2"),
    ):
        edit(copy, lambda about, change=change: about["stages"]["video"].update({"masks": "both"} | change))
        with pytest.raises(Refused, match=words):
            read_config(copy)


def test_code_beside_a_tokenizer_does_not_run(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "tiny", conditions=("text",))
    path = folder / "tokenizer" / "tokenizer_config.json"
    about = json.loads(path.read_text())
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    path.write_text(json.dumps(about | own))
    (folder / "tokenizer" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    rewrite_hash(folder, "tokenizer")
    with pytest.raises(Refused, match="tokenizer cannot be loaded as a tokenizer"):
        load(folder, CPU)
    assert not (tmp_path / "ran").exists()
