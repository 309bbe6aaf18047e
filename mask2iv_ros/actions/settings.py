"""Settings of a labeller: its network, how frames are changed while it learns, its training and its gate."""

from __future__ import annotations

from dataclasses import dataclass, field

from mask2iv_ros.errors import Refused

CELL = 8  # pixels that features are of
STRIDE = 32  # pixels a token: what a picture's height and width must be multiples of
_WIDEST, _DEEPEST = 1024, 32  # what a configuration may ask the memory for


@dataclass(frozen=True)
class NetworkSettings:
    """What the network sees and how large it is.

    Attributes:
        size: (height, width) that frames are brought to.
        chunk: frames from the first to the last of a window; the actions of all its frames are estimated.
        seen: frames of a window that are shown, evenly spaced, first and last among them.
        masks: show where arm and object are, and dim what is neither.
        dim: what is left of the brightness of that.
        widths: features of a cell of 8 pixels, and of the tokens.
        keypoints: places in a frame that the arm's pose is read from.
        layers: of the transformer.
        heads: of its attention.
        dropout: in the transformer.
    """

    size: tuple[int, int] = (96, 128)
    chunk: int = 3
    seen: int = 4
    masks: bool = True
    dim: float = 0.2
    widths: tuple[int, int] = (64, 96)
    keypoints: int = 24
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if any(side % STRIDE or not 32 <= side <= 512 for side in self.size):
            raise Refused(f"size {self.size} cannot be seen; expected multiples of {STRIDE} from 32 to 512")
        if not 1 <= self.chunk <= 16:
            raise Refused(f"chunk is {self.chunk}; expected 1 to 16")
        if not 2 <= self.seen <= self.chunk + 1:
            raise Refused(f"seen is {self.seen}; expected 2 to {self.chunk + 1}, the frames of a chunk of {self.chunk}")
        if not 0 <= self.dim <= 1:
            raise Refused(f"dim is {self.dim}; expected 0 to 1")
        if any(width % 8 or not 8 <= width <= _WIDEST for width in self.widths) or self.heads < 1:
            raise Refused(f"widths are {self.widths}, heads {self.heads}; expected multiples of 8 up to {_WIDEST}")
        if self.widths[-1] % self.heads:
            raise Refused(f"widths are {self.widths}; expected the last to be a multiple of heads, {self.heads}")
        if not 1 <= self.keypoints <= _WIDEST or not 1 <= self.layers <= _DEEPEST or not 0 <= self.dropout < 1:
            raise Refused(
                f"keypoints={self.keypoints}, layers={self.layers}, dropout={self.dropout}; expected 1 to {_WIDEST}, "
                f"1 to {_DEEPEST}, and 0 to below 1"
            )

    @property
    def shown(self) -> list[int]:
        """Which frames of a window are shown, counted from its first."""
        return [round(place * self.chunk / (self.seen - 1)) for place in range(self.seen)]


@dataclass(frozen=True)
class LookSettings:
    """How far true frames are changed: imagined ones are blurred, their masks ragged.

    Attributes:
        shift: most pixels that a window is moved by; where a pixel was is known, so nothing is to be unlearned.
        colours: spread of the gain of each channel, the same in a window.
        share: of the frames to which each of blur, ghost, noise and ragged masks happens.
        blur: standard deviation in pixels of the strongest.
        ghosts: most of another frame of the episode that shines through.
        noise: largest standard deviation, of brightness from 0 to 1.
        ragged: how far the edge of a mask is off, as standard deviation of noise on the mask blurred.
        lost: share of the frames that show no object.
    """

    shift: int = 4
    colours: float = 0.15
    share: float = 0.5
    blur: float = 1.2
    ghosts: float = 0.25
    noise: float = 0.05
    ragged: float = 0.2
    lost: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 32:
            raise Refused(f"shift is {self.shift}; expected 0 to 32")
        for name, most in (("colours", 0.9), ("share", 1), ("ghosts", 0.9), ("noise", 1), ("ragged", 2), ("lost", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise Refused(f"{name} is {getattr(self, name)}; expected 0 to {most}")
        if not 0 < self.blur <= 5:
            raise Refused(f"blur is {self.blur}; expected above 0 to 5")


@dataclass(frozen=True)
class GateSettings:
    """Where actions become doubtful, by what demonstrations do that the network did not learn from.

    Attributes:
        quantile: of the demonstrations' figures that a threshold is drawn from.
        margin: that it is multiplied by: imagined rollouts are not quite as clear as demonstrations.
        beyond: how far an estimate may go beyond the demonstrations' limits, as a share of their range, before it is
            brought back to them.
    """

    quantile: float = 0.95
    margin: float = 1.5
    beyond: float = 0.2

    def __post_init__(self) -> None:
        if not 0.5 <= self.quantile <= 1:
            raise Refused(f"quantile is {self.quantile}; expected 0.5 to 1")
        if not 0.5 <= self.margin <= 10:
            raise Refused(f"margin is {self.margin}; expected 0.5 to 10")
        if not 0 <= self.beyond <= 10:
            raise Refused(f"beyond is {self.beyond}; expected 0 to 10")


@dataclass(frozen=True)
class LabellerExperiment:
    """Settings of a training.

    Attributes:
        network: see `NetworkSettings`.
        look: see `LookSettings`.
        gate: see `GateSettings`.
        steps: gradient steps.
        batch: stretches of an episode a step; of each all windows are learned from.
        reuse: how often a frame is learned from, on average, until all are made to look imagined anew.
        span: frames of such a stretch, more than a chunk; or the shortest episode's, if that has fewer.
        rate: peak of the cosine learning rate.
        decay: of the weights.
        beta: of the Gaussian likelihood weighed by its variance to this power (beta-NLL): 0 is the likelihood
            itself, 1 gives means as the squared error does.
        state: weight of the loss on the states.
        calibrated: share of the episodes, at least one, that slopes, deviations and gate are set by.
        held_out: share of the episodes, at least one, that is measured on where no dataset for it is given.
        every: steps between two points of the curves.
        seed: of everything random.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    look: LookSettings = field(default_factory=LookSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    steps: int = 1000
    batch: int = 8
    span: int = 8
    reuse: int = 6
    rate: float = 2e-3
    decay: float = 0.05
    beta: float = 0.5
    state: float = 1.0
    calibrated: float = 0.15
    held_out: float = 0.15
    every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("reuse", 1), ("every", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise Refused(f"{name} is {getattr(self, name)}; expected at least {least}")
        if self.span <= self.network.chunk:
            raise Refused(f"span is {self.span}; expected more than the chunk, {self.network.chunk}")
        for name in ("rate", "calibrated", "held_out"):
            if not 0 < getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}; expected above 0 and below 1")
        for name in ("decay", "beta", "state"):
            if not 0 <= getattr(self, name) <= 10:
                raise Refused(f"{name} is {getattr(self, name)}; expected 0 to 10")
