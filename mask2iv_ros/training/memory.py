"""What to tell a user whose GPU is too small."""

from __future__ import annotations

import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.experiment import Experiment


def too_little_memory(experiment: Experiment, micro: int, device: torch.device) -> Refused:
    """Return the refusal of a training that does not fit; it names what would make it smaller and is not done yet."""
    asked, (height, width) = experiment.optimiser, experiment.data.size
    size = ""
    if device.type == "cuda":
        free, total = (bytes_ / 2**30 for bytes_ in torch.cuda.mem_get_info(device))
        size = f" of {total:.0f} GiB ({free:.1f} free)"
    smaller = [
        way
        for way, open_ in (
            ("optimiser.micro=1", micro > 1),
            ("optimiser.checkpointing=true", not asked.checkpointing),
            ("optimiser.precision=bf16", asked.precision == "fp32"),
            ("optimiser.average=null", asked.average is not None),
            ("trained.lora=32", experiment.trained.lora is None and experiment.network is None),
            ("trained.weights=bf16", experiment.trained.lora is not None and experiment.trained.weights == "fp32"),
        )
        if open_
    ]
    smaller.append("a smaller data.size")
    return Refused(
        f"the GPU's memory{size} is too small for {micro} windows of {experiment.data.windows.frames} frames of "
        f"{width} x {height} at once; expected {', '.join(smaller)}, or other programs off the GPU"
    )
