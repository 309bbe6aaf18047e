import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.architecture import RELEASED, build, read_settings, settings_of
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS


@pytest.fixture(scope="module")
def shapes(reference) -> dict[str, tuple[int, ...]]:
    """Of the 512 layout."""
    keys = reference("dynamicrafter_512_unet_keys.json")["keys"]
    return {name: tuple(about["shape"]) for name, about in keys.items()}


def test_the_shapes_say_what_the_released_models_are(shapes):
    assert read_settings(shapes) == RELEASED


def test_a_released_model_is_not_taken_for_a_shallower_one(shapes):
    less = {name: shape for name, shape in shapes.items() if ".resblocks.23." not in name}
    assert read_settings(less) != RELEASED
    assert settings_of(less) is RELEASED


def test_full_size_models_have_as_many_parameters_as_the_reference_and_no_memory():
    models = build(RELEASED, LAYOUTS["512"])
    counts = {part: sum(parameter.numel() for parameter in model.parameters()) for part, model in models.items()}
    assert counts["denoiser"] == 1_438_854_980
    assert counts["autoencoder"] == 83_653_863
    assert counts["projector"] == 48_787_456
    assert all(
        parameter.device == torch.device("meta") for model in models.values() for parameter in model.parameters()
    )
    assert models["denoiser"].config.default_fps == 24
    assert build(RELEASED, LAYOUTS["256"])["denoiser"].config.learnable_image_scale


def test_tiny_models_are_built_as_their_shapes_say(checkpoint, parts):
    settings = settings_of({name: tuple(tensor.shape) for name, tensor in checkpoint.items()})
    for part, model in build(settings, LAYOUTS["512"]).items():
        known = parts[part]
        assert type(model) is type(known)
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
            name: tensor.shape for name, tensor in known.state_dict().items()
        }
    # Numbers of heads and activations are in no shape.
    text, image = (build(settings, LAYOUTS["512"])[part].config for part in ("text_encoder", "image_encoder"))
    assert (text.num_attention_heads, text.hidden_act) == (3, "gelu")
    assert (image.num_attention_heads, image.hidden_act) == (2, "gelu")
    assert settings["projector"]["heads"] == 3


def test_what_is_no_dynamicrafter_is_refused():
    with pytest.raises(
        Refused, match=r"none of its 1 keys begins with 'model\.diffusion_model\.', the first is 'conv'"
    ):
        settings_of({"conv": (3,)})
    with pytest.raises(Refused, match=r"no DynamiCrafter of any width"):
        settings_of({"model.diffusion_model.input_blocks.0.0.weight": (32, 4, 3, 3)})
