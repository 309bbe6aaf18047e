"""The parts of a checkpoint: one network a folder, its config.json beside its weights as safetensors.

The layout is that of the class's own library, so diffusers and transformers read the folders too:
`diffusion_pytorch_model*.safetensors` or `model*.safetensors`, with an index where there are
several shards. Weights pass through memory one shard at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from huggingface_hub import snapshot_download, split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mask2iv_ros.errors import Refused

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SHARD_BYTES = 10**9
TRANSFORMERS_WEIGHTS_NAME = "model.safetensors"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def find(name: str | Path) -> Path:
    """Return the folder of a checkpoint.

    Args:
        name: a path, the name of a checkpoint that the package carries, or an id of the hub
            ("owner/name"), which is downloaded once and then read from the hub's cache.

    Raises:
        Refused: none of these exists, or the hub cannot be reached.
    """
    shipped = Path(str(files("mask2iv_ros") / "weights"))
    for folder in (Path(name), shipped / str(name)):
        try:
            if (folder / "config.json").is_file():
                return folder
        except OSError as error:
            raise Refused(f"checkpoint {str(name)!r} cannot be looked up ({error.strerror})") from error
    if HUB_ID.fullmatch(str(name)) and not Path(name).exists():
        return _download(str(name))
    carried = sorted(path.parent.name for path in shipped.glob("*/config.json"))
    raise Refused(
        f"checkpoint {str(name)!r} has no config.json; expected a folder made by mask2iv train or convert, "
        f"an id of the hub, or one of the package's own: {', '.join(carried) or 'none'}"
    )


def dtype_named(name: str) -> torch.dtype:
    """Return the dtype of a name: fp32, fp16 or bf16.

    Raises:
        Refused: it is another name.
    """
    if name not in DTYPES:
        raise Refused(f"dtype is {name!r}; accepted are {', '.join(DTYPES)}")
    return DTYPES[name]


def save_part(
    model: ModelMixin | PreTrainedModel,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    shard_bytes: int = SHARD_BYTES,
    read: Callable[[Sequence[str]], Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a network's config and weights; earlier weights in the folder are replaced.

    Args:
        model: the network; it keeps its own precision.
        folder: is made where it does not exist.
        dtype: of the floating-point weights in the files.
        shard_bytes: the largest a file may be, unless one tensor alone is larger.
        read: gives the tensors of the names asked for, where the model is on the meta device and
            has only their shapes.

    Raises:
        Refused: a weight is not finite in this dtype.
    """
    if shard_bytes < 1:
        raise Refused(f"shard size is {shard_bytes} bytes; expected at least 1")
    weights = _weights_name(type(model))
    state = model.state_dict()
    read = read or (lambda names: {name: state[name] for name in names})
    folder.mkdir(parents=True, exist_ok=True)
    for stale in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        stale.unlink()
    if not isinstance(model, ModelMixin):
        model.config.save_pretrained(folder)
    else:
        model.save_config(folder)
    # Planned on the meta device: nothing is copied before its shard's turn.
    shapes = {
        name: torch.empty_like(tensor, dtype=_stored(tensor, dtype), device="meta") for name, tensor in state.items()
    }
    plan = split_torch_state_dict_into_shards(
        shapes, filename_pattern=weights.replace(".safetensors", "{suffix}.safetensors"), max_shard_size=shard_bytes
    )
    for file, names in plan.filename_to_tensors.items():
        # Nothing here keeps hold of what was read while the file is written.
        save_file(
            {name: _to_file(f"{name} of {folder.name}", tensor, dtype) for name, tensor in read(names).items()},
            folder / file,
            metadata={"format": "pt"},
        )
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / f"{weights}.index.json").write_text(json.dumps(index, indent=1) + "\n")


def load_part[Part: nn.Module](kind: type[Part], folder: Path, dtype: torch.dtype = torch.float32) -> Part:
    """Load one network on the CPU, in evaluation mode; beside it, memory holds one shard at most.

    Args:
        kind: a diffusers or transformers model class.
        folder: with config.json and the weights.
        dtype: of the floating-point weights in memory.

    Raises:
        Refused: config.json and weights are not those of this kind of network, torn or not finite;
            keys that are missing, surplus or of another shape are listed.
    """
    try:
        model = build_empty(kind, json.loads((folder / "config.json").read_text()))
        shards = _weight_files(kind, folder)
        found = {}
        for file in shards:
            with safe_open(file, "pt") as shard:
                found |= {name: tuple(shard.get_slice(name).get_shape()) for name in shard.keys()}  # noqa: SIM118
        wrong = differences({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, found, 20)
        if wrong:
            raise Refused(f"{folder} does not hold the weights of its own config.json: {wrong}")
        for file in shards:
            _assign(model, file, dtype)
    except Refused as refusal:
        raise refusal if str(folder) in str(refusal) else Refused(f"{folder} cannot be loaded: {refusal}") from None
    except Exception as error:
        # A torn or foreign folder raises many kinds; all mean the same to a user.
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise Refused(f"{folder} cannot be loaded as a {kind.__name__} ({why})") from error
    return model.eval()


def build_empty[Part: nn.Module](kind: type[Part], config: Mapping[str, object]) -> Part:
    """Return a network of a configuration with its parameters on the meta device: it costs no memory.

    Raises:
        Refused: the configuration names another class.
    """
    named = config.get("_class_name", kind.__name__)
    if named != kind.__name__:
        raise Refused(f"the configuration is that of a {named}; expected that of a {kind.__name__}")
    from accelerate import init_empty_weights

    # Buffers are real: those that no file holds (CLIP's position ids) keep what the class computes.
    with init_empty_weights(include_buffers=False):
        if not issubclass(kind, ModelMixin):
            return kind(kind.config_class.from_dict(dict(config)))
        return kind.from_config(dict(config))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint.

    Raises:
        Refused: the folder holds none.
    """
    # Imported here: transformers' models take seconds to import, and a checkpoint without text needs none.
    from transformers import AutoTokenizer

    # Without a vocabulary the class would make up an empty one.
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise Refused(f"{folder} holds no tokenizer; expected tokenizer.json, or vocab.json with merges.txt")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise Refused(f"{folder} cannot be loaded as a tokenizer ({why})") from error


def hash_part(folder: Path) -> str:
    """Return the SHA-256 of all that makes a part: its configuration as well as its weights or vocabulary.

    Raises:
        Refused: the folder holds nothing of the kind, or cannot be read.
    """
    digest = hashlib.sha256()
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors", ".txt"))
    if not paths:
        raise Refused(f"{folder} holds no configuration and no weights; expected a part of the checkpoint")
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise Refused(f"{path} cannot be read ({error.strerror}); expected a part of the checkpoint") from error
    return digest.hexdigest()


def differences(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], limit: int | None = None
) -> str:
    """Return in words which keys are missing, surplus or of another shape, at most `limit` of each; "" if none."""
    shaped = [
        f"{name} is {list(found[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    kinds = {
        "missing": [name for name in expected if name not in found],
        "surplus": [name for name in found if name not in expected],
        "wrongly shaped": shaped,
    }
    return "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:limit])}"
        + (f" and {len(names) - limit} more" if limit is not None and len(names) > limit else "")
        for kind, names in kinds.items()
        if names
    )


def _download(name: str) -> Path:
    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except Exception as error:
        # Offline, unknown, gated and broken downloads raise many kinds; the hub's own words say which.
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise Refused(
            f"checkpoint {name!r} is no folder here and could not be downloaded from the hub ({why}); "
            "expected a folder, or a connection to the hub"
        ) from error
    if not (folder / "config.json").is_file():
        raise Refused(f"{name!r} of the hub has no config.json; expected a checkpoint of mask2iv")
    return folder


def _assign(model: nn.Module, file: Path, dtype: torch.dtype) -> None:
    with safe_open(file, "pt") as shard:
        weights = {}
        for name in shard.keys():  # noqa: SIM118 it is no mapping
            stored = shard.get_tensor(name)
            # Copied, or the weights would stay pages of a file that may be replaced.
            weights[name] = stored.to(_stored(stored, dtype), copy=True)
            if not _is_finite(weights[name]):
                raise Refused(f"{name} in {file.parent} is not finite; expected the weights of a converged training")
    model.load_state_dict(weights, strict=False, assign=True)


def _to_file(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    kept = tensor.detach().to("cpu", _stored(tensor, dtype), copy=True).contiguous()
    if not _is_finite(kept):
        raise Refused(
            f"{name} is not finite in {str(dtype)[6:]}; expected finite weights; bfloat16 holds all that float32 does"
        )
    return kept


def _is_finite(tensor: Tensor) -> bool:
    # The extremes are not finite where any value is not, and ten times quicker found than isfinite().all().
    return tensor.numel() == 0 or all(bound.isfinite() for bound in tensor.aminmax())


def _stored(tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    return dtype if tensor.is_floating_point() else tensor.dtype


def _weights_name(kind: type[nn.Module]) -> str:
    return SAFETENSORS_WEIGHTS_NAME if issubclass(kind, ModelMixin) else TRANSFORMERS_WEIGHTS_NAME


def _weight_files(kind: type[nn.Module], folder: Path) -> list[Path]:
    index = folder / f"{_weights_name(kind)}.index.json"
    if not index.is_file():
        return [folder / _weights_name(kind)]
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    # Weights outside the folder would escape its hash.
    if any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise Refused(f"{index} names files elsewhere ({', '.join(names[:3])}); expected files beside it")
    return [folder / name for name in names]
