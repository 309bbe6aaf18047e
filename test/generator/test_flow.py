import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from mask2iv_ros.generator.flow import Flow

SHAPE = (2, 3, 4, 5, 6)


def test_no_noise_is_the_clean_latent_and_full_noise_the_noise():
    clean, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    noisy = Flow().add_noise(clean, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(noisy[0], clean[0])
    assert torch.equal(noisy[1], noise[1])
    half = Flow().add_noise(clean, noise, torch.full((2,), 0.5))
    torch.testing.assert_close(half, (clean + noise) / 2)


@pytest.mark.parametrize("level", [0.05, 0.5, 1.0])
def test_the_velocity_is_noise_minus_clean_at_every_level(level: float):
    clean, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    noisy = Flow().add_noise(clean, noise, torch.full((2,), level))
    torch.testing.assert_close(Flow().velocity(noisy, clean, level), noise - clean, rtol=1e-4, atol=1e-4)


def test_noise_is_added_as_the_scheduler_adds_it():
    clean, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    theirs = scheduler.scale_noise(clean, scheduler.timesteps[[1, 2]], noise)
    torch.testing.assert_close(Flow().add_noise(clean, noise, scheduler.sigmas[[1, 2]]), theirs)


def test_the_loss_weighs_one_over_the_level_with_a_bound():
    weight = Flow().loss_weight(torch.tensor([1.0, 0.5, 0.3, 0.1, 0.0]))
    torch.testing.assert_close(weight, torch.tensor([1.0, 2.0, 1 / 0.3, 1 / 0.3, 1 / 0.3]))


def test_levels_follow_the_generator_and_the_settings():
    def draw(flow: Flow, seed: int = 0) -> torch.Tensor:
        return flow.draw_levels(2000, torch.Generator().manual_seed(seed))

    levels = draw(Flow(mean=0.7, std=0.8))
    assert torch.equal(levels, draw(Flow(mean=0.7, std=0.8)))
    assert not torch.equal(levels, draw(Flow(mean=0.7, std=0.8), seed=1))
    assert 0 < levels.min() < levels.max() < 1
    logits = torch.logit(levels)
    assert logits.mean().item() == pytest.approx(0.7, abs=0.1)
    assert logits.std().item() == pytest.approx(0.8, abs=0.1)
