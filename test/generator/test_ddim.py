import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mask2iv_ros.generator.ddim import Step, ddim_steps
from mask2iv_ros.generator.sampler import Sampling, timesteps
from mask2iv_ros.generator.schedule import NoiseSchedule

REFERENCE = Path(__file__).parents[2] / "../shared/reference/dynamicrafter"
LAYOUTS = {
    "512": NoiseSchedule(),
    "1024": NoiseSchedule(rescale=0.3),
    "256": NoiseSchedule("epsilon", zero_terminal_snr=False, rescale=None),
    "small": NoiseSchedule("sample", rescale=None),
}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the base model's goldens are not here")
@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("steps", [5, 50])
@pytest.mark.parametrize("spacing", ["uniform", "trailing"])
def test_the_steps_are_the_base_models(spacing, steps, eta):
    golden = load_file(REFERENCE / "schedule_512.safetensors")
    arrays = f"{'uniform_trailing' if spacing == 'trailing' else spacing}.S{steps}."
    visited = timesteps(NoiseSchedule(), Sampling(steps=steps, spacing=spacing))
    assert visited == golden[f"{arrays}timesteps"].flip(0).tolist()
    expected = Step(
        golden[f"{arrays}timesteps"],
        golden[f"{arrays}alphas_prev_f64"].sqrt() * golden[f"{arrays}scale_prev"],
        golden[f"{arrays}dir_coef_eta{eta}"].double(),
        golden[f"{arrays}sigmas_eta{eta}_f64"],
    )
    found = Step(*torch.tensor(list(ddim_steps(NoiseSchedule(), visited, eta)), dtype=torch.float64).flip(0).T)
    for name in ("clean", "fresh"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-6, msg=name)
    # Where the exact value is 0 the reference's float32 has the root of its rounding error, 2.4e-4.
    atol = torch.where(found.noise == 0, 3e-4, 1e-6)
    assert ((found.noise - expected.noise).abs() <= atol).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spacing", ["uniform", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_every_step_is_finite_and_keeps_the_variance_of_its_timestep(layout, spacing, eta):
    schedule = LAYOUTS[layout]
    for count in (*range(1, 101), 333, 999, 1000):
        visited = timesteps(schedule, Sampling(steps=count, spacing=spacing))
        for step, after in zip(ddim_steps(schedule, visited, eta), [*visited[1:], 0], strict=True):
            assert all(math.isfinite(value) for value in step)
            assert step.noise**2 + step.fresh**2 == pytest.approx(1 - schedule.alphas_cumprod[after], abs=1e-12)
            assert (step.fresh > 0) == (eta > 0 and step.t > after)


def test_without_eta_nothing_is_fresh_and_the_last_step_ends_at_timestep_0():
    steps = list(ddim_steps(NoiseSchedule(), [999, 499, 199], eta=0))
    assert [step.fresh for step in steps] == [0, 0, 0]
    share, scale = NoiseSchedule().alphas_cumprod, NoiseSchedule().scale
    assert steps[1].clean == pytest.approx(share[199] ** 0.5 * scale[199])
    assert steps[2].clean == pytest.approx(share[0] ** 0.5 * scale[199])
    assert steps[2].noise == pytest.approx((1 - share[0]) ** 0.5)
