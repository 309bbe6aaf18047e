import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.control_branch import ControlledUNet
from mask2iv_ros.generator.parts import load_part, save_part
from mask2iv_ros.generator.space_time import SpaceTimeUNet

SETTINGS = {"in_channels": 12, "out_channels": 4, "frames": 5, "widths": (16, 32), "depth": 1, "head_width": 16}
SAMPLE, TIMESTEP = torch.randn(2, 4, 5, 4, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 700])


def told(masks: float) -> Condition:
    """A first frame, and masks of this strength."""
    beside = torch.randn(2, 8, 5, 4, 6, generator=torch.Generator().manual_seed(2))
    beside[:, 4:] *= masks
    return Condition(beside)


def make(kind: type, **changes: object) -> SpaceTimeUNet | ControlledUNet:
    torch.manual_seed(0)
    return kind(**SETTINGS | changes)


def waken(net: torch.nn.Module) -> torch.nn.Module:
    """Fill what begins as zeros, as some training does."""
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return net


@torch.no_grad()
def test_a_new_branch_leaves_the_network_as_one_of_the_same_seed_without_masks():
    plain, controlled = make(SpaceTimeUNet), make(ControlledUNet)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(controlled.network.state_dict()[name], tensor), name
    for net in (plain, controlled.network):
        torch.manual_seed(3)
        waken(net)
    expected = plain(SAMPLE, TIMESTEP, told(masks=0))
    assert expected.any()
    for masks in (0, 1):
        assert torch.equal(controlled(SAMPLE, TIMESTEP, told(masks)), expected)


@torch.no_grad()
def test_a_trained_branch_tells_the_masks():
    net = waken(make(ControlledUNet))
    without, once, twice = (net(SAMPLE, TIMESTEP, told(masks)) for masks in (0, 1, 2))
    assert (once - without).abs().max() > 1e-3
    assert (once - twice).abs().max() > 1e-3
    # By the branch alone: the network itself has channels for masks, and sees zeros in them.
    torch.nn.init.zeros_(net.hint.weight)
    assert torch.equal(net(SAMPLE, TIMESTEP, told(1)), net(SAMPLE, TIMESTEP, told(2)))


def test_gradient_reaches_every_parameter_of_a_trained_one():
    net = waken(make(ControlledUNet, text_width=6))
    condition = replace(told(1), text=torch.randn(2, 7, 6))
    net(SAMPLE, TIMESTEP, condition).square().mean().backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not without


def test_a_new_one_begins_to_learn_at_its_projections():
    net = make(ControlledUNet)
    torch.nn.init.normal_(net.network.leave[-1].weight)
    net(SAMPLE, TIMESTEP, told(1)).square().mean().backward()
    assert all(projection.weight.grad.any() for projection in net.leave)
    assert not net.hint.weight.grad.any()


@pytest.mark.parametrize("shape", [(1, 5, 5, 7), (2, 3, 1, 1)])
@torch.no_grad()
def test_odd_grids_and_three_levels_work(shape: tuple[int, ...]):
    net = waken(make(ControlledUNet, widths=(16, 16, 32)))
    batch, frames, height, width = shape
    sample = torch.randn(batch, 4, frames, height, width)
    condition = Condition(torch.randn(batch, 8, frames, height, width))
    assert net(sample, torch.zeros(batch, dtype=torch.long), condition).shape == sample.shape


@torch.no_grad()
def test_it_is_loaded_as_it_was_saved(tmp_path: Path):
    net = waken(make(ControlledUNet))
    save_part(net, tmp_path / "net", torch.float32)
    again = load_part(ControlledUNet, tmp_path / "net")
    assert json.loads((tmp_path / "net" / "config.json").read_text())["_class_name"] == "ControlledUNet"
    assert torch.equal(again(SAMPLE, TIMESTEP, told(1)), net(SAMPLE, TIMESTEP, told(1)))


def test_temporal_layers_are_those_of_network_and_branch():
    net = make(ControlledUNet)
    names = {name for name, _ in net.temporal_layers()}
    assert names == {name for name, _ in net.named_parameters() if ".time." in name or name.endswith(".position")}
    assert any(name.startswith("branch.") for name in names)
