import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.source import Source

WEIGHTS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(2),
    "betas": torch.ones(3, dtype=torch.half),
}


def wrapped(weights: dict) -> dict:
    return {"module": {f"_forward_module.{name}": tensor for name, tensor in weights.items()}, "dp_world_size": 8}


WRITERS = {
    "plain.pt": torch.save,
    "lightning.ckpt": lambda weights, path: torch.save({"state_dict": weights, "epoch": 3}, path),
    "deepspeed.pt": lambda weights, path: torch.save(wrapped(weights), path),
    "weights.safetensors": save_file,
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_kinds_of_files_read_alike(name: str, tmp_path: Path):
    WRITERS[name](WEIGHTS, tmp_path / name)
    source = Source(tmp_path / name)
    assert source.shapes == {"a.weight": (2, 3), "b": (), "betas": (3,)}
    assert source.numbers == {"a.weight", "betas"}
    read = source.read(["b", "a.weight"])
    assert list(read) == ["b", "a.weight"]
    assert torch.equal(read["a.weight"], WEIGHTS["a.weight"])
    assert source.read([]) == {}


def test_the_released_256_file_names_one_layer_otherwise(tmp_path: Path):
    save_file({"framestride_embed.0.bias": torch.ones(2)}, tmp_path / "old.safetensors")
    source = Source(tmp_path / "old.safetensors")
    assert source.shapes == {"fps_embedding.0.bias": (2,)}
    assert torch.equal(source.read(["fps_embedding.0.bias"])["fps_embedding.0.bias"], torch.ones(2))
    both = {"framestride_embed.0.bias": torch.ones(2), "fps_embedding.0.bias": torch.ones(2)}
    save_file(both, tmp_path / "both.safetensors")
    with pytest.raises(Refused, match="has tensors twice, once under an old name"):
        Source(tmp_path / "both.safetensors")


class Dangerous:
    """What a pickle can do to its reader."""

    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "callback": Dangerous()}, tmp_path / "evil.ckpt")
    with pytest.raises(
        Refused, match=r"evil\.ckpt would run code \((posix|nt)\.mkdir\), which is never done"
    ) as refusal:
        Source(tmp_path / "evil.ckpt")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "made_by_a_pickle").exists()


def torn_zip(path: Path) -> None:
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-100])


def torn_safetensors(path: Path) -> None:
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-1])


def other_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(WEIGHTS))


def folder(path: Path) -> None:
    path.mkdir()


DAMAGE = {
    "torn.ckpt": torn_zip,
    "torn.safetensors": torn_safetensors,
    "empty.ckpt": Path.touch,
    "empty.safetensors": Path.touch,
    "text.ckpt": lambda path: path.write_text("no weights here, only words\n" * 20),
    "text.safetensors": lambda path: path.write_text("no weights here, only words\n" * 20),
    "other.pt": other_pickle,
    "old.pt": lambda path: torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False),
    "list.pt": lambda path: torch.save([torch.ones(2)], path),
    "tensor.pt": lambda path: torch.save(torch.ones(2), path),
    "numbers.pt": lambda path: torch.save({1: torch.ones(2)}, path),
    "nested.pt": lambda path: torch.save({"model": WEIGHTS}, path),
    "nothing.pt": lambda path: torch.save({}, path),
    "prefixes.pt": lambda path: torch.save({"module": {"one prefix of all.a": 1, "another prefix.b": 2}}, path),
    "folder.ckpt": folder,
    "none.ckpt": lambda path: None,
    "none.safetensors": lambda path: None,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_torn_and_foreign_files_are_refused_in_one_sentence(name: str, tmp_path: Path):
    damage: Callable[[Path], object] = DAMAGE[name]
    damage(tmp_path / name)
    with pytest.raises(Refused) as refusal:
        Source(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500
