"""`mask2iv bench`: seconds, TFLOP/s, share of the floor and memory of every part of a stage, or of a training step."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from mask2iv_ros.bench.bench import H100_TFLOPS, Settings, bench, table
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.parts import DTYPES
from mask2iv_ros.generator.runtime import ATTENTION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--model",
        help="full (DynamiCrafter 512's size, random weights, needs a GPU), tiny (the same classes), or a "
        "checkpoint's folder, name or hub id (full on a GPU, else default)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(%(default)s)")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="(bf16 on a GPU, fp32 on a CPU)")
    parser.add_argument("--batch", type=int, default=1, help="rollouts, or clips in training, at once (%(default)s)")
    parser.add_argument("--steps", type=int, help="of sampling (the model's own: 50 at full size)")
    parser.add_argument("--repeats", type=int, default=9, help="of every part (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="let torch compile the denoiser")
    parser.add_argument("--offload", action="store_true", help="keep the encoders' weights in main memory")
    parser.add_argument("--attention", choices=("auto", *ATTENTION), default="auto", help="back end (%(default)s)")
    parser.add_argument("--train", action="store_true", help="a full training step instead of a stage")
    parser.add_argument(
        "--checkpointing",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="recompute in training instead of keeping (%(default)s)",
    )
    parser.add_argument("--peak", type=float, help=f"TFLOP/s of the floor ({H100_TFLOPS:g} on an H100)")
    parser.add_argument("--json", type=Path, help="file for all figures")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write."""
    chosen = vars(arguments)
    gpu = torch.cuda.is_available()
    if arguments.device == "auto":
        chosen["device"] = "cuda" if gpu else "cpu"
    on_gpu = chosen["device"] == "cuda"
    if arguments.dtype == "auto":
        chosen["dtype"] = "bf16" if on_gpu else "fp32"
    chosen["model"] = arguments.model or ("full" if on_gpu else "default")
    result = bench(Settings(**{name: chosen[name] for name in Settings.__dataclass_fields__}))
    for line in table(result):
        print(line)
    if arguments.json is not None:
        try:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(result.to_json(), indent=1) + "\n")
        except OSError as error:
            raise Refused(f"{arguments.json} cannot be written ({error.strerror})") from error
    return 0
