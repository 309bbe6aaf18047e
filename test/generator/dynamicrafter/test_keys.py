import pytest
import torch

from mask2iv_ros.generator.dynamicrafter.architecture import RELEASED, build
from mask2iv_ros.generator.dynamicrafter.keys import PREFIXES, SCHEDULE_BUFFERS, Place, canonical, places, why_unused
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS


@pytest.fixture(scope="module")
def shapes(reference) -> dict[str, list[int]]:
    """Of all tensors of the 512 layout."""
    known = reference("dynamicrafter_512_unet_keys.json")["keys"]
    return {name: about["shape"] for name, about in known.items()}


@pytest.fixture(scope="module")
def models() -> dict[str, torch.nn.Module]:
    return build(RELEASED, LAYOUTS["512"])


def test_every_tensor_is_placed_or_known_to_be_unused(shapes, models):
    placed = places(models)
    unused = {name for name in shapes if why_unused(name, text_layers=23)}
    assert len(shapes) == 2520
    assert placed.keys() | unused == shapes.keys()
    assert not placed.keys() & unused
    assert len(unused) == len(SCHEDULE_BUFFERS) + 12 + 2 + 7


def test_every_tensor_of_ours_is_filled_once_with_its_shape(shapes, models):
    ours = {(part, key): tensor.shape for part, model in models.items() for key, tensor in model.state_dict().items()}
    filled = {}
    for source, targets in places(models).items():
        for place in targets:
            assert (place.part, place.key) not in filled
            filled[place.part, place.key] = place.take(torch.empty(shapes[source], device="meta")).shape
    assert filled == ours


def test_fused_projections_are_taken_apart_in_order(models):
    found = places(models)
    layer = PREFIXES["text_encoder"] + "transformer.resblocks.3.attn.in_proj_weight"
    assert [place.slice for place in sorted(found[layer], key=lambda place: "qkv".index(place.key[-13]))] == [
        (0, 3),
        (1, 3),
        (2, 3),
    ]
    kv = found[PREFIXES["projector"] + "layers.0.0.to_kv.weight"]
    assert {place.key[-8]: place.slice for place in kv} == {"k": (0, 2), "v": (1, 2)}


def test_taking_slices_and_drops_kernels_of_one():
    source = torch.arange(12.0).view(6, 2, 1, 1)
    assert torch.equal(Place("projector", "k", slice=(1, 3), flat=True).take(source), torch.tensor([[4.0, 5], [6, 7]]))
    assert Place("projector", "k").take(source) is source


def test_the_released_256_file_names_the_frame_rate_otherwise():
    name = "model.diffusion_model.framestride_embed.0.weight"
    assert canonical(name) == "model.diffusion_model.fps_embedding.0.weight"
    assert canonical("betas") == "betas"


@pytest.mark.parametrize(
    "name",
    [
        "cond_stage_model.model.transformer.resblocks.2.ln_1.weight",
        "cond_stage_model.model.transformer.resblocks.24.ln_1.weight",
        "embedder.model.visual.ln_post.weight",
        "model_ema.decay",
        "cond_stage_model.model.ln_final.weight",
    ],
)
def test_what_is_read_or_foreign_is_not_called_unused(name):
    assert why_unused(name, text_layers=23) is None
