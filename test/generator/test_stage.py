from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mask2iv_ros.generator.conditioning import Condition, beside_first_frame, goal_slots
from mask2iv_ros.generator.sampler import Near, Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.generator.stage import Stage

SHAPE = (2, 3, 4, 2, 2)  # b c t h w
SCALE = torch.tensor([0.5, 2.0, 1.0])
CLEAN = NoiseSchedule(prediction="sample", rescale=None)
PLAIN = Sampling(steps=10, eta=0.0, guidance=1.0)


class Constant(nn.Module):
    """A denoiser that answers the same whatever it is shown, and remembers what it was asked."""

    def __init__(self, answer: Tensor):
        super().__init__()
        self.answer = nn.Parameter(answer)
        self.timesteps: list[Tensor] = []
        self.told: list[Condition] = []

    def forward(self, sample: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        self.timesteps.append(timestep)
        self.told.append(condition)
        return self.answer.expand_as(sample)


@pytest.fixture
def video() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def condition(video: Tensor) -> Condition:
    slots = goal_slots(video[:, :, 0], None, SHAPE[2])
    return Condition(beside_first_frame(video[:, :, 0], slots), image=torch.ones(2, 5, 6))


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def change(video: Tensor) -> Tensor:
    return (video - video[:, :, :1]) / SCALE[:, None, None, None]


def perfect(video: Tensor) -> Stage:
    return Stage(Constant(change(video)), CLEAN, scale=SCALE)


def test_a_perfect_denoiser_gives_the_video_back_up_to_the_last_step_s_noise(video: Tensor, condition: Condition):
    sampled = perfect(video).sample(video[:, :, :1], condition, noise(0), PLAIN)
    # The base model's sampler ends at alphas_cumprod[0], 0.9991: 3 % of noise remain.
    assert ((sampled - video) / SCALE[:, None, None, None]).std() < 0.04


def test_without_a_scale_latents_themselves_are_denoised(video: Tensor, condition: Condition):
    sampled = Stage(Constant(video), CLEAN).sample(video[:, :, :1], condition, noise(0), PLAIN)
    assert (sampled - video).std() < 0.04


def test_a_sample_near_latents_starts_from_their_change_noised(video: Tensor, condition: Condition):
    stage, asked = perfect(video), []
    stage.denoiser.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    stage.sample(video[:, :, :1], condition, noise(0), PLAIN, near=Near(video, 0.5))
    timestep = stage.denoiser.timesteps[0]
    assert timestep.tolist() == [499, 499]
    torch.testing.assert_close(asked[0], CLEAN.add_noise(change(video), noise(0), timestep))


def test_every_step_reports_its_estimate(video: Tensor, condition: Condition):
    seen = []
    perfect(video).sample(
        video[:, :, :1],
        condition,
        noise(0),
        replace(PLAIN, steps=4),
        on_estimate=lambda step, clean: seen.append((step, clean)),
    )
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    for _, estimate in seen:
        torch.testing.assert_close(estimate, video, rtol=0, atol=1e-5)


def test_what_a_report_raises_ends_the_sampling(video: Tensor, condition: Condition):
    stage = perfect(video)

    def stop(step: int, _: Tensor) -> None:
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        stage.sample(video[:, :, :1], condition, noise(0), PLAIN, on_estimate=stop)
    assert len(stage.denoiser.timesteps) == 2


def test_the_projector_runs_once_a_sampling_and_learns_in_training(video: Tensor, condition: Condition):
    projector, calls = nn.Linear(6, 4), []
    projector.register_forward_hook(lambda *_: calls.append(1))
    stage = Stage(Constant(change(video)), CLEAN, projector, SCALE)
    stage.sample(video[:, :, :1], condition, noise(0), PLAIN)
    assert len(calls) == 1
    torch.testing.assert_close(stage.denoiser.told[-1].image, projector(condition.image))

    class Looks(nn.Module):
        def forward(self, sample: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
            return sample * condition.image.mean()

    looking = Stage(Looks(), CLEAN, projector, SCALE)
    looking(video, video[:, :, :1], condition, torch.ones(2, 1, *SHAPE[2:]), torch.Generator()).backward()
    assert projector.weight.grad.any()


def test_half_precision_networks_are_sampled_in_single_precision(video: Tensor, condition: Condition):
    stage = perfect(video)
    stage.denoiser.bfloat16()
    asked = []
    stage.denoiser.register_forward_pre_hook(lambda _, given: asked.append((given[0].dtype, given[2].beside.dtype)))
    sampled = stage.sample(video[:, :, :1], condition, noise(0), PLAIN)
    assert set(asked) == {(torch.bfloat16, torch.bfloat16)}
    assert sampled.dtype == torch.float32


def loss(stage: Stage, video: Tensor, condition: Condition, weight: Tensor, seed: int = 0) -> Tensor:
    return stage(video, video[:, :, :1], condition, weight, torch.Generator().manual_seed(seed))


def test_a_perfect_denoiser_loses_nothing_and_a_wrong_one_something(video: Tensor, condition: Condition):
    weight = torch.ones(2, 1, *SHAPE[2:])
    assert loss(perfect(video), video, condition, weight) < 1e-9
    assert loss(Stage(Constant(torch.zeros(SHAPE)), CLEAN, scale=SCALE), video, condition, weight) > 0.1


def test_the_loss_is_the_weighted_squared_error_of_v(video: Tensor, condition: Condition):
    schedule = NoiseSchedule()  # v: weight 1 at every timestep
    stage, weight = Stage(Constant(torch.zeros(SHAPE)), schedule), torch.ones(2, 1, *SHAPE[2:])
    weight[:, :, 1, 0, 0] = 5
    found = loss(stage, video, condition, weight, seed=3)
    generator = torch.Generator().manual_seed(3)
    timestep = torch.randint(1000, (2,), generator=generator)
    drawn = torch.randn(SHAPE, generator=generator)
    torch.testing.assert_close(stage.denoiser.timesteps[0], timestep)
    torch.testing.assert_close(found, (weight * schedule.velocity(video, drawn, timestep).square()).mean())
