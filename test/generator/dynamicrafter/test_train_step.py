from copy import deepcopy

import pytest
import torch
from torch import Tensor

from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.dynamicrafter.keys import unet_keys
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.generator.stage import Stage

SCHEDULE = NoiseSchedule()


@pytest.fixture(scope="module")
def io(reference) -> dict[str, Tensor]:
    return reference("train_step_tiny_io.safetensors")


@pytest.fixture(scope="module")
def condition(io) -> Condition:
    return Condition(io["c_concat"], io["context"][:, :77], io["context"][:, 77:], io["fs"])


@pytest.fixture(scope="module")
def stepped(parts, io, condition) -> tuple[DynamiCrafterUNet, Tensor, float]:
    """The network with its gradients, its output and the loss."""
    model = deepcopy(parts["denoiser"]).requires_grad_(True)
    noisy = SCHEDULE.add_noise(io["x0"], io["noise"], io["t"])
    output = model(noisy, io["t"], condition)
    loss = (output - SCHEDULE.velocity(io["x0"], io["noise"], io["t"])).square().mean()
    loss.backward()
    return model, output.detach(), loss.item()


def test_what_is_learned_is_the_references(io, largest):
    assert largest("noisy latent", SCHEDULE.add_noise(io["x0"], io["noise"], io["t"]), io["x_noisy"]) <= 1e-6
    assert largest("v", SCHEDULE.velocity(io["x0"], io["noise"], io["t"]), io["v_target"]) <= 1e-6


def test_loss_and_output_are_the_references(stepped, io, largest):
    _, output, loss = stepped
    assert largest("v of the network", output, io["v_pred"]) <= 2e-5
    assert loss == pytest.approx(float(io["loss"]), rel=1e-4)


def test_gradients_are_the_references(stepped, io, reference, record_property):
    model, _, _ = stepped
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    places = unet_keys(model)
    full = {name.removeprefix("grad."): value for name, value in io.items() if name.startswith("grad.")}
    assert len(full) == 3
    for name, golden in full.items():
        golden = places[name].take(golden)
        error = float((gradients[places[name].key] - golden).norm() / golden.norm())
        record_property(f"gradient of {name}", error)
        assert error <= 1e-4, name
    norms = reference("train_step_tiny.json")["grad_l2_norm_per_parameter"]
    assert norms.keys() == places.keys()
    worst = 0.0
    for name, golden in norms.items():
        norm = float(gradients[places[name].key].norm())
        if golden < 1e-7:  # a bias that the following norm takes out: rounding, there and here
            assert norm < 1e-7, name
        else:
            worst = max(worst, abs(norm / golden - 1))
    record_property("gradient norms", worst)
    print(f"gradient norms of {len(norms)} parameters: {worst:.1e}")
    assert worst <= 1e-4


def test_a_stage_takes_that_step(parts, io, condition):
    """The same formula from the noise that a stage draws: timesteps first, then noise."""
    stage = Stage(parts["denoiser"], SCHEDULE)
    weight = torch.ones(2, 1, 4, 8, 12)
    loss = stage(io["x0"], io["x0"][:, :, :1], condition, weight, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    timestep = torch.randint(1000, (2,), generator=generator)
    noise = torch.randn(io["x0"].shape, generator=generator)
    output = parts["denoiser"](SCHEDULE.add_noise(io["x0"], noise, timestep), timestep, condition)
    expected = (output - SCHEDULE.velocity(io["x0"], noise, timestep)).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
