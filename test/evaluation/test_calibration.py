from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.calibration import (
    FIGURES,
    KEPT,
    QUALITY,
    Judged,
    Trials,
    across_halves,
    best_of,
    choose_thresholds,
    correlations,
    gather_trials,
    good_and_doubtful,
    imagine_trials,
)
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.scoring.verdict import Thresholds

CLIPS, SEEDS = 30, 4


@pytest.fixture
def trials() -> Trials:
    """Rollouts whose agreement tells their quality, roughly, and whose smoothness tells nothing."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(CLIPS, SEEDS))
    scores = {
        "goal_iou": rng.uniform(0.5, 0.9, quality.shape),
        "agreement": np.clip(0.5 + 0.1 * quality + 0.02 * rng.normal(size=quality.shape), 0, 1),
        "smoothness": np.full(quality.shape, 0.7),
    }
    truth = {"psnr_foreground": 16 + 2 * quality, QUALITY: quality}
    return Trials(16, scores, truth)


def test_the_score_that_tells_quality_gets_the_threshold(trials: Trials):
    chosen = choose_thresholds(trials)
    good = trials.good(chosen)
    assert KEPT <= good.mean() < 0.75
    assert (trials.scores["agreement"] >= chosen.agreement).mean() < 0.8
    assert chosen.smoothness <= 0.7
    assert chosen.permanence == Thresholds().permanence  # absent: its default
    random = np.random.default_rng(1).random(good.shape) < 0.7
    assert trials.truth[QUALITY][good].mean() > trials.truth[QUALITY][random].mean() + 0.3


def test_good_ones_are_better_by_what_the_table_says(trials: Trials):
    good = trials.good(choose_thresholds(trials))
    table = good_and_doubtful(trials, good)["psnr_foreground"]
    value = trials.truth["psnr_foreground"]
    assert table["good"][0] == pytest.approx(value[good].mean())
    assert table["doubtful"][0] == pytest.approx(value[~good].mean())
    mean, low, high = table["apart"]
    assert mean == pytest.approx(table["good"][0] - table["doubtful"][0])
    assert 0 < low < mean < high
    all_good = good_and_doubtful(trials, np.ones_like(good))["psnr_foreground"]
    assert np.isnan(all_good["doubtful"][0])


def test_thresholds_of_one_half_are_tried_on_the_other(trials: Trials):
    crossed, good = across_halves(trials)
    assert crossed.truth[QUALITY].shape == good.shape == (CLIPS, SEEDS)
    np.testing.assert_array_equal(crossed.truth[QUALITY][: CLIPS // 2], trials.truth[QUALITY][::2])
    other = choose_thresholds(trials.half(1))
    np.testing.assert_array_equal(good[: CLIPS // 2], trials.half(0).good(other))


def test_the_best_by_scores_is_between_one_and_the_best_by_truth(trials: Trials):
    table = best_of(trials, np.ones((CLIPS, SEEDS), bool))[QUALITY]
    value = trials.truth[QUALITY]
    assert table["one"][0] == pytest.approx(value.mean())
    assert table["by truth"][0] == pytest.approx(value.max(1).mean())
    assert table["one"][0] < table["by scores"][0] < table["by truth"][0]
    mean, low, _ = table["gain"]
    assert mean == pytest.approx(table["by scores"][0] - table["one"][0])
    assert low > 0


def test_a_good_one_is_taken_before_a_doubtful_one_with_a_higher_total(trials: Trials):
    worst = trials.total.argmin(1)
    good = np.zeros((CLIPS, SEEDS), bool)
    good[np.arange(CLIPS), worst] = True
    picked = trials.truth[QUALITY][np.arange(CLIPS), worst]
    assert best_of(trials, good)[QUALITY]["by scores"][0] == pytest.approx(picked.mean())


def test_rank_correlations_say_which_score_tells_what(trials: Trials):
    table = correlations(trials)
    assert table["agreement"]["all"][0] > 0.9
    assert table["agreement"]["within clips"][1] > 0.8
    assert abs(table["goal_iou"]["all"][0]) < 0.3
    assert np.isnan(table["smoothness"]["all"]).all()
    # A score that tells clips apart and no seeds of one clip.
    per_clip = np.repeat(trials.truth[QUALITY].mean(1, keepdims=True), SEEDS, 1)
    told = correlations(replace(trials, scores={"goal_iou": per_clip}))["goal_iou"]
    assert told["all"][0] > 0.3
    assert np.isnan(told["within clips"][0])


def test_rollouts_become_arrays_of_what_all_of_them_have():
    def one(clip: int, seed: int, **more: float) -> Judged:
        truth = dict.fromkeys(FIGURES, float(clip + seed)) | ({"iou_object_last": np.nan} if clip == 3 else {})
        return Judged(f"push-{clip}", {"permanence": 0.1 * clip} | more, truth)

    judged = [one(clip, seed, **({} if clip == 2 else {"goal_iou": 0.5})) for clip in range(4) for seed in range(2)]
    trials = gather_trials(judged, 16)
    assert set(trials.scores) == {"permanence"}
    assert trials.truth["psnr_foreground"].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    quality = trials.truth[QUALITY]
    assert not np.isnan(quality).any()
    assert (np.diff(quality, axis=1) > 0).all()
    assert quality[0, 1] == pytest.approx(quality[1, 0])
    with pytest.raises(Refused, match="rollouts of 3 clips; expected at least 4, with equally many each"):
        gather_trials(judged[:6], 16)
    with pytest.raises(Refused, match="with equally many each"):
        gather_trials(judged[:7], 16)


def test_clips_are_imagined_with_several_seeds(tmp_path: Path):
    imaginer = Imaginer.load(write_tiny_checkpoint(tmp_path / "tiny", segmenter=True), "cpu")
    clips = [tiny_clip(seed) for seed in (0, 1)]
    judged = list(imagine_trials(imaginer, clips, 2, seed=5))
    assert [one.clip for one in judged] == ["slide-0", "slide-0", "slide-1", "slide-1"]
    assert all(set(one.scores) == {"goal_iou", "agreement", "smoothness", "permanence"} for one in judged)
    assert all(set(one.truth) == set(FIGURES) for one in judged)
    assert judged[0].truth != judged[1].truth
    assert list(imagine_trials(imaginer, clips[1:], 1, seed=7)) == [judged[2]]
