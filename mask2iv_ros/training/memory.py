"""What to tell a user whose GPU is too small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.experiment import Experiment


@contextmanager
def enough_memory(experiment: Experiment, device: torch.device) -> Iterator[None]:
    """Say what would fit where anything in a training does not: encoding, a validation, a sample video.

    Raises:
        Refused: in place of torch.OutOfMemoryError.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise too_little_memory(experiment, None, device) from error


def too_little_memory(experiment: Experiment, micro: int | None, device: torch.device) -> Refused:
    """Return the refusal of a training that does not fit; it names what would make it smaller and is not done yet.

    Args:
        experiment: that does not fit.
        micro: windows in the gradient that did not; None: it was something else.
        device: that it does not fit on.
    """
    asked, (height, width) = experiment.optimiser, experiment.data.size
    size = ""
    if device.type == "cuda":
        free, total = (bytes_ / 2**30 for bytes_ in torch.cuda.mem_get_info(device))
        size = f" of {total:.0f} GiB ({free:.1f} free)"
    smaller = [
        way
        for way, open_ in (
            ("optimiser.micro=1", (micro or asked.micro) > 1),
            ("optimiser.checkpointing=true", not asked.checkpointing),
            ("optimiser.precision=bf16", asked.precision == "fp32"),
            ("optimiser.average=null", asked.average is not None),
            ("trained.lora=32", experiment.trained.lora is None and experiment.network is None),
            ("trained.weights=bf16", experiment.trained.lora is not None and experiment.trained.weights == "fp32"),
            ("log.sample=0", micro is None and experiment.log.sample > 0),
        )
        if open_
    ]
    smaller.append("a smaller data.size")
    clip = f"{experiment.data.windows.frames} frames of {width} x {height}"
    what = f"this training of {clip}" if micro is None else f"{micro} windows of {clip} at once"
    return Refused(
        f"the GPU's memory{size} is too small for {what}; expected {', '.join(smaller)}, or other programs off the GPU"
    )
