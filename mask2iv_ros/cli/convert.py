"""`mask2iv convert`: makes a checkpoint folder of a DynamiCrafter checkpoint."""

from __future__ import annotations

import argparse
import re
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.convert import Conversion, convert
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS
from mask2iv_ros.generator.parts import DTYPES, dtype_named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", type=Path, help="model.ckpt or .safetensors; DeepSpeed's wrapping is taken off")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint to make")
    parser.add_argument(
        "--layout", choices=("auto", *LAYOUTS), default="auto", help="which model it is (auto: as its keys say)"
    )
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp16", help="of the weights (%(default)s)")
    parser.add_argument("--shard-size", default="1GB", help="largest file, in MB or GB (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Convert."""
    size = parse_size(arguments.shard_size)
    with tqdm(unit="tensor", desc="convert") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        done = convert(arguments.checkpoint, arguments.out, arguments.layout, dtype_named(arguments.dtype), size, show)
    print(describe(done))
    return 0


def parse_size(text: str) -> int:
    """Return a size in bytes, such as 500MB or 1.5GB.

    Raises:
        Refused: it is no such size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB)", text.strip(), re.IGNORECASE)
    size = round(float(found[1]) * {"MB": 10**6, "GB": 10**9}[found[2].upper()]) if found else 0
    if size < 1:
        raise Refused(f"shard size is {text!r}; expected a number with its unit, such as 500MB or 2GB")
    return size


def describe(done: Conversion) -> str:
    """Return in words what became of a checkpoint."""
    lines = [f"checkpoint in {done.folder}: layout {done.layout.name}, {len(done.placed)} tensors placed"]
    lines += [f"note: {said}" for said in done.said]
    by_reason = sorted(done.unused.items(), key=lambda item: item[1])
    for reason, items in groupby(by_reason, key=lambda item: item[1]):
        names = [name for name, _ in items]
        lines.append(f"{len(names)} left out, as {reason}: {', '.join(names)}")
    return "\n".join(lines)
