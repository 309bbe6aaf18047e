"""How networks are run, put around them and never into them: attention back ends, compilation, offloading, memory.

Everything here can be left out, and leaves a network's numbers as they are up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from accelerate.utils import send_to_device
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition

ATTENTION = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


@contextmanager
def attention(name: str) -> Iterator[None]:
    """Let attention run on one of torch's back ends where it can, on another elsewhere.

    Args:
        name: "auto", torch's own choice, or one of `ATTENTION`.

    Raises:
        Refused: another name.
    """
    if name == "auto":
        yield
        return
    if name not in ATTENTION:
        raise Refused(f"attention {name!r} is unknown; accepted are auto, {', '.join(ATTENTION)}")
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel([ATTENTION[name], *(other for other in others if other != ATTENTION[name])], set_priority=True):
        yield


def compiled[Network: nn.Module](network: Network, backend: str = "inductor") -> Network:
    """Have torch compile a network at its first call, which then takes minutes; parameters keep their names.

    Args:
        network: that torch can trace as one graph, as both denoisers are.
        backend: of torch.compile.
    """
    network.compile(fullgraph=True, backend=backend)
    return network


def offloaded[Network: nn.Module](network: Network, device: torch.device) -> Network:
    """Keep a network's weights in main memory, on the device only during a call.

    For encoders, which are called once per scene: every call copies the weights over, none copies them back.
    """
    network.to("cpu")
    owners = list(network.modules())
    home = [(owner, *one) for owner in owners for one in owner.named_parameters(recurse=False)]
    home += [(owner, *one) for owner in owners for one in owner.named_buffers(recurse=False)]
    if device.type == "cuda":  # copies from pinned memory are several times faster
        for _, _, tensor in home:
            tensor.data = tensor.data.pin_memory()
    forward = network.forward

    @wraps(forward)
    def visit(*args: Any, **kwargs: Any) -> Any:
        try:
            for owner, name, tensor in home:
                copy = tensor.data.to(device, non_blocking=True)
                setattr(owner, name, nn.Parameter(copy, False) if isinstance(tensor, nn.Parameter) else copy)
            return forward(*send_to_device(args, device), **send_to_device(kwargs, device))
        finally:
            for owner, name, tensor in home:
                setattr(owner, name, tensor)

    network.forward = visit
    return network


@contextmanager
def enough_memory(what: str, device: torch.device) -> Iterator[None]:
    """Turn the GPU's running out of memory into one sentence.

    Args:
        what: did not fit.
        device: of the memory.

    Raises:
        Refused: memory does not hold it.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise Refused(
            f"memory does not hold {what}{_memory(device)}; what needs less: dtype fp16 or bf16, offload, a smaller "
            "batch, other programs off the GPU"
        ) from None


# CUDA's fused attention takes no more sequences, and attention over time has one for every
# position of every sample (pytorch issue 142228).
MOST_SEQUENCES = 65_535


class Halving(nn.Module):
    """A `Denoiser` that, where memory does not hold a batch, runs it in two halves from then on.

    Guidance alone makes a batch of two. If the half does not fit either, what would is said.

    Args:
        denoiser: that is called.
    """

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self.denoiser = denoiser
        self.most: int | None = None

    def forward(
        self, sample: Float[Tensor, "b c t h w"], timestep: Int[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b c t h w"]:
        """See `Denoiser`.

        Raises:
            Refused: half the batch does not fit into memory either.
        """
        batch = min(len(sample), max(1, MOST_SEQUENCES // (sample.shape[-2] * sample.shape[-1])))
        try:
            return self._in_parts(sample, timestep, condition, self.most or batch)
        except torch.OutOfMemoryError:
            if self.most is not None or batch == 1:
                raise self._refusal(sample, self.most or batch) from None
        # Outside of the handler: the exception holds on to what did not fit.
        _release()
        self.most = -(-batch // 2)
        try:
            return self._in_parts(sample, timestep, condition, self.most)
        except torch.OutOfMemoryError:
            raise self._refusal(sample, self.most) from None

    def _in_parts(self, sample: Tensor, timestep: Tensor, condition: Condition, most: int) -> Tensor:
        outputs = []
        for start in range(0, len(sample), most):
            part = slice(start, start + most)
            outputs.append(
                self.denoiser(sample[part], timestep[part], condition.map(lambda value, part=part: value[part]))
            )
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _refusal(self, sample: Tensor, batch: int) -> Refused:
        parameter = next(self.denoiser.parameters())
        weights = sum(one.nbytes for one in self.denoiser.parameters())
        frames, height, width = sample.shape[2:]
        fits = [] if batch == 1 else [f"a batch of {batch // 2}"]
        if parameter.dtype == torch.float32:
            fits.append(f"bf16 weights ({_gib(weights / 2)} instead of {_gib(weights)})")
        fits += ["offloaded encoders", f"fewer frames than {frames}", f"latents smaller than {height} x {width}"]
        return Refused(
            f"memory does not hold a batch of {batch}{_memory(parameter.device)}; what needs less: {', '.join(fits)}"
        )


def _release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" on a GPU of {_gib(total)} ({_gib(free + torch.cuda.memory_reserved(device))} free for this process)"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
