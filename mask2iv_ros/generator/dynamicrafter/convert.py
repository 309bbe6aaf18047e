"""From a DynamiCrafter checkpoint, one file, to a checkpoint folder with the stage "base"."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.exchange import publish
from mask2iv_ros.generator.checkpoint import FORMAT, CheckpointConfig, StageConfig
from mask2iv_ros.generator.dynamicrafter.architecture import IMAGE_TOKENS, build, settings_of
from mask2iv_ros.generator.dynamicrafter.keys import SCHEDULE_BUFFERS, Place, places, why_unused
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS, Layout, recognise, schedule_of
from mask2iv_ros.generator.dynamicrafter.source import Source
from mask2iv_ros.generator.dynamicrafter.tokenizer import clip_tokenizer
from mask2iv_ros.generator.parts import SHARD_BYTES, differences, hash_part, save_part

STAGE = "base"
FOLDERS = {"denoiser": STAGE, "projector": f"{STAGE}_projector"}  # the other parts are named alike


@dataclass(frozen=True)
class Conversion:
    """What became of a checkpoint.

    Attributes:
        folder: of the new checkpoint.
        layout: as it was recognised or asked for.
        placed: the names of the tensors that are in it now.
        unused: the others, and why nothing reads them.
        said: what is not as the layout has it.
    """

    folder: Path
    layout: Layout
    placed: tuple[str, ...]
    unused: Mapping[str, str]
    said: tuple[str, ...]


def convert(
    checkpoint: Path,
    out: Path,
    layout: str = "auto",
    dtype: torch.dtype = torch.float16,
    shard_bytes: int = SHARD_BYTES,
    on_written: Callable[[int, int], None] = lambda done, total: None,
) -> Conversion:
    """Convert a checkpoint; memory holds one shard of it at a time.

    Args:
        checkpoint: `.safetensors`, or what torch.save wrote.
        out: folder that does not exist yet, or is empty; nothing is left there unless all went well.
        layout: "256", "512" or "1024", or "auto".
        dtype: of the weights in the files.
        shard_bytes: see `save_part`.
        on_written: called with the tensors read so far and all that there are.

    Raises:
        Refused: the checkpoint is torn, foreign or would run code, its keys are not those of its
            layout (all of them are listed), or `out` is taken.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise Refused(f"layout is {layout!r}; accepted are auto, {', '.join(LAYOUTS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} exists; expected the name of a new folder")
    out = out.absolute()
    source = Source(checkpoint)
    settings = settings_of(source.shapes)
    buffers = source.read(name for name in SCHEDULE_BUFFERS if name in source.shapes)
    chosen = recognise(source.shapes, buffers) if layout == "auto" else LAYOUTS[layout]
    models = build(settings, chosen)
    placed = places(models)
    unused = check_keys(source, placed, models)
    schedule, said = schedule_of(chosen, buffers)
    config = CheckpointConfig(
        name=out.name,
        frames=settings["projector"]["tokens"] // IMAGE_TOKENS,
        size=chosen.size,
        fps=chosen.fps,
        stages={STAGE: StageConfig(schedule, chosen.sampling)},
    )
    tokenizer = clip_tokenizer(settings["text_encoder"]["max_position_embeddings"])
    vocabulary = settings["text_encoder"]["vocab_size"]
    if vocabulary != len(tokenizer):
        said.append(
            f"its text encoder knows {vocabulary} tokens and CLIP's tokenizer makes {len(tokenizer)}: they do not fit"
        )
    read = _reader(source, placed, on_written)
    with _written_whole(out) as work:
        parts = {}
        for part, model in models.items():
            name = FOLDERS.get(part, part)
            save_part(model, work / name, dtype, shard_bytes, read(part))
            parts[name] = {"class": type(model).__name__, "sha256": hash_part(work / name)}
        tokenizer.save_pretrained(work / "tokenizer")
        parts["tokenizer"] = {"class": type(tokenizer).__name__, "sha256": hash_part(work / "tokenizer")}
        about = {"format": FORMAT} | asdict(config) | {"parts": parts}
        (work / "config.json").write_text(json.dumps(about, indent=1) + "\n")
    return Conversion(out, chosen, tuple(placed), unused, tuple(said))


def check_keys(
    source: Source, placed: Mapping[str, Sequence[Place]], models: Mapping[str, nn.Module]
) -> dict[str, str]:
    """Return which keys of a checkpoint nothing reads, and why.

    Raises:
        Refused: keys are missing, surplus, of another shape or not floating-point numbers.
    """
    targets = {part: model.state_dict() for part, model in models.items()}
    expected = {
        name: _shape_wanted(source.shapes.get(name), [(place, targets[place.part][place.key]) for place in ours])
        for name, ours in placed.items()
    }
    layers = models["text_encoder"].config.num_hidden_layers
    others = {name: why_unused(name, layers) for name in source.shapes if name not in placed}
    known = {name: shape for name, shape in source.shapes.items() if name in placed or others[name] is None}
    wrong = differences(expected, known)
    if wrong:
        raise Refused(f"{source.path} does not have the keys of its layout: {wrong}")
    wholes = [name for name in placed if name not in source.numbers]
    if wholes:
        raise Refused(f"{source.path} has weights that are no floating-point numbers: {', '.join(wholes)}")
    return {name: why for name, why in others.items() if why is not None}


def _shape_wanted(shape: tuple[int, ...] | None, targets: Sequence[tuple[Place, Tensor]]) -> tuple[int, ...]:
    """Return a checkpoint tensor's shape if it fills its places, else the shape that would."""
    place, target = targets[0]
    wanted = (target.shape[0] * place.slice[1], *target.shape[1:]) if target.ndim else ()
    if shape is None or len(shape) < len(wanted) or shape[:1] != wanted[:1]:
        return wanted
    source = torch.empty(shape, device="meta")
    return shape if all(place.take(source).shape == target.shape for place, target in targets) else wanted


def _reader(
    source: Source, placed: Mapping[str, Sequence[Place]], on_written: Callable[[int, int], None]
) -> Callable[[str], Callable[[Sequence[str]], dict[str, Tensor]]]:
    """Return for every part what reads its tensors from the checkpoint."""
    origins = {(place.part, place.key): (name, place) for name, ours in placed.items() for place in ours}
    done = 0

    def of_part(part: str) -> Callable[[Sequence[str]], dict[str, Tensor]]:
        def read(keys: Sequence[str]) -> dict[str, Tensor]:
            nonlocal done
            wanted = {key: origins[part, key] for key in keys}
            tensors = source.read({name for name, _ in wanted.values()})
            done += len(keys)
            on_written(done, len(origins))
            return {key: place.take(tensors[name]) for key, (name, place) in wanted.items()}

        return read

    return of_part


@contextmanager
def _written_whole(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` at the end and is removed if that is not reached."""
    work = out.with_name(f"{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        yield work
        publish(work, out)
    except (OSError, SafetensorError) as error:
        raise Refused(f"{out} cannot be written ({error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
