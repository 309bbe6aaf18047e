"""What a rollout's scores mean: whether it is good or doubtful and why, and which of several is the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mask2iv_ros.errors import Refused
from mask2iv_ros.scene import DOUBTFUL, GOOD, Rollout
from mask2iv_ros.scoring.scores import SCORES

MAX_BEST_OF = 64


@dataclass(frozen=True)
class Thresholds:
    """The least that each score of a good rollout is; a checkpoint has its own once it is calibrated.

    Attributes:
        goal_iou: see `scores.score`.
        agreement: see `scores.agreement`.
        smoothness: see `scores.smoothness`.
        permanence: see `scores.permanence`.
    """

    goal_iou: float = 0.5
    agreement: float = 0.5
    smoothness: float = 0.6
    permanence: float = 0.8

    def __post_init__(self) -> None:
        for name in SCORES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise Refused(f"threshold {name} is {value!r}; expected 0 to 1")


def judge(scores: Mapping[str, float], thresholds: Thresholds, frames: int) -> str:
    """Return "good", or "doubtful: " and why; a score that is absent is not held against a rollout.

    Args:
        scores: see `scores.score`.
        thresholds: see `Thresholds`.
        frames: of the rollout.
    """
    gone = round(frames * (1 - scores.get("permanence", 1.0)))
    words = {
        "goal_iou": "the object does not end in the goal",
        "agreement": "the video does not follow its masks",
        "smoothness": "arm or object move in jerks",
        "permanence": f"the object vanishes in {gone} of {frames} frames",
    }
    reasons = [
        f"{words[name]} ({name} {scores[name]:.3f} is below {getattr(thresholds, name):.3f})"
        for name in SCORES
        if name in scores and scores[name] < getattr(thresholds, name)
    ]
    return f"{DOUBTFUL}: {'; '.join(reasons)}" if reasons else GOOD


def total(scores: Mapping[str, float]) -> float:
    """Return one figure to choose by, the mean of the scores that are there; 0 if none is."""
    return sum(scores.values()) / len(scores) if scores else 0.0


class BestOf:
    """Takes rollouts one after another and gives the best of every `count`.

    A good one is better than a doubtful one; then `total` decides, and of equals the first is kept. Holds
    one rollout at a time.
    """

    def __init__(self, count: int):
        """Choose among `count`.

        Raises:
            Refused: it is not from 1 to `MAX_BEST_OF`.
        """
        if not 1 <= count <= MAX_BEST_OF:
            raise Refused(f"best_of is {count}; expected 1 to {MAX_BEST_OF}")
        self.count = count
        self._best: Rollout | None = None
        self._taken = 0

    def offer(self, rollout: Rollout) -> Rollout | None:
        """Take a rollout; return the best once `count` are taken, None before."""
        if self._best is None or _rank(rollout) > _rank(self._best):
            self._best = rollout
        self._taken += 1
        if self._taken < self.count:
            return None
        best, self._best, self._taken = self._best, None, 0
        return best


def _rank(rollout: Rollout) -> tuple[bool, float]:
    return rollout.verdict == GOOD, total(rollout.scores)
