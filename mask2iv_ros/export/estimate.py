"""Where actions come from that no robot was told: who estimated them, how sure, and what is to be thought of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float32

from mask2iv_ros.errors import Refused
from mask2iv_ros.scene import DOUBTFUL, GOOD

_DIGITS = 4  # significant, of a deviation in a dataset


@dataclass(frozen=True)
class Estimate:
    """What is known of an episode's estimated actions, and of its states where they are estimated, too.

    Attributes:
        source: who estimated, "idm:" and 8 hexadecimal digits of the labeller's hash.
        action_deviation: expected error (one standard deviation) of every action, in its units.
        state_deviation: of every state; None where the states were measured, or there are none.
        verdict: "good", or "doubtful: " and why.
        figures: what the verdict was drawn from, by name.
    """

    source: str
    action_deviation: Float32[np.ndarray, "t m"]
    state_deviation: Float32[np.ndarray, "t n"] | None = None
    verdict: str = GOOD
    figures: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+:[0-9a-f]{8}", self.source):
            raise Refused(f"source of actions is {self.source[:80]!r}; expected a kind and a hash such as idm:01ab23cd")
        if not re.fullmatch(rf"{GOOD}|{DOUBTFUL}: \S.*", self.verdict):
            raise Refused(f"verdict on actions is {self.verdict[:80]!r}; expected {GOOD!r}, or '{DOUBTFUL}: ' and why")
        for name, values in (("action", self.action_deviation), ("state", self.state_deviation)):
            if values is not None and not (np.isfinite(values).all() and (values >= 0).all()):
                raise Refused(f"deviations of {name} are not all finite and at least 0; expected such")

    def told(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return {
            "source": self.source,
            "action_deviation": _rounded(self.action_deviation),
            "state_deviation": None if self.state_deviation is None else _rounded(self.state_deviation),
            "verdict": self.verdict,
            "figures": {name: float(value) for name, value in (self.figures or {}).items()},
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Return what `told` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, OverflowError: it is something else.
        """
        state = told["state_deviation"]
        return cls(
            told["source"],
            np.array(told["action_deviation"], np.float32),
            None if state is None else np.array(state, np.float32),
            told["verdict"],
            {name: float(value) for name, value in told["figures"].items()},
        )


def _rounded(values: Float32[np.ndarray, "t n"]) -> list[list[float]]:
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in values.tolist()]
