import pytest
import torch
from torch import nn

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.guidance import guided, rescaled
from mask2iv_ros.generator.sampler import Sampling, sample
from mask2iv_ros.generator.schedule import NoiseSchedule

SHAPE = (2, 3, 4, 5, 6)
T = torch.tensor([700, 20])


class Network(nn.Module):
    """Sees sample, timestep and all of the condition; notes the sizes of the batches that it is called with."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3 + 2, 3, 3, padding=1)
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        self.batches.append(len(x))
        told = condition.text.mean((1, 2)) + 2 * condition.image.mean((1, 2)) + t / 1000
        return self.conv(torch.cat([x, condition.beside], 1)) * (1 + told).view(-1, 1, 1, 1, 1)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = draw(0, *SHAPE)
GIVEN = Condition(draw(1, 2, 2, 4, 5, 6), text=draw(2, 2, 7, 8), image=draw(3, 2, 5, 8))
NO_TEXT = Condition(GIVEN.beside, text=torch.zeros(2, 7, 8), image=GIVEN.image)
NOTHING = Condition(GIVEN.beside, text=torch.zeros(2, 7, 8), image=torch.zeros(2, 5, 8))


@torch.no_grad()
def test_one_batched_call_equals_separate_calls():
    network = Network()
    c, i, u = (network(X, T, condition) for condition in (GIVEN, NO_TEXT, NOTHING))
    network.batches.clear()
    found = guided(network, GIVEN, NOTHING, None, Sampling(guidance=7.5, guidance_rescale=0))(X, T)
    torch.testing.assert_close(found, u + 7.5 * (c - u), rtol=1e-5, atol=1e-5)
    both = Sampling(guidance=7.5, guidance_rescale=0.7, image_guidance=3)
    found = guided(network, GIVEN, NOTHING, NO_TEXT, both)(X, T)
    torch.testing.assert_close(found, rescaled(u + 3 * (i - u) + 7.5 * (c - i), c, 0.7), rtol=1e-5, atol=1e-5)
    assert network.batches == [4, 6]


@torch.no_grad()
def test_guidance_1_calls_for_the_condition_alone_and_leaves_the_output():
    network = Network()
    found = guided(network, GIVEN, NOTHING, NO_TEXT, Sampling(guidance=1, guidance_rescale=0.7))(X, T)
    assert network.batches == [2]
    assert torch.equal(found, network(X, T, GIVEN))
    # A guidance of 1 beside one of the image still guides the image.
    found = guided(network, GIVEN, NOTHING, NO_TEXT, Sampling(guidance=1, guidance_rescale=0, image_guidance=2))(X, T)
    assert not torch.allclose(found, network(X, T, GIVEN), atol=1e-3)


@torch.no_grad()
def test_guidance_0_is_the_unconditional_output():
    network = Network()
    found = guided(network, GIVEN, NOTHING, None, Sampling(guidance=0, guidance_rescale=0))(X, T)
    torch.testing.assert_close(found, network(X, T, NOTHING))


def test_the_rescale_brings_each_sample_to_the_conditionals_spread():
    mixed, conditional = 3 * draw(5, *SHAPE) + 1, draw(6, *SHAPE)
    conditional[1] *= 2
    spread = conditional.flatten(1).std(1, unbiased=True)
    torch.testing.assert_close(rescaled(mixed, conditional, 1.0).flatten(1).std(1), spread)
    assert torch.equal(rescaled(mixed, conditional, 0.0), mixed)
    factor = (spread / mixed.flatten(1).std(1, unbiased=True)).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(rescaled(mixed, conditional, 0.7), 0.7 * mixed * factor + 0.3 * mixed)


def test_an_output_without_spread_stays_finite():
    still = torch.zeros(SHAPE)
    assert torch.equal(rescaled(still, still, 0.7), still)
    assert torch.equal(rescaled(still + 1, draw(0, *SHAPE), 0.7), still + 1)


def test_a_half_precision_condition_leaves_latents_and_output_in_float32():
    asked: list[torch.dtype] = []

    def network(x: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        asked.append(x.dtype)
        return x.bfloat16() * condition.text.mean((1, 2)).view(-1, 1, 1, 1, 1)

    half = GIVEN.to("cpu", torch.bfloat16), NOTHING.to("cpu", torch.bfloat16)
    found = guided(network, *half, None, Sampling(guidance=2))(X, T)
    assert asked == [torch.float32]
    assert found.dtype == torch.float32


@torch.no_grad()
def test_scenes_of_a_batch_are_sampled_as_if_alone():
    network, noise = Network(), draw(7, *SHAPE)
    fresh = draw(8, 4, *SHAPE)

    def run(rows: slice) -> torch.Tensor:
        conditions = (part.map(lambda value: value[rows]) for part in (GIVEN, NOTHING, NO_TEXT))
        sampling = Sampling(steps=4, image_guidance=2.0)
        predict = guided(network, *conditions, sampling)
        return sample(predict, NoiseSchedule(), sampling, noise[rows], lambda index: fresh[index][rows])

    alone = torch.cat([run(slice(0, 1)), run(slice(1, 2))])
    torch.testing.assert_close(run(slice(None)), alone, rtol=1e-5, atol=1e-5)


def test_a_guidance_without_its_condition_is_refused():
    with pytest.raises(Refused, match=r"guidance is 7\.5"):
        guided(Network(), GIVEN, None, None, Sampling())
    with pytest.raises(Refused, match=r"image_guidance is 2\.0"):
        guided(Network(), GIVEN, NOTHING, None, Sampling(image_guidance=2.0))
