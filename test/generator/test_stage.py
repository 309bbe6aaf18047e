import pytest
import torch
from torch import Tensor, nn

from mask2iv_ros.generator.conditioning import beside_first_frame, goal_slots
from mask2iv_ros.generator.flow import Flow
from mask2iv_ros.generator.stage import Stage

SHAPE = (2, 3, 4, 2, 2)  # b c t h w
SCALE = torch.tensor([0.5, 2.0, 1.0])


class Constant(nn.Module):
    """A denoiser that answers the same whatever it is shown, and remembers the levels."""

    def __init__(self, answer: Tensor):
        super().__init__()
        self.answer, self.levels = answer, []

    def forward(self, sample: Tensor, condition: Tensor, noise_level: Tensor) -> Tensor:
        self.levels.append(noise_level)
        return self.answer


class Linear(nn.Module):
    """A denoiser whose answer depends on all that it is told."""

    def forward(self, sample: Tensor, condition: Tensor, noise_level: Tensor) -> Tensor:
        told = condition[:, :3] - condition[:, 3:]
        return torch.tanh(0.5 * sample + told) * (1 + noise_level.view(-1, 1, 1, 1, 1))


@pytest.fixture
def video() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def condition(video: Tensor) -> Tensor:
    return beside_first_frame(video[:, :, 0], goal_slots(video[:, :, 0], None, SHAPE[2]))


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def perfect(video: Tensor) -> Constant:
    return Constant((video - video[:, :, :1]) / SCALE[:, None, None, None])


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_perfect_denoiser_gives_the_video_back(video: Tensor, condition: Tensor, steps: int):
    denoiser = perfect(video)
    sampled = Stage(denoiser, SCALE).sample(video[:, :, 0], condition, noise(0), steps)
    torch.testing.assert_close(sampled, video, rtol=0, atol=2e-6)
    levels = torch.stack(denoiser.levels)
    expected = 1 - torch.arange(steps) / steps
    torch.testing.assert_close(levels, expected[:, None].expand(steps, 2))


def test_sampling_follows_the_noise_to_the_bit(video: Tensor, condition: Tensor):
    stage = Stage(Linear(), SCALE)
    first, again, other = (stage.sample(video[:, :, 0], condition, noise(seed), 3) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sampling_is_euler_steps_along_the_velocity(video: Tensor, condition: Tensor):
    denoiser, origin = Linear(), video[:, :, 0]
    sampled = Stage(denoiser, SCALE).sample(origin, condition, noise(0), 3)
    x = noise(0)
    for level, following in ((1, 2 / 3), (2 / 3, 1 / 3), (1 / 3, 0)):
        clean = denoiser(x, condition, torch.full((2,), level))
        x = x + (following - level) * (x - clean) / level
    torch.testing.assert_close(sampled, origin.unsqueeze(2) + SCALE[:, None, None, None] * x)


def test_every_step_reports_its_estimate(video: Tensor, condition: Tensor):
    seen = []
    Stage(perfect(video), SCALE).sample(
        video[:, :, 0], condition, noise(0), 4, lambda step, estimate: seen.append((step, estimate))
    )
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    for _, estimate in seen:
        torch.testing.assert_close(estimate, video)


def test_what_a_report_raises_ends_the_sampling(video: Tensor, condition: Tensor):
    denoiser = perfect(video)

    def stop(step: int, estimate: Tensor) -> None:
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Stage(denoiser, SCALE).sample(video[:, :, 0], condition, noise(0), 10, stop)
    assert len(denoiser.levels) == 2


def test_a_perfect_denoiser_loses_nothing_and_a_wrong_one_something(video: Tensor, condition: Tensor):
    def loss(denoiser: nn.Module) -> float:
        weight = torch.ones(2, 1, *SHAPE[2:])
        generator = torch.Generator().manual_seed(0)
        return Stage(denoiser, SCALE).loss(video, video[:, :, 0], condition, weight, generator).item()

    assert loss(perfect(video)) == 0
    assert loss(Constant(torch.zeros(SHAPE))) > 0.1


def test_the_loss_is_the_weighted_error_by_level(video: Tensor, condition: Tensor):
    denoiser = perfect(video)
    denoiser.answer = denoiser.answer.clone()
    denoiser.answer[0, :, 1, 0, 0] += 3.0
    denoiser.answer[1, :, 2, 1, 1] += 3.0
    weight = torch.ones(2, 1, *SHAPE[2:])
    weight[:, :, 1, 0, 0] = 5
    generator = torch.Generator().manual_seed(0)
    loss = Stage(denoiser, SCALE).loss(video, video[:, :, 0], condition, weight, generator)
    level_weight = Flow().loss_weight(denoiser.levels[0])
    # One of the 16 positions is wrong by 3, and counts 5 in the first clip, 1 in the second.
    expected = (level_weight * torch.tensor([5.0, 1.0])).mean() * 9 / 16 / weight.mean()
    torch.testing.assert_close(loss, expected)
