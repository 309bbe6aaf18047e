import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.ablation.compare import Row, compare
from mask2iv_ros.ablation.measure import Results, held_out_clips
from mask2iv_ros.ablation.plan import Ablation
from mask2iv_ros.ablation.report import in_words, write_reports
from mask2iv_ros.ablation.variants import VARIANTS
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.frechet import frechet_distance

SEEDS = 2


@pytest.fixture
def results(data: Path) -> Results:
    """Rows as good as the paper's, but for SSIM, which goes the other way, and contact PSNR, which no clip has."""
    clips, rng = held_out_clips(data, None, (16, 24)), np.random.default_rng(0)
    rows = {}
    for name, variant in VARIANTS.items():
        paper = variant.paper.figures if variant.paper else VARIANTS["full"].paper.figures
        shape = (SEEDS, len(clips))
        rows[name] = Row(
            {
                "psnr": paper["psnr"] + 1e-3 * rng.standard_normal(shape),
                "ssim": -paper["ssim"] + 1e-5 * rng.standard_normal(shape),
                "psnr_contact": np.full(shape, np.nan),
            },
            paper["fvd"] ** 0.5 + rng.standard_normal((*shape, 1)),
        )
    truth = rng.standard_normal((len(clips), 1))
    videos = {name: np.stack([clips[0].video]) for name in VARIANTS}
    return Results(clips, rows, truth, {"lpips": "not measured: weights missing"}, [0], videos)


def test_a_report_tells_rows_steps_and_order(plan: Callable[..., Ablation], results: Results):
    asked = plan(seeds=SEEDS)
    asked.out.mkdir()
    comparison = compare(results.rows, results.truth, frechet_distance)
    page = write_reports(asked, results, comparison).read_text()
    words = in_words(asked, results, comparison)
    told = json.loads((asked.out / "ablation.json").read_text())

    assert list(told["figures"]) == list(VARIANTS)
    assert told["figures"]["full"]["psnr"]["mean"][0] == pytest.approx(24.37, abs=0.01)
    assert told["figures"]["full"]["psnr_contact"]["mean"] == [None] * 3
    assert told["paper"]["interactor"] == {
        "title": "mask latent",
        "fvd": 130.07,
        "lpips": 0.157,
        "psnr": 22.33,
        "ssim": 0.76,
    }
    assert "controlnet_both" not in told["paper"]
    step = next(one for one in told["steps"] if one["before"] == "interactor" and one["after"] == "concatenated")
    assert step["psnr"]["verdict"] == "agrees"
    assert step["ssim"]["verdict"] == "disagrees"
    assert step["psnr_contact"] == {"ours": [None] * 3, "paper": None, "verdict": None}
    assert told["orders"]["psnr"]["tau"] == pytest.approx(1)
    # Two of the paper's rows have one SSIM, which no order of ours can share.
    assert -1 < told["orders"]["ssim"]["tau"] < -0.9
    assert told["about"]["experiment"] == json.loads(json.dumps(asked.experiment.as_dict()))

    assert re.search(r"object's mask \(interactor -> concatenated\)\n.*psnr  .*paper 1.520: agrees", words)
    assert re.search(r"ssim  .*paper 0.0420: disagrees", words)
    assert "order by psnr, best first: full, no_contact, concatenated, interactor, controlnet\n" in words
    assert "lpips: not measured: weights missing" in words
    assert "Agrees with the paper: interactor&#39;s mask by PSNR" in page
    assert 'class="bad' in page
    assert (asked.out / "sheets" / "00.png").exists()
    assert "sheets/00.png" in page


def test_rows_without_the_full_one_are_reported(plan: Callable[..., Ablation], results: Results):
    names = ("controlnet", "interactor")
    asked = plan(variants=names, seeds=SEEDS)
    asked.out.mkdir()
    some = replace(results, rows={name: results.rows[name] for name in names})
    page = write_reports(asked, some, compare(some.rows, some.truth, frechet_distance)).read_text()
    assert "The full row was not trained." in page
    assert "mask latent" in page


def test_a_folder_that_cannot_be_written_is_refused(plan: Callable[..., Ablation], results: Results):
    asked = plan(seeds=SEEDS)
    asked.out.write_text("a file")
    with pytest.raises(Refused, match="cannot be written: Not a directory"):
        write_reports(asked, results, compare(results.rows, results.truth, frechet_distance))
