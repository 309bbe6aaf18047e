"""An experiment: everything that a training depends on beside its data and its base model.

One YAML file each under `config/experiments`; `--set optimiser.rate=1e-4` changes a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Literal

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Masks, Origin
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.training.contact import RegionWeights
from mask2iv_ros.training.reading import read_settings
from mask2iv_ros.training.windows import Windows


@dataclass(frozen=True)
class Data:
    """What is learned from.

    Attributes:
        size: (height, width) in pixels that frames are cropped and resized to.
        windows: which pieces of the episodes.
        held_out: share of the episodes, spread evenly over the dataset, that is kept for validation
            where no dataset for it is given; at least one episode.
        workers: processes that read windows; 0: the training's own.
    """

    size: tuple[int, int] = (320, 512)
    windows: Windows = field(default_factory=Windows)
    held_out: float = 0.05
    workers: int = 0

    def __post_init__(self) -> None:
        if any(side < 8 or side % 8 for side in self.size):
            raise Refused(f"size is {self.size}; expected (height, width), multiples of 8")
        _within("held_out", self.held_out, 0, 1, open_below=True, open_above=True)
        _at_least(self, 0, "workers")


@dataclass(frozen=True)
class Network:
    """A network that begins with random weights.

    Attributes:
        widths: features per level.
        depth: blocks per level and side.
        head_width: features per attention head.
        branch: tell masks by a ControlNet-style branch (`ControlledUNet`) rather than by channels beside the sample.
        gates: see `SpaceTimeUNet`; a branch takes none.
    """

    widths: tuple[int, ...] = (96, 192)
    depth: int = 2
    head_width: int = 32
    branch: bool = False
    gates: int = 0

    def __post_init__(self) -> None:
        _at_least(self, 1, "depth", "head_width")
        _at_least(self, 0, "gates")
        if self.branch and self.gates:
            raise Refused(f"gates is {self.gates} with a branch; expected 0")
        if not self.widths or min(self.widths) < 1:
            raise Refused(f"widths are {self.widths}; expected one per level, each at least 1")


@dataclass(frozen=True)
class Perturbation:
    """Stage 2's imperfect masks (method: p = 0.2, kernels 3, 5 and 7 at 320 x 512).

    Attributes:
        share: of the windows whose masks are dilated or eroded, drawn anew every time.
        kernels: sides in pixels of the squares that a window's kernel is drawn from.
        sampled: share of the windows, none of them dilated or eroded, that are told a trajectory which stage 1
            sampled for them (`trajectories`); where there is none the true one.
        agreement: least IoU of a sampled trajectory with the true one, of arm and of object each, to be told.
    """

    share: float = 0.2
    kernels: tuple[int, ...] = (3, 5, 7)
    sampled: float = 0.0
    agreement: float = 0.5

    def __post_init__(self) -> None:
        for name in ("share", "sampled", "agreement"):
            _within(name, getattr(self, name), 0, 1)
        if self.share + self.sampled > 1:
            raise Refused(f"share is {self.share} and sampled {self.sampled}; expected at most 1 together")
        if not self.kernels or any(side < 1 or side % 2 == 0 for side in self.kernels):
            raise Refused(f"kernels are {self.kernels}; expected odd sides, such as 3, 5, 7")


@dataclass(frozen=True)
class Trained:
    """Which weights move.

    Attributes:
        freeze_time: keep the temporal attention of the base, its motion prior (method, stage 1).
        projector: train what turns image tokens into the denoiser's, as the base model's training does.
        lora: rank of the adapters on the attention projections, which are then trained in place of
            the weights; only the input convolution's new columns move beside them. None: all weights.
        weights: precision in memory of the weights that adapters leave as they are.
    """

    freeze_time: bool = False
    projector: bool = True
    lora: int | None = None
    weights: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if self.lora is not None and self.lora < 1:
            raise Refused(f"lora is {self.lora}; expected a rank of at least 1, or null")
        if self.weights != "fp32" and self.lora is None:
            raise Refused(f"weights are {self.weights} without lora; expected fp32, as small steps vanish in less")


@dataclass(frozen=True)
class Optimiser:
    """AdamW and what goes around it.

    Attributes:
        steps: gradient steps.
        batch: windows a step, over all GPUs.
        micro: windows that a GPU takes at once; their gradients add up to the batch's.
        rate: learning rate at its peak.
        schedule: of the rate after the warm-up.
        warm_up: steps in which the rate rises from zero.
        betas: of the moving averages of gradient and square.
        decay: of the weights.
        clip: largest norm of the gradient.
        average: decay of the weights' moving average, which is then what is shipped; None: the last weights are.
        precision: of the arithmetic; the trained weights stay in single precision.
        checkpointing: compute activations twice rather than keep them.
    """

    steps: int
    batch: int = 8
    micro: int = 8
    rate: float = 1e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.01
    clip: float = 1.0
    average: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        _at_least(self, 1, "steps", "batch", "micro")
        _at_least(self, 0, "warm_up")
        _within("rate", self.rate, 0, 1, open_below=True, open_above=True)
        for beta in self.betas:
            _within("betas", beta, 0, 1, open_above=True)
        _within("decay", self.decay, 0, 1)
        if not (isfinite(self.clip) and self.clip > 0):
            raise Refused(f"clip is {self.clip}; expected above 0")
        if self.average is not None:
            _within("average", self.average, 0, 1, open_above=True)
        if self.batch % self.micro:
            raise Refused(f"batch is {self.batch} and micro {self.micro}; expected a batch that is a multiple of micro")


@dataclass(frozen=True)
class Log:
    """What a training leaves behind while it runs.

    Attributes:
        every: steps between two points of the curves.
        save: steps between two states, from which a killed run goes on, and validations.
        windows: that a validation measures, always with the same noise.
        sample: steps between two sets of sample videos; 0: none.
        samples: videos in a set.
    """

    every: int = 10
    save: int = 500
    windows: int = 64
    sample: int = 2000
    samples: int = 4

    def __post_init__(self) -> None:
        _at_least(self, 1, "every", "save", "windows", "samples")
        _at_least(self, 0, "sample")


@dataclass(frozen=True)
class Experiment:
    """A training of one stage.

    Attributes:
        stage: "trajectory" (stage 1, masks) or "video" (stage 2, frames).
        optimiser: see `Optimiser`.
        data: see `Data`.
        network: to begin with random weights; None: with those of the base.
        schedule: of the noise; None: that of the base.
        sampling: that the checkpoint suggests; None: that of the base.
        change: denoise the change since the first frame (`Stage`'s scale) rather than the latents
            themselves; with a base's weights this must be as they were trained.
        goals: stage 1: share of the windows that are told a goal mask (PT-Gen); the others are told
            a text (TT-Gen). The method gives a rollout ONE condition.
        dropout: p of the condition dropout for guidance; three times p of the windows lose something
            (`batch`). The base model was trained with 0.05.
        weights: of the loss by region.
        masks: stage 2: what it is told of a trajectory; less than both for comparison.
        origin: what the change is measured from; "pasted" for stage 2 with `change` alone.
        perturbation: stage 2: of its masks; None: they stay perfect.
        trained: see `Trained`.
        log: see `Log`.
        seed: of everything random.
    """

    stage: Literal["trajectory", "video"]
    optimiser: Optimiser
    data: Data = field(default_factory=Data)
    network: Network | None = None
    schedule: NoiseSchedule | None = None
    sampling: Sampling | None = None
    change: bool = False
    goals: float | None = None
    dropout: float = 0.05
    weights: RegionWeights = field(default_factory=lambda: RegionWeights(interactor=0, object=0))
    masks: Masks = "both"
    origin: Origin = "first"
    perturbation: Perturbation | None = None
    trained: Trained = field(default_factory=Trained)
    log: Log = field(default_factory=Log)
    seed: int = 0

    def __post_init__(self) -> None:
        _within("dropout", self.dropout, 0, 1 / 3)
        _at_least(self, 0, "seed")
        if self.stage == "trajectory":
            if self.goals is None:
                raise Refused("goals is missing; expected the share of stage 1's windows told by a goal mask, 0 to 1")
            _within("goals", self.goals, 0, 1)
        elif self.goals is not None:
            raise Refused(f"goals is {self.goals} for stage video; expected none, as stage 2 is told a trajectory")
        if self.stage == "trajectory" and self.perturbation is not None:
            raise Refused("perturbation is given for stage trajectory; expected none, as only stage 2 is told masks")
        if self.stage == "trajectory" and self.masks != "both":
            raise Refused(f"masks is {self.masks!r} for stage trajectory; expected both, as only stage 2 is told masks")
        if self.masks == "interactor" and self.perturbation is not None and self.perturbation.sampled:
            raise Refused("perturbation.sampled is given with masks 'interactor'; expected both, as they were sampled")
        if self.masks == "none" and self.perturbation is not None:
            raise Refused("perturbation is given with masks 'none'; expected none, as there is nothing to perturb")
        if self.origin == "pasted" and (self.stage != "video" or self.masks != "both" or not self.change):
            raise Refused(
                f"origin is 'pasted' for stage {self.stage} with masks {self.masks!r} and change {self.change}; "
                "expected stage video, masks both and change true"
            )
        if self.trained.weights != "fp32" and self.optimiser.precision != self.trained.weights:
            raise Refused(
                f"trained.weights is {self.trained.weights} with precision {self.optimiser.precision}; expected one"
            )
        if self.network is not None:
            if self.schedule is None or self.sampling is None:
                raise Refused("network is given without schedule or sampling; expected both, as no base has them")
            if self.trained.freeze_time or self.trained.lora is not None:
                raise Refused("network begins with random weights; expected freeze_time false and lora null")

    @property
    def conditions(self) -> tuple[str, ...]:
        """What a goal may be for a stage trained so: "mask", "text" or both; none for stage 2."""
        if self.goals is None:
            return ()
        return (("mask",) if self.goals > 0 else ()) + (("text",) if self.goals < 1 else ())

    def as_dict(self) -> dict:
        """Return the settings as JSON would."""
        return asdict(self)


def read_experiment(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """Read an experiment's file.

    Args:
        path: of the YAML file.
        changes: "key=value", such as "optimiser.rate=1e-4".

    Raises:
        Refused: see `read_settings`.
    """
    return read_settings(Experiment, path, changes)


def _at_least(settings: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < least:
            raise Refused(f"{name} is {getattr(settings, name)}; expected at least {least}")


def _within(
    name: str, value: float, low: float, high: float, open_below: bool = False, open_above: bool = False
) -> None:
    # Written so that nan is refused.
    above = value > low if open_below else value >= low
    below = value < high if open_above else value <= high
    if not (above and below):
        raise Refused(
            f"{name} is {value}; expected {'above' if open_below else 'at least'} {low:g} "
            f"and {'below' if open_above else 'at most'} {high:g}"
        )
