import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.training.lora import Adapters


@pytest.fixture
def denoiser(full) -> torch.nn.Module:
    network = full.base.stages["base"].denoiser.widened(12).requires_grad_(False).eval()
    torch.manual_seed(5)
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network


def output(denoiser: torch.nn.Module) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    condition = Condition(
        torch.randn(1, 8, 4, 4, 6, generator=draw), torch.randn(1, 5, 16, generator=draw), fps=torch.tensor([8])
    )
    return denoiser(torch.randn(1, 4, 4, 4, 6, generator=draw), torch.tensor([500]), condition)


def moved(adapters: Adapters) -> None:
    """Take a step of the optimiser with a large rate."""
    trained = [one for one in adapters.denoiser.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [one for one in trained if one not in adapters.undecayed]},
            {"params": list(adapters.undecayed), "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    for _ in range(2):
        output(adapters.denoiser).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


def test_adapters_begin_as_nothing_and_are_all_that_is_trained(denoiser):
    before = output(denoiser)
    Adapters(denoiser, rank=2, new_columns=4)
    assert torch.equal(output(denoiser), before)
    trained = {name for name, one in denoiser.named_parameters() if one.requires_grad}
    assert {name for name in trained if ".lora_" not in name} == {"conv_in.weight"}
    for projection in ("to_q", "to_k", "to_v", "to_out.0", "to_k_ip", "to_v_ip"):
        assert any(f".{projection}.lora_A" in name for name in trained), projection
    assert any("temp_attentions" in name for name in trained)
    assert not any("ff.net" in name for name in trained)


def test_temporal_attention_has_no_adapters_where_it_is_frozen(denoiser):
    Adapters(denoiser, rank=2, new_columns=4, freeze_time=True)
    trained = {name for name, one in denoiser.named_parameters() if one.requires_grad}
    assert any(".attentions." in name for name in trained)
    assert not any("temp_attentions" in name or name.startswith("transformer_in") for name in trained)


def test_of_the_input_convolution_only_the_new_columns_move(denoiser):
    before = denoiser.conv_in.weight.clone()
    adapters = Adapters(denoiser, rank=2, new_columns=4)
    moved(adapters)
    assert torch.equal(denoiser.conv_in.weight[:, :8], before[:, :8])
    assert not torch.isclose(denoiser.conv_in.weight[:, 8:], before[:, 8:]).any()


def test_merged_adapters_leave_the_plain_network_that_computes_the_same(denoiser, tmp_path: Path):
    names = list(denoiser.state_dict())
    adapters = Adapters(denoiser, rank=2, new_columns=4)
    moved(adapters)
    told = output(denoiser).detach()
    adapters.save(tmp_path)
    adapters.merge()
    assert list(denoiser.state_dict()) == names
    assert (output(denoiser) - told).abs().max() < 1e-4 * told.abs().max()


def test_without_new_columns_the_input_convolution_stays(denoiser, tmp_path: Path):
    adapters = Adapters(denoiser, rank=2, new_columns=0)
    assert not denoiser.conv_in.weight.requires_grad
    assert adapters.undecayed == frozenset()
    adapters.save(tmp_path)
    assert not (tmp_path / "input_columns.safetensors").exists()


def test_adapters_are_saved_as_peft_does(denoiser, tmp_path: Path):
    adapters = Adapters(denoiser, rank=2, new_columns=4)
    moved(adapters)
    adapters.save(tmp_path)
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (about["peft_type"], about["r"], about["lora_alpha"]) == ("LORA", 2, 2)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    own = {name.replace(".default", "") for name in denoiser.state_dict() if ".lora_" in name}
    assert saved.keys() == {f"base_model.model.{name}" for name in own}
    columns = load_file(tmp_path / "input_columns.safetensors")["weight"]
    assert torch.equal(columns, denoiser.conv_in.weight[:, 8:])


def test_weights_at_rest_can_be_half_as_large(denoiser):
    Adapters(denoiser, rank=2, new_columns=4, dtype=torch.bfloat16)
    dtypes = {one.requires_grad: one.dtype for one in denoiser.parameters() if one is not denoiser.conv_in.bias}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        assert output(denoiser).isfinite().all()
