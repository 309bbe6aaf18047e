"""Which estimated actions are doubtful: by what demonstrations look like that the network did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from mask2iv_ros.actions.motion import Motion
from mask2iv_ros.actions.settings import GateSettings
from mask2iv_ros.errors import Refused
from mask2iv_ros.scene import DOUBTFUL, GOOD

FIGURES = ("uncertainty", "jerk", "excess", "disagreement")


@dataclass(frozen=True)
class Limits:
    """The most that each figure of good actions is.

    Attributes:
        uncertainty: mean deviation of the actions, in deviations of the demonstrations.
        jerk: root of the mean square of the second difference from frame to frame, in the same.
        excess: how far the actions go beyond the demonstrations' limits, as a share of their range.
        disagreement: pixels between where the arm is and where the actions take it; None where no demonstration
            shows an arm.
    """

    uncertainty: float
    jerk: float
    excess: float
    disagreement: float | None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            absent = value is None and name == "disagreement"
            # What compares with nothing, as NaN does, would let everything pass.
            if not absent and (not isinstance(value, int | float) or not 0 <= value < float("inf")):
                raise Refused(f"the limit of {name} is {str(value)[:80]}; expected a finite number from 0 on")


@dataclass(frozen=True)
class Gate:
    """Judges estimated actions.

    Attributes:
        limits: see `Limits`.
        low: the demonstrations' least action, normalised.
        high: their greatest.
        motion: what takes the arm where; None where no demonstration shows an arm.
    """

    limits: Limits
    low: Float32[np.ndarray, "m"]
    high: Float32[np.ndarray, "m"]
    motion: Motion | None

    def figures(
        self,
        action: Float32[np.ndarray, "t m"],
        deviation: Float32[np.ndarray, "t m"],
        labels: UInt8[np.ndarray, "t h w"],
    ) -> dict[str, float]:
        """Return what a verdict is drawn from, by the names of `FIGURES`; without what cannot be told.

        Args:
            action: normalised; constant columns are 0.
            deviation: of it, normalised.
            labels: of the frames.
        """
        return _figures(action, deviation, labels, self.low, self.high, self.motion)

    def judge(self, figures: Mapping[str, float]) -> str:
        """Return "good", or "doubtful: " and why."""
        words = {
            "uncertainty": "the actions are uncertain",
            "jerk": "the actions jerk",
            "excess": "the actions leave the demonstrations' limits",
            "disagreement": "the arm is not where the actions take it",
        }
        limits = vars(self.limits)
        reasons = [
            f"{words[name]} ({name} {figures[name]:.3f} is above {limits[name]:.3f})"
            for name in FIGURES
            if name in figures and limits[name] is not None and figures[name] > limits[name]
        ]
        if self.motion is not None and "disagreement" not in figures:
            reasons.append("no arm is seen that the actions could move")
        return f"{DOUBTFUL}: {'; '.join(reasons)}" if reasons else GOOD


def make_gate(
    settings: GateSettings,
    learned: Sequence[tuple[Float32[np.ndarray, "t m"], UInt8[np.ndarray, "t h w"]]],
    unseen: Sequence[tuple[Float32[np.ndarray, "t m"], Float32[np.ndarray, "t m"], UInt8[np.ndarray, "t h w"]]],
) -> Gate:
    """Return the gate that demonstrations set.

    Args:
        settings: see `GateSettings`.
        learned: recorded actions, normalised, and labels of the episodes that the network learned from.
        unseen: estimated actions and deviations, normalised, and labels of others.
    """
    low, high = (side([side(action, axis=0) for action, _ in learned], axis=0) for side in (np.min, np.max))
    motion = Motion.fit([action for action, _ in learned], [labels for _, labels in learned])
    rows = [_figures(*one, low, high, motion) for one in unseen]
    told = {name: [row[name] for row in rows if name in row] for name in FIGURES}
    # Recorded actions jerk, too: what is told from few unseen episodes is not to be less than that.
    told["jerk"] += [_jerk(action) for action, _ in learned]
    most = {
        name: settings.margin * float(np.quantile(values, settings.quantile)) if values else None
        for name, values in told.items()
    }
    most["excess"] = settings.beyond
    return Gate(Limits(**most), low, high, motion)


def _figures(
    action: np.ndarray,
    deviation: np.ndarray,
    labels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    motion: Motion | None,
) -> dict[str, float]:
    varies = high > low
    room = np.where(varies, high - low, 1)
    beyond = np.maximum(np.maximum(low - action, action - high), 0) / room
    figures = {
        "uncertainty": float(deviation[:, varies].mean()),
        "jerk": _jerk(action),
        "excess": float(beyond[:, varies].max()),
    }
    apart = motion.disagreement(action, labels) if motion is not None else float("nan")
    return figures if np.isnan(apart) else figures | {"disagreement": apart}


def _jerk(action: np.ndarray) -> float:
    second = np.diff(action, 2, axis=0)
    return float(np.sqrt((second**2).mean())) if second.size else 0.0
