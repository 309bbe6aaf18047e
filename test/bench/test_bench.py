import json

import pytest
import torch

from mask2iv_ros.bench.bench import Result, Settings, bench, table
from mask2iv_ros.errors import Refused


@pytest.fixture(scope="module")
def result() -> Result:
    return bench(Settings(model="tiny", dtype="bf16", steps=2, repeats=3, offload=True, peak=2.0))


def test_every_part_and_the_whole_are_measured(result):
    assert [cost.name for cost in result.costs] == [
        "autoencoder, encode a frame",
        "text encoder",
        "image encoder",
        "projector",
        "denoiser, guided step",
        "autoencoder, decode a video",
        "a stage of 2 steps",
    ]
    *parts, whole = result.costs
    assert all(cost.seconds > 0 and cost.tflop > 0 for cost in parts)
    assert whole.tflop == pytest.approx(sum(cost.calls * cost.tflop for cost in parts))
    assert whole.seconds > max(cost.seconds for cost in parts)
    assert result.denoiser_batch == 2


def test_rounding_is_small_and_there(result):
    assert 1e-4 < result.error["denoiser"] < 0.05
    assert result.error["guided"] > result.error["denoiser"], "guidance multiplies differences"


def test_the_table_has_a_line_a_cost_with_its_share(result):
    lines = list(table(result))
    assert "floor at 2 TFLOP/s" in lines[0]
    for cost, line in zip(result.costs, lines[2:], strict=False):
        assert line.startswith(cost.name)
        assert f"{cost.speed / 2:.1%}" in line
    assert f"{result.error['guided']:.2e}" in lines[-1]


def test_the_result_is_json(result):
    about = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert about["settings"]["model"] == "tiny"
    assert about["costs"][0]["tflops"] == pytest.approx(result.costs[0].tflop / result.costs[0].seconds)
    assert about["costs"][0]["share_of_floor"] == pytest.approx(about["costs"][0]["tflops"] / 2)


def test_a_checkpoint_is_measured_as_it_samples(tiny):
    result = bench(Settings(model=str(tiny), repeats=1))
    names = [cost.name for cost in result.costs]
    assert names == [
        "autoencoder, encode a frame",
        "denoiser, step",
        "autoencoder, decode a video",
        "a stage of 2 steps",
    ], "without guidance the denoiser is called once a step"
    assert result.error is None


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_is_measured(result, checkpointing):
    (step,) = [cost for cost in result.costs if cost.name.startswith("denoiser")]
    result = bench(Settings(model="tiny", train=True, repeats=1, batch=2, checkpointing=checkpointing))
    (cost,) = result.costs
    assert cost.name == "training step, batch 2"
    assert cost.tflop == pytest.approx(3 * step.tflop, rel=0.1), "backward is twice forward, two samples either way"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "full"}, "would take a day; use a GPU"),
        ({"device": "tpu"}, "'tpu' is unknown"),
        ({"dtype": "int8"}, "'int8'; accepted are fp32"),
        ({"batch": 0}, "batch is 0; expected at least 1"),
        ({"repeats": 0}, "repeats is 0; expected at least 1"),
        ({"peak": float("nan")}, "peak is nan"),
        ({"train": True, "offload": True}, "holds no encoders"),
    ],
)
def test_unfit_settings_are_refused(settings, why):
    with pytest.raises(Refused, match=why):
        Settings(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_refused():
    with pytest.raises(Refused, match="torch sees no GPU"):
        Settings(device="cuda")


def test_a_missing_checkpoint_and_a_bad_step_count_are_refused():
    with pytest.raises(Refused, match="'nowhere'"):
        bench(Settings(model="nowhere"))
    with pytest.raises(Refused, match="steps is 2000"):
        bench(Settings(model="tiny", steps=2000))
