"""How much a rollout's scores say about its true quality, and where good ends and doubtful begins.

Clips are imagined with several seeds each and compared with what truly happened. Quality is the mean of three
figures, each standardised over all rollouts: foreground PSNR, the object's IoU over all frames but the first,
and in the last. Intervals resample clips, not rollouts: those of one clip are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from tqdm import tqdm

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.metrics import foreground, mean_iou, psnr
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.masks import Role
from mask2iv_ros.scene import GOOD, Goal, Scene
from mask2iv_ros.scoring.scores import SCORES
from mask2iv_ros.scoring.verdict import Thresholds, judge, total

KEPT = 0.7  # the least share of rollouts that calibrated thresholds keep
DROPPED = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # the shares that a single threshold may drop
FIGURES = ("psnr_foreground", "iou_object", "iou_object_last")
QUALITY = "quality"
RESAMPLES = 1000

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Judged:
    """A rollout whose truth is known.

    Attributes:
        clip: its name.
        scores: what it says of itself.
        truth: what is true of it, by the names of `FIGURES`.
    """

    clip: str
    scores: Mapping[str, float]
    truth: Mapping[str, float]


@dataclass(frozen=True)
class Trials:
    """Rollouts of clips, as arrays: c clips by s seeds.

    Attributes:
        frames: of a rollout.
        scores: by name.
        truth: by name, those of `FIGURES` and `QUALITY`.
    """

    frames: int
    scores: dict[str, Float[np.ndarray, "c s"]]
    truth: dict[str, Float[np.ndarray, "c s"]]

    @property
    def total(self) -> Float[np.ndarray, "c s"]:
        """The figure that best-of-N chooses by, see `verdict.total`."""
        return self._each(total)

    def good(self, thresholds: Thresholds) -> Bool[np.ndarray, "c s"]:
        """Which rollouts are good by some thresholds."""
        return self._each(lambda scores: judge(scores, thresholds, self.frames) == GOOD)

    def half(self, part: int) -> Trials:
        """Return every other clip, beginning with the first (part 0) or the second (1)."""
        return replace(
            self,
            scores={name: value[part::2] for name, value in self.scores.items()},
            truth={name: value[part::2] for name, value in self.truth.items()},
        )

    def _each(self, answer: Callable[[dict[str, float]], float | bool]) -> np.ndarray:
        shape = next(iter(self.scores.values())).shape
        told = [answer({name: value[place] for name, value in self.scores.items()}) for place in np.ndindex(shape)]
        return np.array(told).reshape(shape)


def imagine_trials(imaginer: Imaginer, clips: Sequence[Clip], seeds: int, seed: int = 0) -> Iterator[Judged]:
    """Imagine every clip with several seeds, counting up from `seed`, and yield each rollout's scores and truth."""
    for index, clip in enumerate(tqdm(clips, desc="imagining", unit="clip", mininterval=5)):
        scene, goal = Scene(clip.video[0], clip.labels[0]), Goal(clip.goal_mask, clip.instruction)
        for number in range(seeds):
            one = imaginer.imagine(scene, goal, seed=seed + index * seeds + number, rollout_id=clip.id)
            labels = one.trajectory.labels
            truth = {
                "psnr_foreground": psnr(one.video[1:], clip.video[1:], foreground(clip.labels)[1:]),
                "iou_object": mean_iou(labels[1:], clip.labels[1:], Role.OBJECT),
                "iou_object_last": mean_iou(labels[-1:], clip.labels[-1:], Role.OBJECT),
            }
            yield Judged(clip.id, one.scores, truth)


def gather_trials(judged: Sequence[Judged], frames: int) -> Trials:
    """Return rollouts as arrays; a score or figure that one of them lacks is left out of all.

    Raises:
        Refused: clips have different numbers of rollouts, or fewer than four clips are there.
    """
    names = list(dict.fromkeys(one.clip for one in judged))
    rows = [[one for one in judged if one.clip == name] for name in names]
    if len({len(row) for row in rows}) != 1 or len(rows) < 4:
        raise Refused(f"there are rollouts of {len(rows)} clips; expected at least 4, with equally many each")
    scores, truth = (
        {
            name: np.array([[getattr(one, kind)[name] for one in row] for row in rows], np.float64)
            for name in wanted
            if all(name in getattr(one, kind) for one in judged)
        }
        for kind, wanted in (("scores", SCORES), ("truth", FIGURES))
    )
    # A last frame whose object is truly hidden has no IoU: such clips say nothing by that figure.
    standard = [(value - np.nanmean(value)) / (np.nanstd(value) or 1.0) for value in truth.values()]
    return Trials(frames, scores, truth | {QUALITY: np.nanmean(standard, axis=0)})


def choose_thresholds(trials: Trials) -> Thresholds:
    """Return the thresholds whose good rollouts have the best mean quality.

    Of every score those values are tried that alone would drop a share of `DROPPED`; of all their combinations
    that keep at least `KEPT` of the rollouts, the best. A score that is absent keeps its default.
    """
    quality = trials.truth[QUALITY]
    # Rounded down, so that what is written is what was chosen and nothing on the edge falls.
    tried = {
        name: np.unique(np.floor(1000 * np.quantile(value, DROPPED)) / 1000) for name, value in trials.scores.items()
    }
    passed = {name: [trials.scores[name] >= least for least in values] for name, values in tried.items()}
    best, chosen = -np.inf, ()
    for places in product(*(range(len(values)) for values in tried.values())):
        kept = np.logical_and.reduce([passed[name][place] for name, place in zip(tried, places, strict=True)])
        if kept.mean() >= KEPT and quality[kept].mean() > best:
            best, chosen = quality[kept].mean(), places
    values = {name: float(tried[name][place]) for name, place in zip(tried, chosen, strict=True)}
    return Thresholds(**values)


def across_halves(trials: Trials) -> tuple[Trials, Bool[np.ndarray, "c s"]]:
    """Return all clips, half after half, and which rollouts are good by the thresholds chosen on the other half."""
    halves = [trials.half(part) for part in (0, 1)]
    good = [one.good(choose_thresholds(other)) for one, other in zip(halves, halves[::-1], strict=True)]
    scores, truth = (
        {name: np.concatenate([getattr(one, kind)[name] for one in halves]) for name in getattr(trials, kind)}
        for kind in ("scores", "truth")
    )
    return Trials(trials.frames, scores, truth), np.concatenate(good)


def good_and_doubtful(trials: Trials, good: Bool[np.ndarray, "c s"]) -> dict[str, dict[str, Interval]]:
    """Return by figure the mean of the good, of the doubtful, and of the good less the doubtful."""

    def mean(value: np.ndarray, chosen: np.ndarray) -> float:
        return float(np.nanmean(value[chosen])) if chosen.any() else float("nan")

    return {
        name: {
            "good": _interval(lambda rows, of=value: mean(of[rows], good[rows]), len(value)),
            "doubtful": _interval(lambda rows, of=value: mean(of[rows], ~good[rows]), len(value)),
            "apart": _interval(
                lambda rows, of=value: mean(of[rows], good[rows]) - mean(of[rows], ~good[rows]), len(value)
            ),
        }
        for name, value in trials.truth.items()
    }


def best_of(trials: Trials, good: Bool[np.ndarray, "c s"]) -> dict[str, dict[str, Interval]]:
    """Return by figure the mean of one rollout a clip, of the best of all its seeds, and what that gains.

    "by scores" is the choice of `verdict.BestOf`; "by truth" the one by quality itself, the most that any
    scores could give.
    """
    # A total is at most 1, so a good one is before all doubtful ones.
    choices = {"by scores": (trials.total + good).argmax(1), "by truth": trials.truth[QUALITY].argmax(1)}
    table = {}
    for name, value in trials.truth.items():
        columns = {"one": value} | {
            choice: np.take_along_axis(value, place[:, None], 1) for choice, place in choices.items()
        }
        table[name] = {
            column: _interval(lambda rows, of=found: float(np.nanmean(of[rows])), len(value))
            for column, found in columns.items()
        }
        gained = columns["by scores"] - value
        table[name]["gain"] = _interval(lambda rows, of=gained: float(np.nanmean(of[rows])), len(value))
    return table


def correlations(trials: Trials) -> dict[str, dict[str, Interval]]:
    """Return Spearman's rank correlation of every score, and of the total, with quality.

    "all" is over all rollouts; "within clips" over what is left when every clip's mean is taken away: what a
    score says about the seeds of one scene, which is what choosing among them needs. NaN where a score is constant.
    """
    quality = trials.truth[QUALITY]
    table = {}
    for name, value in (trials.scores | {"total": trials.total}).items():
        apart = [one - one.mean(1, keepdims=True) for one in (value, quality)]
        pairs = {"all": (value, quality), "within clips": apart}
        table[name] = {
            kind: _interval(lambda rows, of=pair: _rank_correlation(*(one[rows] for one in of)), len(value))
            for kind, pair in pairs.items()
        }
    return table


def _rank_correlation(one: Float[np.ndarray, "c s"], other: Float[np.ndarray, "c s"]) -> float:
    if np.ptp(one) < 1e-9 or np.ptp(other) < 1e-9:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _interval(statistic: Callable[[Int[np.ndarray, "c"]], float], clips: int) -> Interval:
    """Return a statistic of all clips and its 95 % percentile bootstrap interval over clips."""
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.integers(clips, size=clips)) for _ in range(RESAMPLES)]
    # A resample may hold no doubtful rollout at all.
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if not np.isnan(drawn).all() else (np.nan, np.nan)
    return statistic(np.arange(clips)), float(low), float(high)
