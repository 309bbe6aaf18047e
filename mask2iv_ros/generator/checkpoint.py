"""Checkpoints: a folder with config.json and one folder a part, weights as safetensors.

```
config.json                   what it makes, how every stage samples, class and SHA-256 of every part
autoencoder/                  shared by the stages
text_encoder/ tokenizer/      for text-conditioned stages
image_encoder/                for stages that look at tokens of the first frame
trajectory/ video/            the denoisers of stage 1 and stage 2
trajectory_projector/ ...     what turns the image encoder's tokens into the denoiser's
segmenter/                    finds arm and object again in imagined videos; without it they have no such score
```

A folder grows: a converted base model has the stage "base" alone, and the training of each stage
adds that stage. Imagining takes both "trajectory" and "video".
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.exchange import clone, publish
from mask2iv_ros.generator.autoencoder import Autoencoder
from mask2iv_ros.generator.checkpoint_config import CheckpointConfig, StageConfig, parse
from mask2iv_ros.generator.parts import find, hash_part, load_part, load_tokenizer, save_part
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.scoring.verdict import Thresholds

if TYPE_CHECKING:
    from diffusers import ModelMixin
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mask2iv_ros.generator.dynamicrafter.image import ClipImageEncoder
    from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder
    from mask2iv_ros.scoring.segmenter import Segmenter

    Part = ModelMixin | PreTrainedModel | PreTrainedTokenizerBase

FORMAT = 2
SHARED = ("autoencoder", "text_encoder", "tokenizer", "image_encoder")
_GENERATOR = "mask2iv_ros.generator"
# By name, and imported when a checkpoint has one: the full-size model's classes take seconds to
# import, which the small default need not wait for.
CLASSES = {
    "PatchAutoencoder": f"{_GENERATOR}.autoencoder",
    "KLAutoencoder": f"{_GENERATOR}.dynamicrafter.autoencoder",
    "SpaceTimeUNet": f"{_GENERATOR}.space_time",
    "ControlledUNet": f"{_GENERATOR}.control_branch",
    "Segmenter": "mask2iv_ros.scoring.segmenter",
    "DynamiCrafterUNet": f"{_GENERATOR}.dynamicrafter.unet",
    "Resampler": f"{_GENERATOR}.dynamicrafter.resampler",
    "CLIPTextModel": "transformers",
    "CLIPVisionModel": "transformers",
}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        config: what it makes.
        sha256: of its configuration and all its parts.
        autoencoder: shared by the stages.
        text_encoder: for stages that take text.
        image_encoder: for stages that take tokens of the first frame.
        stages: those that were asked for.
        segmenter: finds arm and object again in videos; loaded beside the stage "video" where there is one.
    """

    config: CheckpointConfig
    sha256: str
    autoencoder: Autoencoder
    text_encoder: ClipTextEncoder | None
    image_encoder: ClipImageEncoder | None
    stages: dict[str, Stage]
    segmenter: Segmenter | None = None


def create(folder: Path, config: CheckpointConfig, parts: Mapping[str, Part], dtype: torch.dtype) -> None:
    """Write a checkpoint without stages, in place of one that may be there.

    Args:
        folder: of the checkpoint.
        config: its `stages` empty.
        parts: some of `SHARED`.
        dtype: of the weights.
    """
    with _alone(folder) as work:
        work.mkdir()
        about = _describe(config) | {"parts": {name: _write(work / name, part, dtype) for name, part in parts.items()}}
        _finish(work, folder, about)


def derive(folder: Path, base: str | Path, config: CheckpointConfig, keep: bool = False) -> None:
    """Write a checkpoint without stages that shares autoencoder and encoders with another, by hard links.

    Args:
        folder: of the checkpoint.
        base: folder, name or hub id of the other.
        config: its `stages` empty.
        keep: leave a checkpoint as it is that is there already.
    """
    source = find(base)
    about = _read_config(source)
    parts = {name: part for name, part in about["parts"].items() if name in SHARED}
    with _alone(folder) as work:
        if keep and (folder / "config.json").exists():
            return
        work.mkdir()
        for name in parts:
            clone(source / name, work / name, lambda _: False)
        _finish(work, folder, _describe(config) | {"parts": parts})


def add_stage(folder: Path, name: str, stage: Stage, config: StageConfig, dtype: torch.dtype) -> None:
    """Add a stage to a checkpoint, or replace it; what is killed on the way leaves the checkpoint as it was.

    Two stages that are trained side by side may be added at the same time: one waits for the other.
    Thresholds that were calibrated for another stage go.
    """
    with _successor(folder) as (work, about):
        about["stages"][name] = asdict(config)
        about["thresholds"] = None
        _replace(work, about, name, stage.denoiser, dtype)
        _replace(work, about, f"{name}_projector", stage.projector, dtype)


def add_segmenter(folder: Path, segmenter: Segmenter, dtype: torch.dtype) -> None:
    """Add a segmenter to a checkpoint, or replace it, as a stage is added."""
    with _successor(folder) as (work, about):
        about["thresholds"] = None
        _replace(work, about, "segmenter", segmenter, dtype)


def set_thresholds(folder: Path, thresholds: Thresholds, sha256: str) -> None:
    """Write what a good rollout of this checkpoint is; what is killed on the way leaves the checkpoint as it was.

    Args:
        folder: of the checkpoint.
        thresholds: see `Thresholds`.
        sha256: of the checkpoint that they were calibrated for.

    Raises:
        Refused: it has changed since.
    """
    with _successor(folder) as (_, about):
        if (found := _sha256(about)) != sha256:
            raise Refused(f"{folder} is {found[:8]} by now and the thresholds are for {sha256[:8]}; calibrate it again")
        about["thresholds"] = asdict(thresholds)


def load(
    name: str | Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    stages: Iterable[str] = ("trajectory", "video"),
    at_home: Collection[str] = (),
) -> Checkpoint:
    """Load a checkpoint by folder, name or hub id.

    Args:
        name: folder, name or hub id.
        device: of its networks.
        dtype: of their weights.
        stages: that are loaded.
        at_home: parts that stay in main memory, to be offloaded.

    Raises:
        Refused: it is missing, of another format, altered, torn, not finite, does not fit together,
            or lacks a stage.
    """
    folder = find(name)
    about = _read_config(folder)
    config, parts = parse(folder, about), about["parts"]
    for stage in stages:
        if stage not in config.stages or stage not in parts:
            have = ", ".join(config.stages) or "none"
            raise Refused(f"{folder} has no stage {stage!r} but {have}; train it with mask2iv train")
    wanted = {*SHARED, *stages, *(f"{stage}_projector" for stage in stages)}
    if "video" in stages:
        wanted.add("segmenter")
    for part, told in parts.items():
        if part in wanted:
            found = hash_part(folder / part)
            if found != told["sha256"]:
                raise Refused(
                    f"{folder / part} has SHA-256 {found[:12]}, expected {str(told['sha256'])[:12]}; "
                    "the checkpoint is corrupt: copy it again"
                )
    modules = {
        part: _load(folder / part, told["class"], dtype)
        for part, told in parts.items()
        if part != "tokenizer" and part in wanted
    }
    for part, module in modules.items():
        module.to("cpu" if part in at_home else device).eval().requires_grad_(False)
    text = image = None
    if "text_encoder" in modules:
        from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder

        text = ClipTextEncoder(modules["text_encoder"], load_tokenizer(folder / "tokenizer"))
    if "image_encoder" in modules:
        from mask2iv_ros.generator.dynamicrafter.image import ClipImageEncoder

        image = ClipImageEncoder(modules["image_encoder"])
    autoencoder = modules["autoencoder"]
    built = {}
    for stage in stages:
        told = config.stages[stage]
        _check_fit(folder / stage, config, told, modules[stage], autoencoder, stage)
        built[stage] = Stage(modules[stage], told.schedule, modules.get(f"{stage}_projector"), told.scale_tensor())
        built[stage].to(device).eval().requires_grad_(False)
    segmenter = modules.get("segmenter")
    if segmenter is not None:
        _check_segmenter(folder / "segmenter", config, parts["segmenter"]["class"], segmenter)
    return Checkpoint(config, _sha256(about), autoencoder, text, image, built, segmenter)


def read_config(name: str | Path) -> CheckpointConfig:
    """Return what a checkpoint makes, without loading it."""
    folder = find(name)
    return parse(folder, _read_config(folder))


def _check_fit(
    where: Path, config: CheckpointConfig, told: StageConfig, denoiser: ModelMixin, autoencoder: Autoencoder, stage: str
) -> None:
    channels = autoencoder.channels
    wanted = channels * (2 if stage == "base" else 3 if told.origin == "first" else 4)
    found = denoiser.config.in_channels, denoiser.config.out_channels
    scales = channels if told.scale is None else len(told.scale)
    if found != (wanted, channels) or scales != channels:
        raise Refused(
            f"{where} takes {found[0]} channels, gives {found[1]} and has {scales} scales; expected {wanted}, "
            f"{channels} and {channels} with this autoencoder"
        )
    if config.frames > getattr(denoiser.config, "frames", config.frames):
        raise Refused(f"{where} knows {denoiser.config.frames} frames; expected {config.frames}")
    multiple = autoencoder.patch * denoiser.multiple
    if any(side % multiple for side in config.size):
        raise Refused(f"size {config.size} cannot be generated by {where}; expected multiples of {multiple}")


def _check_segmenter(where: Path, config: CheckpointConfig, kind: str, segmenter: Segmenter) -> None:
    if kind != "Segmenter":
        raise Refused(f"{where} is a {kind!r}; expected a 'Segmenter'")
    if any(side % segmenter.multiple for side in config.size):
        raise Refused(f"size {config.size} cannot be segmented by {where}; expected multiples of {segmenter.multiple}")


def _describe(config: CheckpointConfig) -> dict:
    return {"format": FORMAT} | asdict(replace(config, stages=dict(config.stages)))


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Wait until nobody else writes this checkpoint; yield a folder to build its successor in, not yet there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(work, ignore_errors=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _successor(folder: Path) -> Iterator[tuple[Path, dict]]:
    """Yield a copy of a checkpoint and its config, both to be changed; without an error they take its place."""
    with _alone(folder) as work:
        about = _read_config(folder)
        clone(folder, work, lambda path: path == Path("config.json"))
        yield work, about
        _finish(work, folder, about)


def _replace(work: Path, about: dict, part: str, module: torch.nn.Module | None, dtype: torch.dtype) -> None:
    """Put a part in an earlier one's place; None: there is none any more."""
    shutil.rmtree(work / part, ignore_errors=True)
    about["parts"].pop(part, None)
    if module is not None:
        about["parts"][part] = _write(work / part, module, dtype)


def _sha256(about: dict) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _finish(work: Path, folder: Path, about: dict) -> None:
    (work / "config.json").unlink(missing_ok=True)
    (work / "config.json").write_text(json.dumps(about, indent=1) + "\n")
    written = {path.relative_to(work) for path in work.rglob("*")}
    publish(work, folder)
    # Where folders cannot be exchanged in one step, files of an earlier part are still there.
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder) not in written:
            path.unlink()


def _write(folder: Path, part: Part, dtype: torch.dtype) -> dict[str, str]:
    if isinstance(part, torch.nn.Module):
        save_part(part, folder, dtype)
    else:
        part.save_pretrained(folder)
    return {"class": type(part).__name__, "sha256": hash_part(folder)}


def _load(folder: Path, kind: str, dtype: torch.dtype) -> torch.nn.Module:
    if kind not in CLASSES:
        raise Refused(f"{folder} is a {kind!r}; accepted are {', '.join(CLASSES)}")
    return load_part(getattr(import_module(CLASSES[kind]), kind), folder, dtype)


def _read_config(folder: Path) -> dict:
    try:
        about = json.loads((folder / "config.json").read_text())
        found = about["format"]
        if found != FORMAT:
            raise Refused(f"{folder} is a checkpoint of format {found!r}; this version reads format {FORMAT}")
        for told in about["parts"].values():
            told["class"], told["sha256"]
        about["stages"].items()
    except Refused:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{folder / 'config.json'} does not describe a checkpoint ({error!r})") from error
    return about
