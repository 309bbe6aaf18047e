"""The benchmark: every part of a stage, the whole of it, and a training step."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from math import isfinite

import torch

from mask2iv_ros.bench.measure import Cost, count_tflop, measure
from mask2iv_ros.bench.subject import Subject, loaded_subject, random_subject, without_weights
from mask2iv_ros.bench.training import TrainingStep
from mask2iv_ros.bench.work import Work
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import runtime
from mask2iv_ros.generator.parts import DTYPES, dtype_named

# What large bf16 matrix products reach on an H100; its data sheet says 989.
H100_TFLOPS = 790.0


@dataclass(frozen=True)
class Settings:
    """What is benchmarked, and how.

    Attributes:
        model: "full" or "tiny" with random weights, or a checkpoint's folder, name or hub id.
        device: "cuda" or "cpu".
        dtype: of weights and arithmetic; in training, of the arithmetic.
        batch: rollouts at once; in training, clips.
        steps: of sampling; None: the model's own.
        repeats: of every part; of the whole stage a third as many.
        compile: the denoiser, by torch.
        offload: the encoders' weights, to main memory.
        attention: see `runtime.attention`.
        train: measure a training step instead of a stage.
        checkpointing: recompute in training instead of keeping.
        peak: TFLOP/s that the floor is reckoned with; None: an H100's on such a GPU, else no floor is given.
    """

    model: str = "default"
    device: str = "cpu"
    dtype: str = "fp32"
    batch: int = 1
    steps: int | None = None
    repeats: int = 9
    compile: bool = False
    offload: bool = False
    attention: str = "auto"
    train: bool = False
    checkpointing: bool = True
    peak: float | None = None

    def __post_init__(self) -> None:
        dtype_named(self.dtype)
        if self.device not in ("cpu", "cuda"):
            raise Refused(f"device {self.device!r} is unknown; accepted are auto, cpu, cuda")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise Refused("device 'cuda' is not there: torch sees no GPU; use auto or cpu")
        if self.device == "cpu" and self.model == "full":
            raise Refused("model 'full' on a CPU would take a day; use a GPU, or --model default or tiny")
        for name in ("batch", "repeats"):
            if getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.peak is not None and not (isfinite(self.peak) and self.peak > 0):
            raise Refused(f"peak is {self.peak}; expected TFLOP/s above 0")
        if self.train and self.offload:
            raise Refused("training reads encoded clips and holds no encoders; leave --offload out")


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        settings: that were asked for, the peak filled in.
        machine: what it ran on.
        costs: of the parts, then of the whole.
        error: how far one step's output is from that of the same weights in fp32, as the root mean square of the
            difference over that of the output: of the denoiser alone and after guidance, which multiplies
            differences. None where it was fp32, or in training.
        denoiser_batch: what the denoiser was called with, less than asked for if memory ran out.
    """

    settings: Settings
    machine: dict[str, str]
    costs: list[Cost]
    error: dict[str, float] | None = None
    denoiser_batch: int | None = None
    weights: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict:
        """Return all of it as JSON knows it."""
        peak = self.settings.peak
        costs = [asdict(cost) | {"tflops": cost.speed, "share_of_floor": cost.share(peak)} for cost in self.costs]
        return asdict(self) | {"costs": costs}


def bench(settings: Settings) -> Result:
    """Measure.

    Raises:
        Refused: the model is not there, or memory does not hold it.
    """
    device, dtype = torch.device(settings.device), DTYPES[settings.dtype]
    machine = _machine(device)
    if settings.peak is None and "H100" in machine["device"]:
        settings = replace(settings, peak=H100_TFLOPS)
    subject = _subject(settings, device, torch.float32 if settings.train else dtype)
    weights = {part: sum(p.nbytes for p in module.parameters()) for part, module in subject.modules().items()}
    with runtime.attention(settings.attention):
        try:
            if settings.train:
                costs = [_training(settings, subject, device, dtype)]
                return Result(settings, machine, costs, weights=weights)
            return replace(_inference(settings, subject, device, dtype), machine=machine, weights=weights)
        except torch.OutOfMemoryError as error:
            raise Refused(
                f"memory does not hold {settings.model!r} with a batch of {settings.batch} in {settings.dtype}; "
                "what needs less: a smaller --batch, bf16, --offload, in training --checkpointing"
            ) from error


def _subject(settings: Settings, device: torch.device, dtype: torch.dtype) -> Subject:
    build = random_subject if settings.model in ("full", "tiny") else loaded_subject
    subject = build(settings.model, device, dtype)
    return replace(subject, sampling=replace(subject.sampling, steps=settings.steps or subject.sampling.steps))


def _inference(settings: Settings, subject: Subject, device: torch.device, dtype: torch.dtype) -> Result:
    counted = Work(without_weights(subject), torch.device("meta"), torch.float32, settings.batch).parts()
    tflop = {part.name: count_tflop(part.run) for part in counted}
    work = Work(subject, device, dtype, settings.batch)
    error = None if dtype == torch.float32 else _rounding(work, subject, dtype)
    denoiser = runtime.Halving(runtime.compiled(subject.stage.denoiser) if settings.compile else subject.stage.denoiser)
    subject.stage.denoiser = denoiser
    if settings.offload:
        for part in ("text_encoder", "image_encoder"):
            if part in subject.modules():
                runtime.offloaded(subject.modules()[part], device)
    costs = [
        measure(part.name, part.run, tflop[part.name], device, settings.repeats, part.calls) for part in work.parts()
    ]
    total = sum(part.calls * tflop[part.name] for part in counted)
    whole = f"a stage of {subject.sampling.steps} steps"
    costs.append(measure(whole, work.whole, total, device, max(1, settings.repeats // 3)))
    asked = settings.batch * (1 + work.guided)
    return Result(settings, {}, costs, error, denoiser.most or asked)


def _rounding(work: Work, subject: Subject, dtype: torch.dtype) -> dict[str, float]:
    """Compare a step with the same weights, those rounded already, at work in fp32."""
    networks = {"denoiser": False, "guided": True}
    here = {name: work.step(guided) for name, guided in networks.items()}
    # Not the network's own `to`: diffusers' warns of casts.
    torch.nn.Module.to(subject.stage.denoiser, torch.float32)
    there = {name: work.step(guided) for name, guided in networks.items()}
    torch.nn.Module.to(subject.stage.denoiser, dtype)
    return {name: float((here[name] - there[name]).norm() / there[name].norm()) for name in networks}


def _training(settings: Settings, subject: Subject, device: torch.device, dtype: torch.dtype) -> Cost:
    twin = without_weights(subject)
    counted = TrainingStep(twin, Work(twin, torch.device("meta"), torch.float32, settings.batch), None)
    tflop = count_tflop(counted.loss_and_gradients)
    step = TrainingStep(
        subject,
        Work(subject, device, torch.float32, settings.batch),
        None if dtype == torch.float32 else dtype,
        settings.checkpointing,
    )
    if settings.compile:
        runtime.compiled(subject.stage.denoiser)
    name = f"training step, batch {settings.batch}"
    return measure(name, step.run, tflop, device, settings.repeats)


def _machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "python": platform.python_version(),
    }


def table(result: Result) -> Iterator[str]:
    """Yield a result's lines as a table."""
    peak = result.settings.peak
    floor = "" if peak is None else f", floor at {peak:g} TFLOP/s"
    yield f"{result.settings.model} in {result.settings.dtype} on {result.machine['device']}{floor}"
    yield f"{'':32s} {'calls':>5s} {'seconds':>9s} {'TFLOP':>9s} {'TFLOP/s':>8s} {'of floor':>8s} {'GB':>6s}"
    for cost in result.costs:
        share, memory = cost.share(peak), cost.memory
        yield (
            f"{cost.name:32s} {cost.calls:5d} {cost.seconds:9.4f} {cost.tflop:9.4g} {cost.speed:8.3g} "
            f"{'-' if share is None else f'{share:.1%}':>8s} {'-' if memory is None else f'{memory / 1e9:.2f}':>6s}"
        )
    if result.error is not None:
        told = ", ".join(f"{name} {error:.2e}" for name, error in result.error.items())
        yield f"one step against fp32 with the same weights, relative root mean square: {told}"
