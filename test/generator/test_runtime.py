import pytest
import torch
from torch import Tensor, nn

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import runtime
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet
from mask2iv_ros.generator.space_time import SpaceTimeUNet


class Narrow(nn.Module):
    """A denoiser with memory for so many samples."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room
        self.weight = nn.Parameter(torch.ones(()))
        self.batches: list[int] = []

    def forward(self, sample: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        self.batches.append(len(sample))
        if len(sample) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return self.weight * sample + timestep.view(-1, 1, 1, 1, 1) + condition.beside + condition.text.mean()


def draw(batch: int) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    condition = Condition(normal(batch, 4, 2, 4, 4), normal(1, 3, 8).expand(batch, -1, -1))
    return normal(batch, 4, 2, 4, 4), torch.arange(batch), condition


def test_a_batch_that_fits_is_one_call():
    halving = runtime.Halving(Narrow(4))
    halving(*draw(4))
    assert halving.denoiser.batches == [4]
    assert halving.most is None


@pytest.mark.parametrize("batch", [4, 3])
def test_a_batch_too_large_is_halved_from_then_on(batch):
    halving = runtime.Halving(Narrow(2))
    outputs = [halving(*draw(batch)) for _ in range(2)]
    whole = Narrow(batch)(*draw(batch))
    assert torch.equal(outputs[0], whole)
    assert torch.equal(outputs[1], whole)
    assert halving.denoiser.batches == [batch, 2, batch - 2, 2, batch - 2]


def test_what_does_not_fit_halved_is_refused_with_what_would():
    halving = runtime.Halving(Narrow(1))
    with pytest.raises(Refused, match="does not hold a batch of 2; what needs less: a batch of 1, bf16 weights"):
        halving(*draw(4))
    assert halving.denoiser.batches == [4, 2], "the smaller batch is tried once"
    with pytest.raises(Refused, match=r"batch of 1; what needs less: bf16 .* smaller than 4 x 4"):
        runtime.Halving(Narrow(0))(*draw(1))


def test_an_offloaded_network_computes_the_same_and_leaves_its_weights_home():
    network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).eval()
    x = torch.randn(3, 8)
    expected = network(x)
    offloaded = runtime.offloaded(network, torch.device("cpu"))
    home = [parameter.data_ptr() for parameter in network.parameters()]
    assert torch.equal(offloaded(x), expected)
    assert [parameter.data_ptr() for parameter in network.parameters()] == home


def test_an_offloaded_networks_weights_are_on_the_device_during_a_call():
    """The meta device has no values, but it is another device."""
    network = runtime.offloaded(nn.Linear(8, 8), torch.device("meta"))
    seen = []
    network.register_forward_pre_hook(lambda module, _: seen.append(module.weight.device.type))
    assert network.forward(torch.randn(3, 8)).device.type == "meta"
    assert network.weight.device.type == "cpu"
    assert network.weight.isfinite().all()


@pytest.mark.parametrize("name", ["auto", *runtime.ATTENTION])
def test_attention_is_the_same_on_every_back_end(name):
    q, k, v = torch.randn(3, 2, 4, 16, 8).unbind()
    expected = ((q @ k.transpose(-1, -2)) * 8**-0.5).softmax(-1) @ v
    with runtime.attention(name):
        torch.testing.assert_close(nn.functional.scaled_dot_product_attention(q, k, v), expected)


def test_an_unknown_back_end_is_refused():
    with pytest.raises(Refused, match="'fast' is unknown; accepted are auto, flash"), runtime.attention("fast"):
        pass


@pytest.mark.parametrize("kind", ["full-size", "small"])
def test_denoisers_are_one_graph_to_the_compiler(kind):
    """Tracing alone: what compiles it makes no difference to whether there is one graph."""
    if kind == "full-size":
        network = DynamiCrafterUNet(
            block_out_channels=(32,),
            layers_per_block=1,
            attention_levels=1,
            cross_attention_dim=8,
            attention_head_dim=16,
        )
    else:
        network = SpaceTimeUNet(8, 4, frames=2, widths=(16,), depth=1, head_width=16, text_width=8)
    network.eval().requires_grad_(False)
    expected = network(*draw(2))
    names = list(network.state_dict())
    compiled = runtime.compiled(network, backend="eager")
    torch.testing.assert_close(compiled(*draw(2)), expected)
    assert list(compiled.state_dict()) == names
