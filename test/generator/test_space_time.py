from dataclasses import replace

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition, goal_slots
from mask2iv_ros.generator.space_time import SpaceTimeUNet

Inputs = tuple[torch.Tensor, torch.Tensor, Condition]


@pytest.fixture
def net() -> SpaceTimeUNet:
    """A network whose residual branches are no longer zero, as after some training."""
    torch.manual_seed(0)
    net = SpaceTimeUNet(12, 4, frames=5, widths=(16, 32), depth=2, head_width=16, text_width=6)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return net


def inputs(batch: int, frames: int, height: int, width: int) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 4, frames, height, width, generator=generator),
        torch.randint(1000, (batch,), generator=generator),
        Condition(
            torch.randn(batch, 8, frames, height, width, generator=generator),
            torch.randn(batch, 7, 6, generator=generator),
        ),
    )


@pytest.mark.parametrize("shape", [(1, 5, 4, 6), (2, 5, 5, 7), (1, 5, 1, 1), (2, 3, 6, 5), (1, 1, 2, 9)])
def test_the_output_has_the_samples_shape(net: SpaceTimeUNet, shape: tuple[int, ...]):
    sample, timestep, condition = inputs(*shape)
    output = net(sample, timestep, condition)
    assert output.shape == sample.shape
    assert output.isfinite().all()


def test_a_new_network_answers_zero():
    net = SpaceTimeUNet(12, 4, frames=5, widths=(16, 32), depth=1, head_width=16)
    assert not net(*inputs(1, 5, 4, 6)).any()


def gated(net: SpaceTimeUNet) -> SpaceTimeUNet:
    """Return the network with gates that are new."""
    settings = {name: value for name, value in net.config.items() if not name.startswith("_")}
    gated = SpaceTimeUNet(**settings | {"gates": 3})
    missing = gated.load_state_dict(net.state_dict(), strict=False).missing_keys
    assert sorted(missing) == ["gate.bias", "gate.weight", "taken.weight"]
    return gated


def test_new_gates_change_nothing(net: SpaceTimeUNet):
    asked = inputs(2, 5, 5, 7)
    assert torch.equal(gated(net)(*asked), net(*asked))


def test_an_open_gate_takes_away_what_is_beside_the_first_frame(net: SpaceTimeUNet):
    sample, timestep, condition = inputs(2, 5, 5, 7)
    both = gated(net)
    for way, beside in enumerate(condition.beside.chunk(2, 1)):
        with torch.no_grad():
            both.gate.bias.copy_(torch.eye(3)[way])
            change = both(sample, timestep, condition) - net(sample, timestep, condition)
        torch.testing.assert_close(change, -beside[:, :, :1].expand_as(sample), atol=1e-5, rtol=1e-5)


def test_gates_that_follow_take_away_what_is_beside_every_frame(net: SpaceTimeUNet):
    sample, timestep, condition = inputs(2, 5, 5, 7)
    settings = {name: value for name, value in net.config.items() if not name.startswith("_")}
    following = SpaceTimeUNet(**settings | {"gates": 2, "follow": True})
    following.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad():
        following.gate.bias.copy_(torch.tensor([0.0, 0.5]))
        change = following(sample, timestep, condition) - net(sample, timestep, condition)
    torch.testing.assert_close(change, -0.5 * condition.beside.chunk(2, 1)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gates", [0, 3])
def test_gradient_reaches_every_parameter(net: SpaceTimeUNet, gates: int):
    if gates:
        net = gated(net)
        torch.nn.init.normal_(net.gate.weight, std=0.05)
    net(*inputs(2, 5, 5, 7)).square().mean().backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not without


def test_three_levels_work_on_odd_grids():
    net = SpaceTimeUNet(12, 4, frames=2, widths=(16, 16, 32), depth=1, head_width=16)
    torch.nn.init.normal_(net.leave[-1].weight)
    output = net(*inputs(1, 2, 5, 7))
    assert output.shape == (1, 4, 2, 5, 7)
    output.square().mean().backward()
    assert net.shrink[1].weight.grad.any()


@torch.no_grad()
def test_the_goal_in_the_last_slot_is_seen_in_the_first_frame(net: SpaceTimeUNet):
    sample, timestep, _ = inputs(1, 5, 4, 6)
    first, goal, other = (torch.randn(1, 8, 4, 6) for _ in range(3))
    one, two = (net(sample, timestep, Condition(goal_slots(first, end, 5))) for end in (goal, other))
    assert (one - two)[:, :, 0].abs().max() > 1e-3


@torch.no_grad()
def test_the_text_is_read_and_may_be_left_out(net: SpaceTimeUNet):
    sample, timestep, condition = inputs(1, 5, 4, 6)
    output = net(sample, timestep, condition)
    other = net(sample, timestep, replace(condition, text=condition.text + 1))
    assert (output - other).abs().max() > 1e-3
    silent = net(sample, timestep, replace(condition, text=None))
    assert (output - silent).abs().max() > 1e-3


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(net: SpaceTimeUNet):
    sample, timestep, condition = inputs(3, 4, 4, 6)
    together = net(sample, timestep, condition)
    alone = net(sample[1:2], timestep[1:2], condition.map(lambda part: part[1:2]))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_output_depends_on_the_timestep_and_on_the_order_of_frames(net: SpaceTimeUNet):
    sample, timestep, condition = inputs(1, 5, 4, 6)
    output = net(sample, timestep, condition)
    assert not torch.allclose(output, net(sample, timestep // 2, condition), atol=1e-4)
    # Attention alone does not know the order: positions must be told.
    turned = net(sample.flip(2), timestep, replace(condition, beside=condition.beside.flip(2))).flip(2)
    assert not torch.allclose(output, turned, atol=1e-4)


@pytest.mark.parametrize(("widths", "head_width"), [((16, 40), 16), ((12, 24), 12), ((16, 32), 64)])
def test_widths_that_do_not_divide_are_refused(widths: tuple[int, ...], head_width: int):
    with pytest.raises(Refused, match=r"widths are \(.*expected multiples of 8 and of head_width"):
        SpaceTimeUNet(widths=widths, head_width=head_width)
