import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import goal_slots
from mask2iv_ros.generator.denoiser import SpaceTimeUNet

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def net() -> SpaceTimeUNet:
    """A network whose residual branches are no longer zero, as after some training."""
    torch.manual_seed(0)
    net = SpaceTimeUNet(channels=4, condition_channels=8, frames=5, widths=(16, 32), depth=2, head_width=16)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return net


def inputs(batch: int, frames: int, height: int, width: int) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 4, frames, height, width, generator=generator),
        torch.randn(batch, 8, frames, height, width, generator=generator),
        torch.rand(batch, generator=generator),
    )


@pytest.mark.parametrize("shape", [(1, 5, 4, 6), (2, 5, 5, 7), (1, 5, 1, 1), (2, 3, 6, 5), (1, 1, 2, 9)])
def test_the_output_has_the_samples_shape(net: SpaceTimeUNet, shape: tuple[int, ...]):
    sample, condition, level = inputs(*shape)
    output = net(sample, condition, level)
    assert output.shape == sample.shape
    assert output.isfinite().all()


def test_a_new_network_answers_zero():
    net = SpaceTimeUNet(channels=4, condition_channels=8, frames=5, widths=(16, 32), depth=1, head_width=16)
    assert not net(*inputs(1, 5, 4, 6)).any()


def test_gradient_reaches_every_parameter(net: SpaceTimeUNet):
    net(*inputs(2, 5, 5, 7)).square().mean().backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not without


def test_three_levels_work_on_odd_grids():
    net = SpaceTimeUNet(channels=4, condition_channels=8, frames=2, widths=(16, 16, 32), depth=1, head_width=16)
    torch.nn.init.normal_(net.leave[-1].weight)
    output = net(*inputs(1, 2, 5, 7))
    assert output.shape == (1, 4, 2, 5, 7)
    output.square().mean().backward()
    assert net.shrink[1].weight.grad.any()


@torch.no_grad()
def test_the_goal_in_the_last_slot_is_seen_in_the_first_frame(net: SpaceTimeUNet):
    sample, _, level = inputs(1, 5, 4, 6)
    first, goal, other = (torch.randn(1, 8, 4, 6) for _ in range(3))
    one, two = (net(sample, goal_slots(first, end, 5), level) for end in (goal, other))
    assert (one - two)[:, :, 0].abs().max() > 1e-3


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(net: SpaceTimeUNet):
    sample, condition, level = inputs(3, 4, 4, 6)
    together = net(sample, condition, level)
    alone = net(sample[1:2], condition[1:2], level[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_output_depends_on_noise_level_and_on_the_order_of_frames(net: SpaceTimeUNet):
    sample, condition, level = inputs(1, 5, 4, 6)
    output = net(sample, condition, level)
    assert not torch.allclose(output, net(sample, condition, level / 2), atol=1e-4)
    # Attention alone does not know the order: positions must be told.
    turned = net(sample.flip(2), condition.flip(2), level).flip(2)
    assert not torch.allclose(output, turned, atol=1e-4)


@pytest.mark.parametrize(("widths", "head_width"), [((16, 40), 16), ((12, 24), 12), ((16, 32), 64)])
def test_widths_that_do_not_divide_are_refused(widths: tuple[int, ...], head_width: int):
    with pytest.raises(Refused, match=r"widths are \(.*expected multiples of 8 and of head_width"):
        SpaceTimeUNet(widths=widths, head_width=head_width)
