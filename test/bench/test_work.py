import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.bench.measure import count_tflop
from mask2iv_ros.bench.subject import Subject, random_subject
from mask2iv_ros.bench.training import TrainingStep
from mask2iv_ros.bench.work import Part, Work
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet

_FLOPS = Path(__file__).parents[2] / "../shared/reference/dynamicrafter/flops.json"
_META = torch.device("meta")


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, float]]:
    if not _FLOPS.is_file():
        pytest.skip("the reference's numbers are not beside this checkout")
    return json.loads(_FLOPS.read_text())


@pytest.fixture(scope="module")
def full() -> Subject:
    return random_subject("full", _META, torch.float32)


@pytest.fixture(scope="module")
def counted(full) -> dict[Part, float]:
    return {part: count_tflop(part.run) for part in Work(full, _META, torch.float32).parts()}


def test_every_part_costs_what_the_reference_counts(known, counted):
    assert {part.name: tflop for part, tflop in counted.items()} == pytest.approx(
        {
            "autoencoder, encode a frame": known["VAE encode 1 frame 320x512"]["TFLOP"],
            "text encoder": 2 * known["CLIP text ViT-H (23 of 24 layers) 1 prompt"]["TFLOP"],
            "image encoder": 2 * known["CLIP vision ViT-H 1 image"]["TFLOP"],
            "projector": 2 * known["Resampler 1 image"]["TFLOP"],
            "denoiser, guided step": known["UNet forward 512, in_channels 12, batch 2"]["TFLOP"],
            "autoencoder, decode a video": known["VAE decode 16 frames 320x512"]["TFLOP"],
        },
        rel=0.01,
    )


def test_a_stage_of_fifty_steps_costs_what_the_reference_counts(known, counted):
    run = known["one 50-step run, 512, CFG"]
    expected = run["UNet TFLOP"] + next(tflop for name, tflop in run.items() if name.startswith("other TFLOP"))
    assert sum(part.calls * tflop for part, tflop in counted.items()) == pytest.approx(expected, rel=0.01)


def test_a_training_step_costs_what_the_reference_counts(known, full):
    step = TrainingStep(full, Work(full, _META, torch.float32), None)
    counted = count_tflop(step.loss_and_gradients)
    projector = 3 * known["Resampler 1 image"]["TFLOP"]
    expected = known["UNet forward+backward 512 batch 1 (no recomputation)"]["TFLOP"] + projector
    assert counted == pytest.approx(expected, rel=0.01)


def test_the_base_model_costs_what_the_reference_counts(known):
    with torch.device("meta"), torch.no_grad():
        model = DynamiCrafterUNet()
        sample = torch.empty(1, 4, 16, 40, 64)
        condition = Condition(sample, torch.empty(1, 77, 1024), torch.empty(1, 256, 1024))
        counted = count_tflop(lambda: model(sample, torch.empty(1, dtype=torch.long), condition))
    assert counted == pytest.approx(known["UNet forward 512: 16x40x64 batch 1"]["TFLOP"], rel=0.01)


@pytest.fixture(scope="module")
def tiny() -> Work:
    subject = random_subject("tiny", torch.device("cpu"), torch.float32)
    short = replace(subject, sampling=replace(subject.sampling, steps=2))
    return Work(short, torch.device("cpu"), torch.float32, batch=2)


def test_the_whole_is_a_video_and_calls_the_denoiser_as_the_parts_say(tiny):
    calls = []
    hook = tiny.subject.stage.denoiser.register_forward_hook(lambda *_: calls.append(1))
    video = tiny.whole()
    hook.remove()
    assert video.shape == (2, 4, 3, 64, 96)
    assert video.isfinite().all()
    (step,) = [part for part in tiny.parts() if part.name.startswith("denoiser")]
    assert len(calls) == step.calls == 2


def test_guidance_moves_a_step(tiny):
    guided, plain = tiny.step(), tiny.step(guided=False)
    assert guided.shape == plain.shape == (2, 4, 4, 8, 12)
    assert not torch.allclose(guided, plain, atol=1e-3)
