import re
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.dynamicrafter.keys import unet_keys
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet


@pytest.fixture(scope="module")
def io(reference) -> dict[str, Tensor]:
    return reference("unet_tiny_a_io.safetensors")


@pytest.fixture(scope="module")
def unet(parts) -> DynamiCrafterUNet:
    return parts["denoiser"]


def run(model: DynamiCrafterUNet, io: dict[str, Tensor], image: int | None = 64, fps: bool = True) -> Tensor:
    """Run the reference's input, with so many of its image tokens."""
    context, x = io["context"], io["x"]
    tokens = None if image is None else context[:, 77 : 77 + image]
    condition = Condition(x[:, 4:], context[:, :77], tokens, io["fs"] if fps else None)
    with torch.no_grad():
        return model(x[:, :4], io["timesteps"], condition)


def draw(model: DynamiCrafterUNet) -> DynamiCrafterUNet:
    """Draw every parameter: many start at zero, and then nothing behind them counts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


@pytest.fixture
def example() -> tuple[Tensor, Tensor, Condition]:
    """Two samples of 2 frames of 4 x 4 latents."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    condition = Condition(normal(2, 4, 2, 4, 4), normal(2, 5, 48), normal(2, 32, 48), torch.tensor([8, 24]))
    return normal(2, 4, 2, 4, 4), torch.tensor([10, 900]), condition


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("out", {}),
        ("out_fs_none", {"fps": False}),
        ("out_text_only", {"image": None}),
        ("out_shared_img16", {"image": 16}),
    ],
)
def test_outputs_are_the_references(unet, io, largest, name, how):
    assert largest(f"unet {name}", run(unet, io, **how), io[name]) <= 2e-5


def test_a_sample_does_not_depend_on_its_batch(unet, io, largest):
    second = {name: io[name][1:] for name in ("x", "context", "timesteps", "fs")}
    assert largest("unet out_single", run(unet, second), io["out_single"]) <= 2e-5


FEATURES = {
    "emb.time": "time_embedding",
    "emb.fs": "fps_embedding",
    "h.input_blocks.0": "conv_in",
    "h.init_attn": "transformer_in",
    "h.input_blocks.1.0.temopral_conv": "down_blocks.0.temp_convs.0",
    "h.input_blocks.1.1": "down_blocks.0.attentions.0",
    "h.input_blocks.1.1.attn2": "down_blocks.0.attentions.0.transformer_blocks.0.attn2",
    "h.input_blocks.1": "down_blocks.0.temp_attentions.0",
    "h.input_blocks.2": "down_blocks.0.downsamplers.0",
    "h.input_blocks.3": "down_blocks.1.temp_attentions.0",
    "h.middle_block": "mid_block.temp_convs.1",
    "h.output_blocks.0": "up_blocks.0.temp_attentions.0",
    "h.output_blocks.1": "up_blocks.0.upsamplers.0",
    "h.output_blocks.2": "up_blocks.1.temp_attentions.0",
    "h.output_blocks.3": "up_blocks.1.temp_attentions.1",
}


def test_features_inside_are_the_references(unet, io, largest):
    seen, hooks = {}, []
    for module in FEATURES.values():

        def keep(_: object, __: object, output: object, module: str = module) -> None:
            seen[module] = output[0] if isinstance(output, tuple) else output

        hooks.append(unet.get_submodule(module).register_forward_hook(keep))
    run(unet, io)
    for hook in hooks:
        hook.remove()
    for name, module in FEATURES.items():
        golden = io[name]
        if golden.ndim == 5:
            golden = golden.transpose(1, 2).flatten(0, 1)
        # Inside, values reach 20; the outputs are about 1.
        assert largest(name, seen[module], golden) <= 2e-5 * max(1, float(golden.abs().max()) / 4), name


@pytest.mark.parametrize(
    ("path", "last_layers", "change"),
    [
        ("image tokens", r"to_v_ip", 0.33),
        ("frame rate", r"fps_embedding\.linear_2", 0.08),
        ("temporal convolutions", r"temp_convs.*conv4\.3", 0.46),
        ("temporal attention", r"temp_attentions\.\d\.proj_out", 0.87),
        ("attention at the start", r"transformer_in\.proj_out", 1.08),
        ("text", r"\.attentions.*attn2\.to_v\.", 0.24),
        ("attention in space", r"\.attentions.*attn1\.to_out", 0.32),
    ],
)
def test_every_path_counts_as_in_the_reference(unet, io, path, last_layers, change):
    """The reference's own measure of each path: how far the output moves, relative to it, when it is silent."""
    silenced = deepcopy(unet)
    for name, parameter in silenced.named_parameters():
        if re.search(last_layers, name):
            parameter.zero_()
    moved = (run(silenced, io) - io["out"]).norm() / io["out"].norm()
    assert float(moved) == pytest.approx(change, abs=0.006), path


def test_more_input_channels_start_neutral(unet, reference, largest):
    io = reference("unet_tiny_in12_io.safetensors")
    condition = Condition(io["x"][:, 4:], io["context"][:, :77], io["context"][:, 77:], io["fs"])
    wide = unet.widened(12)
    with torch.no_grad():
        assert torch.equal(wide.conv_in.weight[:, 8:], torch.zeros(32, 4, 3, 3))
        assert largest("in12 zero", wide(io["x"][:, :4], io["timesteps"], condition), io["out_zero_padded"]) <= 2e-5
        narrow = Condition(condition.beside[:, :4], condition.text, condition.image, condition.fps)
        exact = unet(io["x"][:, :4], io["timesteps"], narrow)
        other = wide(io["x"][:, :4], io["timesteps"], condition)
        assert float((exact - other).abs().max()) <= 2e-6, "neutral up to the order of a convolution's sums"
        wide.conv_in.weight.copy_(io["input_blocks.0.0.weight"])
        assert largest("in12", wide(io["x"][:, :4], io["timesteps"], condition), io["out"]) <= 2e-5
    assert wide.config.in_channels == 12
    assert wide.mid_block.resnets[0].conv1.weight.data_ptr() == unet.mid_block.resnets[0].conv1.weight.data_ptr()


def test_a_model_is_not_narrowed(tiny_unet):
    with pytest.raises(Refused, match="12 input channels cannot have 8"):
        DynamiCrafterUNet(**tiny_unet, in_channels=12).widened(8)


def test_the_image_scale_of_the_256_layout_is_learned(example, tiny_unet):
    model = draw(DynamiCrafterUNet(**tiny_unet, learnable_image_scale=True)).eval()
    alphas = {name: value for name, value in model.named_parameters() if name.endswith("alpha")}
    assert len(alphas) == 7
    sample, timestep, condition = example
    with torch.no_grad():
        for value in alphas.values():
            value.fill_(-30)  # tanh + 1 is 0
        silent = model(sample, timestep, condition)
        without = model(sample, timestep, Condition(condition.beside, condition.text, None, condition.fps))
        torch.testing.assert_close(silent, without)
        for value in alphas.values():
            value.fill_(0)
        assert not torch.allclose(model(sample, timestep, condition), without, atol=1e-3)


@pytest.mark.parametrize("layout", ["512", "256"])
def test_every_tensor_of_the_reference_is_placed(reference, layout):
    known = reference("dynamicrafter_512_unet_keys.json")["keys"]
    prefix = "model.diffusion_model."
    if layout == "256":
        known = known | reference("dynamicrafter_256_unet_keys_diff.json")["extra_here"]
    shapes = {name.removeprefix(prefix): about["shape"] for name, about in known.items() if name.startswith(prefix)}
    with torch.device("meta"):
        model = DynamiCrafterUNet(learnable_image_scale=layout == "256")
        found, ours = unet_keys(model), model.state_dict()
        assert found.keys() == shapes.keys()
        for name, place in found.items():
            assert place.take(torch.empty(shapes[name])).shape == ours[place.key].shape, name
    paper = reference("unet_to_diffusers_unet3d_key_map.json")
    assert {name: found[name].key for name in paper["map"]} == paper["map"]
    assert {name for name, place in found.items() if place.flat} == set(paper["squeeze_last_dim"])


def test_gradients_are_the_same_recomputed(example, tiny_unet):
    sample, timestep, condition = example
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        model = draw(DynamiCrafterUNet(**tiny_unet)).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        torch.manual_seed(4)  # of dropout
        model(sample, timestep, condition).square().mean().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    assert all(value is not None for value in gradients[0].values())
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, msg=name)


def test_checkpointing_keeps_less(example, tiny_unet):
    kept = []
    for checkpointing in (False, True):
        model = draw(DynamiCrafterUNet(**tiny_unet)).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        bytes_kept = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal bytes_kept
            bytes_kept += 0 if tensor.requires_grad and tensor.is_leaf else tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(*example)
        kept.append(bytes_kept)
    assert kept[1] < kept[0] / 4


def test_dropout_is_where_the_reference_has_it(tiny_unet):
    model = DynamiCrafterUNet(**tiny_unet, dropout=0.25)
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    dropping = {name for name, rate in rates.items() if rate == 0.25}
    assert {re.search(r"(resnets|temp_convs)\.\d\.(.*)", name)[2] for name in dropping} == {
        "dropout",
        "conv2.2",
        "conv3.2",
        "conv4.2",
    }
    assert len(dropping) == 4 * 8
    assert all(rate == 0 for name, rate in rates.items() if name not in dropping)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_half_precision_is_near(unet, io, dtype, bound):
    half = deepcopy(unet).to(dtype)
    out = run(half, io)
    assert out.dtype == torch.float32, "as the sample that came in"
    assert float((out - io["out"]).norm() / io["out"].norm()) < bound


def test_a_saved_model_comes_back(tmp_path, example, tiny_unet):
    model = draw(DynamiCrafterUNet(**tiny_unet, image_tokens=16, default_fps=10, learnable_image_scale=True)).eval()
    model.save_pretrained(tmp_path)
    again = DynamiCrafterUNet.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(model(*example), again(*example))
    assert {k: v for k, v in again.config.items() if k[0] != "_"} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in model.config.items() if k[0] != "_"
    }


def test_temporal_layers_are_those_that_attend_in_time(tiny_unet):
    names = [name for name, _ in DynamiCrafterUNet(**tiny_unet).temporal_layers()]
    owners = {re.match(r"transformer_in|.*temp_attentions\.\d", name)[0] for name in names}
    assert owners == {
        "transformer_in",
        "down_blocks.0.temp_attentions.0",
        "down_blocks.1.temp_attentions.0",
        "mid_block.temp_attentions.0",
        "up_blocks.0.temp_attentions.0",
        "up_blocks.0.temp_attentions.1",
        "up_blocks.1.temp_attentions.0",
        "up_blocks.1.temp_attentions.1",
    }
    assert len(names) == len(owners) * 26


def test_full_size_has_as_many_parameters_as_the_reference():
    with torch.device("meta"):
        model = DynamiCrafterUNet()
        temporal = sum(value.numel() for _, value in model.temporal_layers())
        assert sum(value.numel() for value in model.parameters()) == 1_438_854_980
        assert temporal == 272_850_880 + 5_580_736
        assert model.widened(12).num_parameters() == 1_438_854_980 + 11_520


def test_unfit_latents_and_conditions_are_refused(example, tiny_unet):
    model = DynamiCrafterUNet(**tiny_unet)
    sample, timestep, condition = example
    with pytest.raises(Refused, match="4 x 3 cannot be denoised; expected multiples of 2"):
        model(sample[..., :3], timestep, condition)
    with pytest.raises(Refused, match="no text"):
        model(sample, timestep, Condition(condition.beside))
