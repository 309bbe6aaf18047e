from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest

from mask2iv_ros.ablation.variants import PAPERS, STEPS, VARIANTS, Variant, require_full, require_variants
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.training.contact import RegionWeights
from mask2iv_ros.training.experiment import Experiment, Network, Perturbation, read_experiment

PARTS = ("masks", "branch", "perturbed", "contact")


def parts(name: str) -> dict[str, object]:
    return {part: getattr(VARIANTS[name], part) for part in PARTS}


def apart(one: str, other: str) -> set[str]:
    return {part for part in PARTS if parts(one)[part] != parts(other)[part]}


def test_neighbours_of_the_papers_table_differ_in_the_part_that_it_adds():
    assert [VARIANTS[name].paper.title for name in PAPERS] == [
        "ControlNet",
        "mask latent",
        "+ object mask",
        "+ random dilate/erode",
        "+ contact loss",
    ]
    assert [apart(*pair) for pair in pairwise(PAPERS)] == [{"branch"}, {"masks"}, {"perturbed"}, {"contact"}]
    assert [(step.before, step.after) for step in STEPS[1:5]] == list(pairwise(PAPERS))


def test_every_step_is_of_one_part():
    assert all(len(apart(step.before, step.after)) == 1 for step in STEPS)
    assert {name for step in STEPS for name in (step.before, step.after)} == set(VARIANTS)


def test_the_full_row_is_the_experiment_and_rows_change_nothing_but_their_parts(full: Experiment):
    assert VARIANTS["full"].experiment(full, 0) == full
    told = {"masks", "network", "perturbation", "weights", "seed"}
    for name, variant in VARIANTS.items():
        asked = variant.experiment(full, 7)
        assert asked.seed == 7
        for one in fields(Experiment):
            assert one.name in told or getattr(asked, one.name) == getattr(full, one.name), (name, one.name)
        assert replace(asked.network, branch=False) == full.network
    assert VARIANTS["controlnet"].experiment(full, 0).network.branch
    assert VARIANTS["image_only"].experiment(full, 0).masks == "none"
    assert VARIANTS["no_perturbation"].experiment(full, 0).perturbation is None


def test_without_contact_loss_contact_weighs_what_it_weighs_otherwise(full: Experiment):
    assert VARIANTS["no_contact"].experiment(full, 0).weights == RegionWeights(interactor=0, object=0, contact=1)
    own = replace(full, weights=RegionWeights(interactor=1, object=2, contact=5))
    assert VARIANTS["no_contact"].experiment(own, 0).weights == RegionWeights(interactor=1, object=2, contact=1)


def test_the_shipped_experiment_has_the_papers_loss_and_perturbation():
    asked = read_experiment(Path(__file__).parents[2] / "config" / "experiments" / "ablation_stage2.yaml")
    require_full(asked)
    assert asked.weights == RegionWeights(interactor=0, object=0, contact=5)
    assert asked.perturbation.share == 0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": None}, "network None; expected stage video, both masks and a network without a branch"),
        ({"network": Network(branch=True)}, "network without a branch"),
        ({"network": Network(gates=2)}, "network.gates is 2; expected 0"),
        ({"masks": "interactor"}, "masks 'interactor'"),
        ({"perturbation": None}, "perturbation None and contact 5; expected a share above 0"),
        ({"perturbation": Perturbation(share=0.0)}, "share above 0"),
        ({"perturbation": Perturbation(sampled=0.5)}, "perturbation.sampled is 0.5; expected 0"),
        ({"weights": RegionWeights(contact=1)}, "contact 1; expected a share above 0 and contact above 1"),
        ({"sampling": Sampling(guidance=2.0)}, "sampling.guidance is 2; expected 1"),
    ],
)
def test_an_experiment_that_has_not_all_parts_is_refused(full: Experiment, change: dict, words: str):
    with pytest.raises(Refused, match=words):
        require_full(replace(full, **change))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("full", "half"), "variant 'half' is unknown; accepted are image_only, controlnet,"),
        (("full", "full"), "variants are full, full; expected one or more, each once"),
        ((), "variants are none"),
    ],
)
def test_unknown_rows_are_refused(names: tuple[str, ...], words: str):
    with pytest.raises(Refused, match=words):
        require_variants(names)


def test_a_row_of_no_table_of_the_paper_has_no_figures():
    assert {name for name, one in VARIANTS.items() if one.paper is None} == {"controlnet_both", "no_perturbation"}
    assert Variant("own").paper is None
