import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModel

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.parts import (
    build_empty,
    differences,
    dtype_named,
    find,
    hash_part,
    load_part,
    load_tokenizer,
    save_part,
)

WEIGHTS = "diffusion_pytorch_model.safetensors"
CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def autoencoder() -> PatchAutoencoder:
    torch.manual_seed(0)
    return PatchAutoencoder(channels=8, width=32)


def text_model() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(vocab_size=50, hidden_act="gelu", bos_token_id=48, eos_token_id=49, **CLIP)
    ).eval()


def vision_model() -> CLIPVisionModel:
    return CLIPVisionModel(CLIPVisionConfig(image_size=28, patch_size=14, **CLIP)).eval()


def edit(folder: Path, change: Callable[[dict], dict]) -> None:
    weights = change(load_file(folder / WEIGHTS))
    save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / WEIGHTS)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    save_part(autoencoder(), tmp_path / "autoencoder", torch.float32)
    return tmp_path / "autoencoder"


@pytest.mark.parametrize("make", [autoencoder, text_model, vision_model])
@pytest.mark.parametrize("shard_bytes", [10**9, 5000])
def test_what_is_saved_is_loaded(make: Callable[[], nn.Module], shard_bytes: int, tmp_path: Path):
    model = make()
    save_part(model, tmp_path / "part", torch.float32, shard_bytes)
    files = list((tmp_path / "part").glob("*.safetensors"))
    assert (len(files) > 1) == (shard_bytes == 5000)
    loaded = load_part(type(model), tmp_path / "part")
    assert not loaded.training
    assert not [name for name, tensor in [*loaded.named_parameters(), *loaded.named_buffers()] if tensor.is_meta]
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(one, loaded.state_dict()[name]) for name, one in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("shard_bytes", [10**9, 5000])
def test_the_libraries_read_the_folders_too(shard_bytes: int, tmp_path: Path):
    for model in (autoencoder(), text_model()):
        save_part(model, tmp_path / "part", torch.float32, shard_bytes)
        theirs = type(model).from_pretrained(tmp_path / "part")
        assert all(torch.equal(one, theirs.state_dict()[name]) for name, one in model.state_dict().items())


def test_clip_computes_the_same_after_loading(tmp_path: Path):
    text, vision = text_model(), vision_model()
    save_part(text, tmp_path / "text", torch.float32)
    save_part(vision, tmp_path / "vision", torch.float32)
    ids, image = torch.tensor([[48, 3, 49, 0]]), torch.rand(1, 3, 28, 28)
    with torch.no_grad():
        after = load_part(CLIPTextModel, tmp_path / "text")(ids).last_hidden_state
        assert torch.equal(after, text(ids).last_hidden_state)
        after = load_part(CLIPVisionModel, tmp_path / "vision")(image).last_hidden_state
        assert torch.equal(after, vision(image).last_hidden_state)


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_precision_of_the_file_and_of_memory_are_chosen_apart(name: str, tmp_path: Path):
    model, precision = autoencoder(), dtype_named(name)
    save_part(model, tmp_path, precision)
    assert {tensor.dtype for tensor in load_file(tmp_path / WEIGHTS).values()} == {precision}
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    loaded = load_part(PatchAutoencoder, tmp_path)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(loaded.analysis.weight, model.analysis.weight.to(precision).float())
    loaded = load_part(PatchAutoencoder, tmp_path, torch.bfloat16)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.bfloat16}


def test_loaded_weights_outlive_their_file(part: Path):
    loaded = load_part(PatchAutoencoder, part)
    before = loaded.analysis.weight.clone()
    size = (part / WEIGHTS).stat().st_size
    with (part / WEIGHTS).open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\0" * (size // 2))
    assert torch.equal(loaded.analysis.weight, before)
    assert loaded.synthesis.weight.abs().sum() > 0


def test_a_second_save_leaves_nothing_of_the_first(tmp_path: Path):
    save_part(autoencoder(), tmp_path, torch.float32, 5000)
    save_part(autoencoder(), tmp_path, torch.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", WEIGHTS]


def test_an_empty_model_is_filled_from_elsewhere(tmp_path: Path):
    model, asked = autoencoder(), []

    def read(names: list[str]) -> dict[str, torch.Tensor]:
        asked.append(names)
        return {name: model.state_dict()[name] for name in names}

    empty = build_empty(PatchAutoencoder, dict(model.config))
    assert all(parameter.is_meta for parameter in empty.parameters())
    save_part(empty, tmp_path, torch.float32, 5000, read)
    assert sorted(name for names in asked for name in names) == sorted(model.state_dict())
    assert len(asked) == len(list(tmp_path.glob("*.safetensors")))
    assert torch.equal(load_part(PatchAutoencoder, tmp_path).analysis.weight, model.analysis.weight)


def test_missing_surplus_and_wrongly_shaped_keys_are_listed(part: Path):
    edit(part, lambda weights: {name: tensor for name, tensor in weights.items() if name != "analysis.bias"})
    edit(part, lambda weights: weights | {"stray": torch.zeros(2), "mean": torch.zeros(9)})
    with pytest.raises(Refused) as refusal:
        load_part(PatchAutoencoder, part)
    message = str(refusal.value)
    assert "1 missing: analysis.bias; 1 surplus: stray; 1 wrongly shaped: mean is [9], not [8]" in message
    assert "\n" not in message


def test_a_config_that_does_not_fit_its_weights_is_refused(part: Path):
    about = json.loads((part / "config.json").read_text())
    (part / "config.json").write_text(json.dumps(about | {"channels": 16}))
    with pytest.raises(Refused, match=r"not hold the weights of its own config.*analysis\.weight is \[8, 192, 1, 1\]"):
        load_part(PatchAutoencoder, part)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, part: Path):
    edit(part, lambda weights: weights | {"synthesis.bias": weights["synthesis.bias"] * value})
    with pytest.raises(Refused, match=r"synthesis\.bias in .* is not finite"):
        load_part(PatchAutoencoder, part)


def test_weights_too_large_for_half_precision_are_refused(tmp_path: Path):
    model = autoencoder()
    nn.init.constant_(model.analysis.bias, 1e5)
    with pytest.raises(Refused, match=r"analysis\.bias of \S+ is not finite in float16"):
        save_part(model, tmp_path, torch.float16)
    save_part(model, tmp_path, torch.bfloat16)


def damage_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-10])


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2")


def swap_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def remove_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def put_pickle(folder: Path) -> None:
    torch.save({"a": torch.zeros(2)}, folder / WEIGHTS)


def name_weights_elsewhere(folder: Path) -> None:
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"mean": "../other.safetensors"}}))


@pytest.mark.parametrize(
    "damage", [damage_weights, damage_config, swap_config, remove_weights, put_pickle, name_weights_elsewhere]
)
def test_torn_and_foreign_folders_are_refused_in_one_sentence(damage: Callable[[Path], None], part: Path):
    damage(part)
    with pytest.raises(Refused) as refusal:
        load_part(PatchAutoencoder, part)
    assert str(part) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_another_network_is_refused(part: Path):
    with pytest.raises(Refused, match="that of a PatchAutoencoder; expected that of a CLIPTextModel"):
        load_part(CLIPTextModel, part)
    about = json.loads((part / "config.json").read_text())
    (part / "config.json").write_text(json.dumps(about | {"_class_name": "AutoencoderKL"}))
    with pytest.raises(Refused, match=r"that of a AutoencoderKL; expected that of a PatchAutoencoder"):
        load_part(PatchAutoencoder, part)
    save_part(text_model(), part / "text")
    with pytest.raises(Refused, match="cannot be loaded as a PatchAutoencoder"):
        load_part(PatchAutoencoder, part / "text")


@pytest.mark.parametrize("name", ["float16", "", "FP16"])
def test_unknown_precisions_are_refused(name: str):
    with pytest.raises(Refused, match=re.escape(f"dtype is {name!r}; accepted are fp32, fp16, bf16")):
        dtype_named(name)


def test_shards_of_no_size_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match="shard size is 0 bytes"):
        save_part(autoencoder(), tmp_path, shard_bytes=0)


def test_the_hash_says_which_weights_and_which_config(part: Path):
    before = hash_part(part)
    (part / "notes.md").write_text("no part of the network")
    assert hash_part(part) == before
    edit(part, lambda weights: weights | {"mean": weights["mean"] + 1})
    after = hash_part(part)
    assert after != before
    (part / "config.json").write_text((part / "config.json").read_text() + " ")
    assert hash_part(part) not in (before, after)


def test_the_hash_of_nothing_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match="holds no configuration"):
        hash_part(tmp_path / "none")


def test_a_tokenizer_is_loaded(tmp_path: Path):
    vocabulary = {token: index for index, token in enumerate(["a", "b", "b</w>", "ab</w>", "<s>", "</s>", "!"])}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary, merges=[("a", "b</w>")], bos_token="<s>", eos_token="</s>", unk_token="</s>", pad_token="!"
    )
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)(["ab"]).input_ids == [[4, 3, 5]]
    assert hash_part(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(Refused, match="cannot be loaded as a tokenizer"):
        load_tokenizer(tmp_path)


def test_differences_are_counted_beyond_a_limit():
    expected = {"a": (1,), "b": (2,), "c": (3,)}
    assert differences(expected, expected) == ""
    assert differences(expected, {"a": (1, 1)}, 1) == "2 missing: b and 1 more; 1 wrongly shaped: a is [1, 1], not [1]"
    assert differences(expected, {}) == "3 missing: a, b, c"


def test_checkpoints_are_found_by_path_and_by_name(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert find(tmp_path) == tmp_path
    assert find("default").name == "default"


@pytest.mark.parametrize("name", ["none-such", "../none", "/none/such", "", "a\0b"])
def test_a_checkpoint_that_is_not_there_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"has no config\.json; expected a folder"):
        find(name)


def test_a_name_too_long_for_a_path_is_refused():
    with pytest.raises(Refused, match="cannot be looked up"):
        find("n" * 300)


def test_the_hub_is_asked_and_offline_says_so(tmp_path: Path):
    """In a process of its own, as the hub's settings are read once; its cache holds one checkpoint."""
    repository = tmp_path / "models--someone--robot"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    code = (
        "from mask2iv_ros.generator.parts import find\n"
        "print(find('someone/robot'))\n"
        "try:\n    find('someone/else')\n"
        "except ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert answer[0] == str(snapshot)
    assert answer[1].startswith("Refused checkpoint 'someone/else' is no folder here and could not be downloaded")
    assert len(answer) == 2
