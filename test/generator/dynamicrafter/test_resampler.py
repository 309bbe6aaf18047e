import pytest
import torch

from mask2iv_ros.generator.dynamicrafter.keys import PREFIXES, places
from mask2iv_ros.generator.dynamicrafter.resampler import Resampler


@pytest.fixture(scope="module")
def golden(reference) -> dict[str, torch.Tensor]:
    return reference("resampler_tiny.safetensors")


@pytest.fixture(scope="module")
def resampler(golden) -> Resampler:
    model = Resampler(40, width=64, output_width=48, depth=2, heads=3, head_width=16, tokens=64)
    state = {}
    for source, targets in places({"projector": model}).items():
        for place in targets:
            state[place.key] = place.take(golden["w." + source.removeprefix(PREFIXES["projector"])])
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def test_its_output_is_the_references(resampler, golden, largest):
    assert largest("resampler", resampler(golden["x"]), golden["out"]) <= 1e-5


def test_it_projects_the_first_frame_as_the_reference(parts, reference, largest):
    io = reference("vae_clip_tiny_io.safetensors")
    for name in ("tokens", "tokens_zero_image"):
        assert largest(f"projector {name}", parts["projector"](io[f"clip.{name}"]), io[f"proj.{name}"]) <= 1e-5


def test_every_token_counts(resampler, golden):
    for i in range(golden["x"].shape[1]):
        without = golden["x"].clone()
        without[:, i] = 0
        assert float((resampler(without) - golden["out"]).abs().max()) > 1e-3, i


def test_the_defaults_are_the_released_layout(reference):
    prefix = PREFIXES["projector"]
    known = reference("dynamicrafter_512_unet_keys.json")["keys"]
    shapes = {name: about["shape"] for name, about in known.items() if name.startswith(prefix)}
    with torch.device("meta"):
        model = Resampler()
        state, found = model.state_dict(), places({"projector": model})
        assert found.keys() == shapes.keys()
        for name, targets in found.items():
            for place in targets:
                assert place.take(torch.empty(shapes[name])).shape == state[place.key].shape, name
    assert model.num_parameters() == 48_787_456


def test_a_saved_one_comes_back(resampler, golden, tmp_path):
    resampler.save_pretrained(tmp_path)
    assert torch.equal(Resampler.from_pretrained(tmp_path)(golden["x"]), resampler(golden["x"]))
