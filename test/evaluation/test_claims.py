from dataclasses import replace

import numpy as np
import pytest

from mask2iv_ros.data.clips import Clip
from mask2iv_ros.evaluation.claims import Claim, claims
from mask2iv_ros.evaluation.frechet import Distance
from mask2iv_ros.evaluation.measure import CHAINED, GUIDED, Measured
from mask2iv_ros.scene import Goal, Rollout, Scene, Trajectory

BY_MASKS, BY_GOAL = "nearest training clip, by true masks", "nearest training clip, by goal"
STILL, MOVED = "repeat first frame", "paste and move, by true masks"
NOT = "not measured: weights missing"


@pytest.fixture
def measured(clip: Clip) -> list[Measured]:
    """Thirty clips on which ours is ahead of every baseline by what the claims below say, give or take."""
    random, found = np.random.default_rng(0), []
    rollout = Rollout(
        "one",
        Scene(clip.video[0], clip.labels[0]),
        Goal(clip.goal_mask),
        Trajectory(clip.labels),
        clip.video,
        8.0,
        0,
        "x",
    )
    for _ in range(30):
        level, off = random.normal(20, 5), random.normal(0, 0.1, 6)
        frames = {
            GUIDED: (level + 3 + off[0], 0.1 + off[1] / 100),
            CHAINED: (level + 1 + off[2], 0.2),
            STILL: (level - 4 + off[3], 0.4 + off[4] / 10),
            BY_MASKS: (level, 0.3),
            BY_GOAL: (level - 1, 0.3),
            MOVED: (level + 0.5, 0.3),
        }
        figures = {
            name: {"psnr_foreground": value, "psnr_contact": value + 1, "lpips": lpips}
            for name, (value, lpips) in frames.items()
        }
        figures["stage 1"] = {"iou_object": 0.7, "iou_object_last": 0.66, "iou_interactor": 0.8 + off[5] / 10}
        figures[BY_GOAL] |= {"iou_object": 0.6}
        found.append(Measured(clip, rollout, rollout, figures, {}, {}))
    return found


def named(found: list[Claim], *parts: str) -> Claim:
    (one,) = [claim for claim in found if all(part in claim.text for part in parts)]
    return one


def distance(value: float, seed: int, of: Distance | None = None) -> Distance:
    drawn = np.random.default_rng(seed).normal(0, 5, 200)
    return Distance(value, value + drawn + (0 if of is None else of.resampled - of.value), 30)


def test_differences_are_of_the_same_clip(measured: list[Measured]):
    found = claims(measured, {}, {"fvd": NOT})
    mean, low, high = named(found, "foreground", GUIDED, BY_MASKS).value
    assert low < 3 < high
    # The level differs by 5 dB from clip to clip; the difference only by a tenth.
    assert high - low < 0.2
    assert mean == pytest.approx(3, abs=0.1)
    assert named(found, "foreground", CHAINED, STILL).value[0] == pytest.approx(5, abs=0.1)
    assert named(found, "object IoU over all frames").value == pytest.approx((0.1, 0.1, 0.1))
    assert named(found, "object IoU in the last frame").value[0] == pytest.approx(0.66)
    assert named(found, "arm IoU").value[0] == pytest.approx(0.8, abs=0.01)
    assert named(found, "arm IoU").clips == 30


def test_lpips_is_compared_by_the_ratio_of_means(measured: list[Measured]):
    ratio, low, high = named(claims(measured, {}, {"fvd": NOT}), "LPIPS").value
    ours, still = (np.mean([one.figures[method]["lpips"] for one in measured]) for method in (GUIDED, STILL))
    assert ratio == pytest.approx(ours / still)
    assert low < ratio < high
    assert high - low < 0.02


def test_clips_without_a_figure_are_left_out(measured: list[Measured]):
    for one in measured[:12]:
        one.figures[GUIDED]["psnr_contact"] = float("nan")
    assert named(claims(measured, {}, {"fvd": NOT}), "contact").clips == 18


def test_fvds_are_compared_by_the_same_draws(measured: list[Measured]):
    ours = distance(100, 0)
    others = {
        STILL: distance(300, 1, ours),
        MOVED: distance(140, 2, ours),
        BY_GOAL: distance(101, 3, ours),
        BY_MASKS: NOT,
    }
    found = claims(measured, {CHAINED: ours, **others}, {})
    value, low, high = named(found, "FVD", STILL).value
    assert value == -200
    assert low < -200 < high < -180
    assert high - low == pytest.approx(2 * 1.96 * 5, rel=0.2)
    assert named(found, "FVD", BY_GOAL).value[1] < 0 < named(found, "FVD", BY_GOAL).value[2]
    assert named(found, "FVD", BY_MASKS).value == NOT


def test_what_is_missing_is_said(measured: list[Measured]):
    bare = [replace(one, figures={name: dict(row) for name, row in one.figures.items()}) for one in measured]
    for one in bare:
        for row in one.figures.values():
            row.pop("lpips", None)
    found = claims(bare, {}, {"lpips": NOT, "fvd": NOT})
    assert named(found, "LPIPS").value == NOT
    assert [one.value for one in found if one.text.startswith("FVD")] == [NOT] * 4


def test_one_clip_has_no_interval_and_no_ratio(measured: list[Measured]):
    found = claims(measured[:1], {}, {"fvd": NOT})
    mean, low, high = named(found, "foreground", GUIDED, BY_MASKS).value
    assert mean == low == high
    assert named(found, "LPIPS").value.startswith("not measured: expected two clips")
