from collections.abc import Callable
from pathlib import Path

import pytest

from mask2iv_ros.actions.settings import LabellerExperiment
from mask2iv_ros.errors import Refused
from mask2iv_ros.training.autoencoder import AutoencoderExperiment
from mask2iv_ros.training.contact import RegionWeights
from mask2iv_ros.training.experiment import Data, Experiment, Network, Optimiser, Perturbation, Trained, read_experiment
from mask2iv_ros.training.reading import read_settings
from mask2iv_ros.training.segmenter import SegmenterExperiment

FOLDER = Path(__file__).parents[2] / "config" / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_the_experiments_of_the_package_are_there():
    stages = {f"{kind}_stage{number}" for kind in ("paper", "lora", "default") for number in (1, 2)}
    assert {path.stem for path in FILES} == stages | {
        "ablation_stage2",
        "default_actions",
        "default_autoencoder",
        "default_segmenter",
        "text_stage1",
        "tuned_actions",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_is_valid(path: Path):
    other = {
        "default_actions": LabellerExperiment,
        "default_autoencoder": AutoencoderExperiment,
        "default_segmenter": SegmenterExperiment,
        "tuned_actions": LabellerExperiment,
    }
    if kind := other.get(path.stem):
        read_settings(kind, path)
    else:
        expected = {"1": "trajectory", "2": "video"}[path.stem[-1]]
        assert read_experiment(path).stage == expected


def test_the_papers_settings_are_the_papers():
    one, two = (read_experiment(FOLDER / f"paper_stage{number}.yaml") for number in (1, 2))
    for asked in (one, two):
        assert (asked.data.size, asked.data.windows.frames) == ((320, 512), 16)
        assert (asked.optimiser.rate, asked.optimiser.batch) == (1e-5, 8)
        assert asked.network is None
        assert asked.trained.lora is None
    assert (one.trained.freeze_time, two.trained.freeze_time) == (True, False)
    assert two.perturbation == Perturbation(0.2, (3, 5, 7))
    assert two.weights == RegionWeights(interactor=0, object=0, contact=5)
    assert one.conditions == ("mask", "text")


@pytest.mark.parametrize("number", [1, 2])
def test_the_experiments_with_adapters_differ_from_the_papers_in_what_is_trained(number: int):
    paper, lora = (read_experiment(FOLDER / f"{kind}_stage{number}.yaml") for kind in ("paper", "lora"))
    assert lora.trained.lora
    assert lora.trained.freeze_time == paper.trained.freeze_time
    for same in ("data", "weights", "perturbation", "goals", "dropout"):
        assert getattr(lora, same) == getattr(paper, same)


def test_a_change_from_the_command_line_is_taken():
    asked = read_experiment(FOLDER / "paper_stage2.yaml", ["optimiser.rate=1e-4", "perturbation=null"])
    assert asked.optimiser.rate == 1e-4
    assert asked.perturbation is None


@pytest.mark.parametrize(("goals", "expected"), [(1.0, ("mask",)), (0.0, ("text",)), (0.3, ("mask", "text"))])
def test_conditions_are_those_that_windows_are_told(
    tiny_experiment: Callable[..., Experiment], goals: float, expected: tuple
):
    assert tiny_experiment("trajectory", goals=goals).conditions == expected
    assert tiny_experiment("video").conditions == ()


@pytest.mark.parametrize(
    ("stage", "change", "words"),
    [
        ("trajectory", {"goals": None}, "goals is missing"),
        ("trajectory", {"goals": 1.5}, "goals is 1.5; expected at least 0 and at most 1"),
        ("trajectory", {"goals": float("nan")}, "goals is nan"),
        ("trajectory", {"perturbation": Perturbation()}, "perturbation is given for stage trajectory"),
        ("trajectory", {"masks": "interactor"}, "masks is 'interactor' for stage trajectory; expected both"),
        ("video", {"masks": "none", "perturbation": Perturbation()}, "perturbation is given with masks 'none'"),
        ("video", {"goals": 0.5}, "goals is 0.5 for stage video"),
        ("trajectory", {"origin": "pasted"}, "origin is 'pasted' for stage trajectory with masks 'both' and change Tr"),
        ("video", {"origin": "pasted", "masks": "none"}, "origin is 'pasted' for stage video with masks 'none'"),
        ("video", {"origin": "pasted", "change": False}, "masks 'both' and change False; expected stage video"),
        ("video", {"masks": "interactor", "perturbation": Perturbation(sampled=0.1)}, "perturbation.sampled is given"),
        ("video", {"dropout": 0.4}, "dropout is 0.4; expected at least 0 and at most 0.333"),
        ("video", {"seed": -1}, "seed is -1; expected at least 0"),
        ("video", {"schedule": None}, "network is given without schedule"),
        ("video", {"trained": {"lora": 4}}, "network begins with random weights"),
        ("video", {"trained": {"freeze_time": True}}, "network begins with random weights"),
        ("video", {"trained": {"lora": 4, "weights": "bf16"}}, "trained.weights is bf16 with precision fp32"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tiny_experiment: Callable[..., Experiment], stage: str, change: dict, words: str
):
    with pytest.raises(Refused, match=words):
        tiny_experiment(stage, **change)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (Data, {"size": (320, 510)}, r"size is \(320, 510\); expected \(height, width\), multiples of 8"),
        (Data, {"held_out": 0.0}, "held_out is 0.0; expected above 0 and below 1"),
        (Data, {"workers": -1}, "workers is -1"),
        (Network, {"depth": 0}, "depth is 0"),
        (Network, {"widths": ()}, r"widths are \(\)"),
        (Perturbation, {"share": 1.1}, "share is 1.1"),
        (Perturbation, {"sampled": -0.1}, "sampled is -0.1; expected at least 0 and at most 1"),
        (Perturbation, {"agreement": float("nan")}, "agreement is nan"),
        (Perturbation, {"share": 0.6, "sampled": 0.5}, "share is 0.6 and sampled 0.5; expected at most 1 together"),
        (Perturbation, {"kernels": (4,)}, r"kernels are \(4,\); expected odd sides"),
        (Perturbation, {"kernels": ()}, r"kernels are \(\); expected odd sides"),
        (Trained, {"lora": 0}, "lora is 0"),
        (Trained, {"weights": "bf16"}, "weights are bf16 without lora"),
        (Optimiser, {"steps": 0}, "steps is 0"),
        (Optimiser, {"steps": 1, "rate": 0.0}, "rate is 0.0; expected above 0"),
        (Optimiser, {"steps": 1, "rate": float("nan")}, "rate is nan"),
        (Optimiser, {"steps": 1, "betas": (0.9, 1.0)}, "betas is 1.0"),
        (Optimiser, {"steps": 1, "clip": 0.0}, "clip is 0.0; expected above 0"),
        (Optimiser, {"steps": 1, "average": 1.0}, "average is 1.0"),
        (Optimiser, {"steps": 1, "batch": 8, "micro": 3}, "batch is 8 and micro 3"),
        (Optimiser, {"steps": 1, "warm_up": -1}, "warm_up is -1"),
    ],
)
def test_settings_out_of_range_are_refused(kind: type, settings: dict, words: str):
    with pytest.raises(Refused, match=words):
        kind(**settings)
