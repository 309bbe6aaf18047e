import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.checkpoint import CheckpointConfig, find, load, save
from mask2iv_ros.generator.denoiser import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


def edit(path: Path, **changes: object) -> None:
    about = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (about | changes).items() if value is not ...}))


def edit_weights(folder: Path, part: str, change: Callable[[dict], dict]) -> None:
    """Change weights as somebody would who then writes a matching hash."""
    path = folder / part / WEIGHTS
    weights = change(load_file(path))
    save_file({name: tensor.clone() for name, tensor in weights.items()}, path, metadata={"format": "pt"})
    rewrite_hash(folder, part)


def rewrite_hash(folder: Path, part: str) -> None:
    """A part's hash is that of the hashes of its two files, one after the other."""
    files = [folder / part / "config.json", folder / part / WEIGHTS]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
    hashes = json.loads((folder / "config.json").read_text())["sha256"]
    edit(folder / "config.json", sha256=hashes | {part: digest})


def test_what_is_saved_is_loaded_to_half_precision(tmp_path: Path):
    torch.manual_seed(0)
    autoencoder = PatchAutoencoder(channels=8, width=32)
    scales = {"trajectory": [0.5] * 8, "video": [float(n) for n in range(1, 9)]}
    stages = {
        name: Stage(
            SpaceTimeUNet(channels=8, condition_channels=16, frames=4, widths=(16, 32), depth=1, head_width=16),
            torch.tensor(scale),
        )
        for name, scale in scales.items()
    }
    config = CheckpointConfig("mine", 4, (16, 24), 12.5, ("mask",), 3, scales)
    save(tmp_path / "mine", config, autoencoder, stages)
    loaded = load(tmp_path / "mine", CPU)
    assert loaded.config == config
    assert torch.equal(loaded.video.scale, stages["video"].scale)
    for before, after in (
        (autoencoder, loaded.autoencoder),
        (stages["trajectory"].denoiser, loaded.trajectory.denoiser),
        (stages["video"].denoiser, loaded.video.denoiser),
    ):
        assert not after.training
        assert before.state_dict().keys() == after.state_dict().keys()
        for (name, one), other in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
            assert other.dtype == torch.float32
            assert one.dtype == torch.float32, f"saving changed {name}"
            # Half precision keeps 11 bits, and below 2**-14 steps of 2**-24.
            torch.testing.assert_close(one, other, rtol=2**-11, atol=2**-25)
        assert not any(parameter.requires_grad for parameter in after.parameters())


def test_the_hash_says_which_weights(tiny: Path, copy: Path):
    assert load(tiny, CPU).sha256 == load(copy, CPU).sha256
    edit_weights(copy, "video", lambda weights: weights | {"entry.bias": weights["entry.bias"] + 1})
    assert load(tiny, CPU).sha256 != load(copy, CPU).sha256


@pytest.mark.parametrize("name", ["none-such", "../none", "", "a\0b"])
def test_a_checkpoint_that_is_not_there_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"has no config\.json; expected a folder"):
        find(name)


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(Refused, match="cannot be looked up"):
        find("x" * 300)


@pytest.mark.parametrize("part", ["autoencoder", "trajectory", "video"])
@pytest.mark.parametrize("kept", [0, 100, -1])
def test_torn_weights_are_refused(copy: Path, part: str, kept: int):
    path = copy / part / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match=f"{part} has SHA-256 .* the checkpoint is corrupt"):
        load(copy, CPU)


def test_one_flipped_bit_is_refused(copy: Path):
    path = copy / "video" / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="video has SHA-256"):
        load(copy, CPU)


def test_missing_weights_are_refused(copy: Path):
    (copy / "trajectory" / WEIGHTS).unlink()
    with pytest.raises(Refused, match=f"trajectory/{WEIGHTS} cannot be read"):
        load(copy, CPU)


def test_stages_that_changed_places_are_refused(copy: Path):
    (copy / "video").rename(copy / "other")
    (copy / "trajectory").rename(copy / "video")
    (copy / "other").rename(copy / "trajectory")
    with pytest.raises(Refused, match="trajectory has SHA-256"):
        load(copy, CPU)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"name"', "null", "{}", '{"format": 1}', '{"format": 1, "sha256": []}']
)
def test_a_config_that_is_none_is_refused(copy: Path, text: str):
    (copy / "config.json").write_text(text)
    with pytest.raises(Refused, match=r"copy/config\.json does not describe a checkpoint"):
        load(copy, CPU)


def test_a_config_of_bytes_is_refused(copy: Path):
    (copy / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match=r"config\.json does not describe a checkpoint"):
        load(copy, CPU)


def test_another_format_is_refused(copy: Path):
    edit(copy / "config.json", format=2)
    with pytest.raises(Refused, match=r"copy is a checkpoint of format 2; this version reads format 1"):
        load(copy, CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 1},
        {"frames": 10**9},
        {"frames": "4"},
        {"frames": 4.5},
        {"steps": 0},
        {"steps": None},
        {"size": [32]},
        {"size": [30, 48]},
        {"size": [0, 48]},
        {"size": [32.0, 48.0]},
        {"size": "ab"},
        {"fps": 0},
        {"fps": float("nan")},
        {"fps": "quick"},
        {"conditions": []},
        {"conditions": ["smell"]},
        {"conditions": ["mask", "text"]},
        {"conditions": "mask"},
        {"scales": {"video": [1.0] * 8}},
        {"scales": ["trajectory", "video"]},
        {"scales": {"trajectory": [1.0] * 8, "video": [float("nan")] * 8}},
        {"scales": {"trajectory": [1.0] * 8, "video": [0.0] * 8}},
        {"scales": {"trajectory": [1.0] * 8, "video": "ones"}},
        {"name": ...},
        {"colour": "red"},
    ],
)
def test_an_altered_config_is_refused(copy: Path, change: dict):
    edit(copy / "config.json", **change)
    with pytest.raises(Refused, match=r"copy/config\.json does not describe a checkpoint"):
        load(copy, CPU)


def test_scales_that_do_not_fit_the_weights_are_refused(copy: Path):
    edit(copy / "config.json", scales={"trajectory": [1.0] * 8, "video": [1.0] * 7})
    with pytest.raises(Refused, match="video has 8 channels, 16 of the condition and 7 scales"):
        load(copy, CPU)


def test_more_frames_than_the_weights_know_are_refused(copy: Path):
    edit(copy / "config.json", frames=5)
    with pytest.raises(Refused, match="trajectory knows 4 frames; expected 5"):
        load(copy, CPU)


@pytest.mark.parametrize(
    "change",
    [{"channels": 9}, {"widths": [16, 48]}, {"depth": 2}, {"head_width": 24}, {"head_width": 0}, {"frames": 3}],
)
def test_an_altered_network_is_refused(copy: Path, change: dict):
    edit(copy / "video" / "config.json", **change)
    with pytest.raises(Refused, match="video has SHA-256"):
        load(copy, CPU)
    rewrite_hash(copy, "video")
    with pytest.raises(Refused, match="copy/video cannot be loaded as a SpaceTimeUNet"):
        load(copy, CPU)


def test_a_network_without_a_config_is_refused(copy: Path):
    (copy / "autoencoder" / "config.json").unlink()
    with pytest.raises(Refused, match=r"copy/autoencoder/config\.json cannot be read"):
        load(copy, CPU)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {name: value for name, value in weights.items() if name != "entry.bias"},
        lambda weights: weights | {"stranger": torch.zeros(1)},
        lambda weights: weights | {"entry.bias": torch.zeros(3)},
    ],
)
def test_weights_of_another_network_are_refused(copy: Path, change: Callable[[dict], dict]):
    edit_weights(copy, "video", change)
    with pytest.raises(Refused, match="copy/video cannot be loaded as a SpaceTimeUNet"):
        load(copy, CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(copy: Path, value: float):
    edit_weights(copy, "video", lambda weights: weights | {"entry.bias": torch.full_like(weights["entry.bias"], value)})
    with pytest.raises(Refused, match=r"entry\.bias in .*copy/video is not finite"):
        load(copy, CPU)


def test_an_index_does_not_lead_to_other_weights(tiny: Path, copy: Path):
    other = copy / "elsewhere.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(copy / "video" / WEIGHTS).items()}, other)
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(other), "../elsewhere.safetensors")}
    (copy / "video" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    loaded, true = (load(folder, CPU).video.state_dict() for folder in (copy, tiny))
    assert all(torch.equal(loaded[name], true[name]) for name in true)
