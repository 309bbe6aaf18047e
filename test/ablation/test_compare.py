from math import isnan

import numpy as np
import pytest

from mask2iv_ros.ablation.compare import Comparison, Row, compare
from mask2iv_ros.ablation.variants import PAPERS, STEPS, VARIANTS
from mask2iv_ros.evaluation.frechet import frechet_distance

SEEDS, CLIPS = 3, 40


def rows(**means: dict[str, float]) -> dict[str, Row]:
    """Rows of these means; clips differ much from each other, rows little from their means."""
    rng = np.random.default_rng(0)
    clips = rng.standard_normal(CLIPS)
    return {
        name: Row({key: mean + clips + 0.05 * rng.standard_normal((SEEDS, CLIPS)) for key, mean in figures.items()})
        for name, figures in means.items()
    }


def step(compared: Comparison, before: str, after: str) -> dict:
    (found,) = (figures for one, figures in compared.steps.items() if (one.before, one.after) == (before, after))
    return found


@pytest.mark.parametrize(
    ("gain", "figure", "verdict"),
    [
        (1.0, "psnr", "agrees"),
        (-1.0, "psnr", "disagrees"),
        (0.0, "psnr", "undecided"),
        (-1.0, "lpips", "agrees"),
        (1.0, "lpips", "disagrees"),
        (1.0, "psnr_foreground", ""),  # the paper does not have it
    ],
)
def test_a_step_is_held_to_the_papers_direction(gain: float, figure: str, verdict: str):
    found = step(
        compare(rows(interactor={figure: 20.0}, concatenated={figure: 20.0 + gain})), "interactor", "concatenated"
    )[figure]
    assert found.verdict == verdict
    assert found.ours[0] == pytest.approx(gain, abs=0.03)
    assert found.ours[1] < found.ours[0] < found.ours[2]
    assert found.paper == {"psnr": 1.52, "lpips": -0.025, "psnr_foreground": None}[figure]


def test_where_the_paper_goes_no_way_nothing_agrees():
    found = step(compare(rows(concatenated={"ssim": 1.0}, no_contact={"ssim": 2.0})), "concatenated", "no_contact")
    assert (found["ssim"].paper, found["ssim"].verdict) == (0.0, "")


def test_only_steps_whose_rows_are_there_are_compared():
    compared = compare(rows(full={"psnr": 1.0}, no_perturbation={"psnr": 2.0}, image_only={"psnr": 0.0}))
    assert [(one.before, one.after) for one in compared.steps] == [("no_perturbation", "full")]
    assert set(compared.to_full) == {"no_perturbation", "image_only"}
    assert compared.to_full["image_only"]["psnr"][0] == pytest.approx(-1.0, abs=0.03)
    assert compared.orders == {}
    assert not compare(rows(interactor={"psnr": 1.0})).to_full


def test_means_and_seeds_are_those_of_the_values():
    told = rows(full={"psnr": 20.0, "lpips": 0.1})
    compared = compare(told)
    values = told["full"].figures["psnr"]
    mean, low, high = compared.means["full"]["psnr"]
    assert mean == pytest.approx(values.mean())
    assert low < mean < high
    assert compared.seeds["full"]["psnr"] == pytest.approx(values.mean(1).tolist())


def test_a_figure_that_some_clips_have_not_is_of_the_others():
    told = rows(full={"psnr_contact": 20.0})
    told["full"].figures["psnr_contact"][:, :10] = np.nan
    mean, low, high = compare(told).means["full"]["psnr_contact"]
    assert mean == pytest.approx(told["full"].figures["psnr_contact"][:, 10:].mean())
    assert low < mean < high
    told["full"].figures["psnr_contact"][:] = np.nan
    assert all(isnan(one) for one in compare(told).means["full"]["psnr_contact"])


def test_the_orders_are_ours_and_the_papers():
    psnr = {name: VARIANTS[name].paper.figures["psnr"] for name in PAPERS}
    same = compare(rows(**{name: {"psnr": value} for name, value in psnr.items()})).orders["psnr"]
    assert list(same.ours) == list(same.paper) == list(PAPERS[::-1])
    assert same.tau == pytest.approx(1)
    turned = compare(rows(**{name: {"psnr": -value} for name, value in psnr.items()})).orders["psnr"]
    assert list(turned.ours) == list(PAPERS)
    assert turned.tau == pytest.approx(-1)
    # Of the lower the better, the lowest comes first.
    lpips = compare(rows(full={"lpips": 0.1}, no_contact={"lpips": 5.0})).orders["lpips"]
    assert (list(lpips.ours), list(lpips.paper)) == (["full", "no_contact"], ["no_contact", "full"])


def test_the_distance_of_sets_joins_the_other_figures():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((CLIPS, 6))
    told = {
        name: Row({"psnr": np.zeros((SEEDS, CLIPS))}, truth + shift + 0.1 * rng.standard_normal((SEEDS, CLIPS, 6)))
        for name, shift in (("interactor", 2.0), ("concatenated", 1.0), ("full", 1.0))
    }
    compared = compare(told, truth, frechet_distance)
    mean, low, high = compared.means["interactor"]["fvd"]
    assert mean == pytest.approx(24, abs=2)  # six features, each 2 off
    assert low < mean < high
    assert compared.seeds["full"]["fvd"] == pytest.approx(
        [frechet_distance(one, truth) for one in told["full"].features]
    )
    found = step(compared, "interactor", "concatenated")["fvd"]
    assert found.verdict == "agrees"
    assert found.paper == pytest.approx(115.14 - 130.07)
    low, high = compared.to_full["concatenated"]["fvd"][1:]
    assert low < 0 < high


def test_steps_are_shown_in_the_papers_order():
    every = compare(rows(**{name: {"psnr": 1.0} for name in VARIANTS}))
    assert tuple(every.steps) == STEPS
