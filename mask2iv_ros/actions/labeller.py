"""A trained labeller: a folder with config.json, weights.safetensors and a model card, and what it says of rollouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mask2iv_ros.actions.estimate import Answers, estimate
from mask2iv_ros.actions.gate import Gate, Limits
from mask2iv_ros.actions.motion import Motion
from mask2iv_ros.actions.network import ActionNetwork
from mask2iv_ros.actions.scale import Scale
from mask2iv_ros.actions.settings import NetworkSettings
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import Estimate, ExportSettings, RobotColumns
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.scene import Rollout

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "weights.safetensors"
SHIPPED = "default_labeller"  # has seen the stand-in scenes' tasks from many sides
_MOTION = ("centre", "size", "weights")


@dataclass(frozen=True)
class Labeller:
    """Estimates the actions of rollouts, and their states if it was trained to.

    Attributes:
        network: trained, on a device.
        shown: what it sees.
        settings: camera, and names of the columns of state and action, of the demonstrations.
        fps: of the demonstrations.
        size: (height, width) of their frames.
        actions: units of the actions, calibrated.
        states: units of the states, calibrated; None where states are not estimated.
        gate: judges the actions.
        source: "idm:" and 8 hexadecimal digits of the SHA-256 of the folder's configuration and weights.
    """

    network: ActionNetwork
    shown: NetworkSettings
    settings: ExportSettings
    fps: int
    size: tuple[int, int]
    actions: Scale
    states: Scale | None
    gate: Gate
    source: str = "idm:00000000"

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """Load what `save` wrote.

        Args:
            folder: of the labeller, or the name of one that the package carries.
            device: "auto" (the GPU if there is one), "cpu" or "cuda".

        Raises:
            Refused: the folder is no labeller or corrupt, or the device unknown or absent.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise Refused(f"device {device!r} is unknown; accepted are auto, cpu, cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise Refused("device 'cuda' is not there: torch sees no GPU; use auto or cpu")
        chosen = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        folder = _find(folder)
        try:
            told, weights = (folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes()
            config = json.loads(told)
            if config["format"] != FORMAT:
                raise ValueError(f"format {config['format']} and not {FORMAT}")
            if hashlib.sha256(weights).hexdigest() != config["weights_sha256"]:
                raise ValueError(f"{WEIGHTS} is not what {CONFIG} tells the SHA-256 of")
            return cls._build(config, load(weights), chosen, f"idm:{hashlib.sha256(told).hexdigest()[:8]}")
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RuntimeError,
            ArithmeticError,
            SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise Refused(f"labeller {folder} cannot be read ({reason}); it is corrupt: train it again") from error

    @classmethod
    def _build(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device, source: str
    ) -> Self:
        shown = NetworkSettings(**{name: _frozen(value) for name, value in config["network"].items()})
        settings = ExportSettings(**{name: _frozen(value) for name, value in config["dataset"].items()})
        network = ActionNetwork(shown, len(settings.action), len(settings.state))
        network.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
        motion = [tensors[f"motion.{name}"].numpy() for name in _MOTION if f"motion.{name}" in tensors]
        gate = Gate(
            Limits(**config["limits"]),
            np.array(config["low"], np.float32),
            np.array(config["high"], np.float32),
            Motion(*motion) if motion else None,
        )
        scales = [
            None if told is None else Scale(**{name: _frozen(value) for name, value in told.items()})
            for told in (config["actions"], config["states"])
        ]
        size, fps = tuple(config["size"]), config["fps"]
        counts = [None if one is None else len(one.mean) for one in scales]
        if counts[0] != len(settings.action) or counts[1] not in (None, len(settings.state)):
            raise ValueError(f"{len(settings.action)} actions, {len(settings.state)} states and units of {counts}")
        if any(side.shape != (counts[0],) or not np.isfinite(side).all() for side in (gate.low, gate.high)):
            raise ValueError(f"low {config['low']} and high {config['high']} of {counts[0]} actions")
        return cls(network.eval().to(device), shown, settings, fps, size, *scales, gate, source)

    def save(self, folder: Path, about: Mapping[str, Any]) -> Self:
        """Write it into a folder; return it with its `source`.

        Args:
            folder: that exists.
            about: more for config.json: what it was trained on and how.
        """
        motion = self.gate.motion
        tensors = {f"net.{name}": value.contiguous().cpu() for name, value in self.network.state_dict().items()}
        if motion is not None:
            tensors |= {f"motion.{name}": torch.from_numpy(getattr(motion, name)) for name in _MOTION}
        weights = save(tensors)
        config = {
            "format": FORMAT,
            "network": asdict(self.shown),
            "dataset": asdict(self.settings),
            "fps": self.fps,
            "size": self.size,
            "actions": asdict(self.actions),
            "states": None if self.states is None else asdict(self.states),
            "limits": asdict(self.gate.limits),
            "low": self.gate.low.tolist(),
            "high": self.gate.high.tolist(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            **about,
        }
        (folder / WEIGHTS).write_bytes(weights)
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        return type(self).load(folder, self.network.place.device.type)

    def require_same(self, settings: ExportSettings, fps: float, size: tuple[int, int], where: object) -> None:
        """Check that what is to be labelled, or to be trained on with it, is of this labeller's robot and camera.

        Names that `settings` does not have, as rollouts have no action, are not compared.

        Args:
            settings: camera and names of the columns.
            fps: frames per second.
            size: (height, width) of the frames.
            where: what messages call it.

        Raises:
            Refused: something differs; the message names it.
        """
        pairs: dict[str, tuple[object, object]] = {
            "the camera": (settings.camera, self.settings.camera),
            "fps": (fps, self.fps),
            "frames of (height, width)": (tuple(size), self.size),
        }
        for kind, other in self.settings.columns.items():
            if found := settings.columns.get(kind):
                pairs[f"columns of {kind}"] = (found, other)
        for name, (found, wanted) in pairs.items():
            if found != wanted:
                raise Refused(f"{where} has {name} {_words(found)}; labeller {self.source} expects {_words(wanted)}")
        if settings.state and not self.settings.state:
            raise Refused(
                f"{where} has observation.state and labeller {self.source} learned from demonstrations without; "
                "expected the same of both"
            )

    def require_state(self, known: bool, where: object) -> None:
        """Check that states, where the demonstrations have them, are known or can be estimated.

        Raises:
            Refused: they are neither.
        """
        if self.settings.state and not known and self.states is None:
            raise Refused(
                f"{where} has no observation.state and labeller {self.source} does not estimate it; expected a "
                "labeller trained with --state, or the labels would not merge with its demonstrations"
            )

    def _answers(
        self, video: UInt8[np.ndarray, "t h w 3"], labels: UInt8[np.ndarray, "t h w"]
    ) -> tuple[Answers, UInt8[np.ndarray, "t h2 w2"]]:
        """Return the network's answers to a video, normalised, and the labels as it sees them."""
        if len(video) <= self.shown.chunk:
            raise Refused(
                f"a video has {len(video)} frames; expected more than {self.shown.chunk}, the labeller's chunk"
            )
        framing = Framing(video.shape[1:3], self.shown.size)
        frames = np.stack([framing.image(one) for one in video]).transpose(0, 3, 1, 2)
        shown = np.stack([framing.labels(one) for one in labels])
        pictures = torch.from_numpy(np.ascontiguousarray(frames)), torch.from_numpy(shown)
        return estimate(self.network, self.shown, *pictures), shown

    def label(
        self, rollouts: Sequence[Rollout], starts: Sequence[Float32[np.ndarray, "n"] | None]
    ) -> list[RobotColumns]:
        """Return estimated actions of rollouts, states where the labeller estimates them, and a verdict on each.

        Args:
            rollouts: of this labeller's robot and camera (`require_same`).
            starts: the state that was measured in each rollout's first frame, where it was: it then stands there,
                with deviation 0.

        Raises:
            Refused: a rollout has too few frames, or another rate or size, or a start is of another size.
        """
        return [self._label(*one) for one in zip(rollouts, starts, strict=True)]

    def _label(self, rollout: Rollout, start: Float32[np.ndarray, "n"] | None) -> RobotColumns:
        name = f"rollout {rollout.id!r}"
        self.require_same(ExportSettings(self.settings.camera), rollout.fps, rollout.video.shape[1:3], name)
        answers, labels = self._answers(rollout.video, rollout.trajectory.labels)
        action, deviation = self.actions.estimate(answers.action, answers.action_deviation)
        state = state_deviation = None
        if self.states is not None:
            state, state_deviation = self.states.estimate(answers.state, answers.state_deviation)
            if start is not None:
                state[0], state_deviation[0] = self._checked(start, name), 0
        figures = self.gate.figures(self.actions.normalise(action), self.actions.normalise_deviation(deviation), labels)
        made = Estimate(self.source, deviation, state_deviation, self.gate.judge(figures), figures)
        return RobotColumns(state, self.actions.limited(action), made)

    def _checked(self, start: np.ndarray, name: str) -> Float32[np.ndarray, "n"]:
        if np.shape(start) != (len(self.settings.state),) or not np.isfinite(start).all():
            raise Refused(
                f"the start of {name} is {np.asarray(start).tolist()}; expected {len(self.settings.state)} finite "
                f"numbers, {', '.join(self.settings.state)}"
            )
        return np.asarray(start, np.float32)


def _find(name: str | Path) -> Path:
    shipped = Path(str(files("mask2iv_ros") / "weights")) / SHIPPED
    for folder in (Path(name).expanduser(), *([shipped] if str(name) == SHIPPED else [])):
        if (folder / CONFIG).is_file():
            return folder
    raise Refused(f"{name} has no {CONFIG}; expected a labeller that `mask2iv actions train` wrote, or {SHIPPED}")


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
