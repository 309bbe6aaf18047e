from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.schedule import NoiseSchedule

REFERENCE = Path(__file__).parents[2] / "../shared/reference/dynamicrafter"
SHAPE = (5, 3, 4, 5, 6)
T = torch.tensor([0, 1, 250, 500, 998])
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the base model's goldens are not here")
LAYOUTS = {
    "512": NoiseSchedule(),
    "1024": NoiseSchedule(rescale=0.3),
    "256": NoiseSchedule("epsilon", zero_terminal_snr=False, rescale=None),
    "small": NoiseSchedule("sample", rescale=None),
}


def latents() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def outputs(schedule: NoiseSchedule, clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What a network that knows the answer puts out."""
    return {"v": schedule.velocity(clean, noise, t), "epsilon": noise, "sample": clean}[schedule.prediction]


@needs_reference
def test_the_tables_are_the_base_models():
    golden = load_file(REFERENCE / "schedule_512.safetensors")
    tables = {
        "alphas_cumprod_f64": NoiseSchedule().alphas_cumprod,
        "alphas_cumprod_before_rescale_f64": NoiseSchedule(zero_terminal_snr=False).alphas_cumprod,
        "buffer.scale_arr": NoiseSchedule().scale,
        "scale_arr_base0.3_(1024)": NoiseSchedule(rescale=0.3).scale,
    }
    for name, table in tables.items():
        expected = golden[name][:1000]
        torch.testing.assert_close(torch.from_numpy(table).to(expected.dtype), expected, rtol=0, atol=1e-14, msg=name)
    assert tables["alphas_cumprod_f64"][-1] == 0


@needs_reference
def test_noise_and_target_are_those_of_the_base_models_training_step():
    golden = load_file(REFERENCE / "train_step_tiny_io.safetensors")
    schedule, given = NoiseSchedule(), [golden[name] for name in ("x0", "noise", "t")]
    torch.testing.assert_close(schedule.add_noise(*given), golden["x_noisy"], rtol=0, atol=1e-6)
    torch.testing.assert_close(schedule.velocity(*given), golden["v_target"], rtol=0, atol=1e-6)
    error = (schedule.velocity_of(golden["v_pred"], golden["x_noisy"], given[2]) - golden["v_target"]).square()
    loss = (error.mean((1, 2, 3, 4)) * schedule.loss_weight(given[2])).mean()
    torch.testing.assert_close(loss, golden["loss"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("prediction", ["v", "epsilon", "sample"])
@pytest.mark.parametrize("rescale", [None, 0.7, 0.3])
def test_an_output_that_knows_the_answer_gives_the_velocity_and_the_clean_latent(prediction, rescale):
    schedule = NoiseSchedule(prediction, zero_terminal_snr=prediction != "epsilon", rescale=rescale)
    clean, noise = latents()
    noisy, output = schedule.add_noise(clean, noise, T), outputs(schedule, clean, noise, T)
    torch.testing.assert_close(
        schedule.velocity_of(output, noisy, T), schedule.velocity(clean, noise, T), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(schedule.clean_of(output, noisy, T), clean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(schedule.noise_of(output, noisy, T), noise, rtol=1e-4, atol=1e-4)


def test_pure_noise_at_the_end_and_almost_none_at_the_start():
    clean, noise = latents()
    schedule = NoiseSchedule()
    assert torch.equal(schedule.add_noise(clean, noise, torch.full((5,), 999)), noise)
    assert schedule.add_noise(clean, 0 * noise, torch.full((5,), 999)).abs().max() == 0
    torch.testing.assert_close(
        schedule.add_noise(clean, 0 * noise, torch.zeros(5, dtype=torch.long)), 0.99915**0.5 * clean
    )
    ones = torch.ones(SHAPE)
    with_zero_snr = schedule.add_noise(ones, 0 * ones, T).flatten(1)[:, 0]
    assert NoiseSchedule(zero_terminal_snr=False).add_noise(ones, 0 * ones, T).flatten(1)[3, 0] > with_zero_snr[3]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_weighted_error_of_v_is_the_bounded_error_of_what_the_network_predicts(layout):
    schedule = LAYOUTS[layout]
    clean, noise = latents()
    noisy, right = schedule.add_noise(clean, noise, T), outputs(schedule, clean, noise, T)
    error = schedule.velocity_of(right + 0.1, noisy, T) - schedule.velocity(clean, noise, T)
    weighted = error.square().mean((1, 2, 3, 4)) * schedule.loss_weight(T)
    if layout == "small":
        sigma = torch.from_numpy(1 - schedule.alphas_cumprod).sqrt().float()[T]
        expected = 0.01 / sigma.clamp_min(0.3).square()
    else:
        expected = torch.full((5,), 0.01)
    torch.testing.assert_close(weighted, expected, rtol=1e-3, atol=0)


def test_half_precision_latents_are_noised_in_float32():
    clean, noise = (part.bfloat16() for part in latents())
    noisy = NoiseSchedule().add_noise(clean, noise, T)
    assert torch.equal(noisy, NoiseSchedule().add_noise(clean.float(), noise.float(), T))


def test_a_table_first_used_in_inference_mode_serves_training():
    schedule = NoiseSchedule(rescale=0.51)
    clean, noise = latents()
    with torch.inference_mode():
        schedule.add_noise(clean, noise, T)
    output = torch.zeros(SHAPE, requires_grad=True)
    schedule.clean_of(output, noise, T).sum().backward()
    assert output.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"prediction": "x0"}, "'x0'"),
        ({"steps": 1}, "steps is 1"),
        ({"steps": "many"}, "'many'"),
        ({"steps": True}, "True"),
        ({"rescale_steps": 0}, "rescale_steps is 0"),
        ({"beta_start": 0.0}, "beta_start=0.0"),
        ({"beta_end": 0.0001}, "beta_end=0.0001"),
        ({"beta_end": float("nan")}, "nan"),
        ({"beta_end": "1"}, "'1'"),
        ({"rescale": 0.0}, "rescale is 0.0"),
        ({"rescale": 1.5}, "rescale is 1.5"),
        ({"zero_terminal_snr": "no"}, "'no'"),
        ({"prediction": "epsilon"}, "epsilon"),
    ],
)
def test_settings_that_make_no_process_are_refused(fields, quoted):
    with pytest.raises(Refused, match=quoted):
        NoiseSchedule(**fields)
