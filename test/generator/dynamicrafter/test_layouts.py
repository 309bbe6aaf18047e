from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS, Layout, recognise, schedule_of
from mask2iv_ros.generator.schedule import NoiseSchedule


def buffers(schedule: NoiseSchedule) -> dict[str, Tensor]:
    """What a checkpoint would hold of this schedule."""
    share = torch.from_numpy(schedule.alphas_cumprod)
    betas = 1 - share / torch.cat([torch.ones(1).double(), share[:-1]])
    held = {"betas": betas.float(), "alphas_cumprod": share.float()}
    if schedule.rescale is None:
        return held
    scale = torch.from_numpy(schedule.scale).float()
    return held | {"scale_arr": torch.cat([scale, scale[-1:].expand(schedule.rescale_steps)])}


def test_each_layout_is_told_from_the_others():
    alpha = {"model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.alpha": ()}
    for name, layout in LAYOUTS.items():
        assert layout.name == name
        assert recognise(alpha if name == "256" else {}, buffers(layout.schedule)) is layout


@pytest.mark.parametrize("floor", [0.5, float("nan")])
def test_another_model_is_no_layout(floor: float):
    with pytest.raises(
        Refused, match=r"falls to .*, which is no layout's; name the layout with --layout: 256, 512, 1024"
    ):
        recognise({}, {"scale_arr": torch.full((1400,), floor)})
    with pytest.raises(Refused, match=r"no scale_arr.*--layout: 256, 512, 1024"):
        recognise({}, {})


def test_the_schedule_of_the_reference_is_that_of_512(reference):
    stored = reference("lvd_tiny_rest_weights.safetensors")
    names = ("betas", "alphas_cumprod", "scale_arr")
    schedule, said = schedule_of(LAYOUTS["512"], {name: stored[name] for name in names})
    assert (schedule, said) == (NoiseSchedule(), [])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_a_checkpoint_of_its_layout_says_nothing(layout: Layout, precision: torch.dtype):
    held = {name: tensor.to(precision) for name, tensor in buffers(layout.schedule).items()}
    schedule, said = schedule_of(layout, held)
    assert schedule == layout.schedule
    assert said == []
    assert schedule_of(layout, {}) == (layout.schedule, [])


def test_the_checkpoint_decides_and_the_difference_is_said():
    other = NoiseSchedule(zero_terminal_snr=False)
    schedule, said = schedule_of(LAYOUTS["512"], buffers(other))
    assert schedule == other
    assert len(said) == 1
    assert "betas end at 0.012, so its schedule is not rescaled to zero terminal SNR" in said[0]
    schedule, said = schedule_of(LAYOUTS["1024"], buffers(NoiseSchedule()))
    assert schedule == NoiseSchedule()
    assert "scale_arr falls to 0.7, that of layout 1024 to 0.3" in said[0]


def shift(held: dict[str, Tensor]) -> None:
    held["alphas_cumprod"] = held["alphas_cumprod"] * 0.999


def shorten(held: dict[str, Tensor]) -> None:
    held["alphas_cumprod"] = held["alphas_cumprod"][:500]


def spoil(held: dict[str, Tensor]) -> None:
    held["alphas_cumprod"][3] = float("nan")


def ramp(held: dict[str, Tensor]) -> None:
    held["scale_arr"] = torch.linspace(1, 0.7, 1400)


@pytest.mark.parametrize("change", [shift, shorten, spoil, ramp])
def test_a_schedule_of_no_known_kind_is_refused(change: Callable[[dict[str, Tensor]], None]):
    held = buffers(NoiseSchedule())
    change(held)
    with pytest.raises(Refused, match="of the checkpoint is not that of NoiseSchedule"):
        schedule_of(LAYOUTS["512"], held)


def test_a_256_model_cannot_end_in_pure_noise():
    with pytest.raises(Refused, match='"epsilon" says nothing where the signal is gone'):
        schedule_of(LAYOUTS["256"], buffers(NoiseSchedule(rescale=None)))


def test_a_floor_in_half_precision_is_the_layouts_own():
    layout = LAYOUTS["512"]
    held = {"scale_arr": torch.from_numpy(layout.schedule.scale).to(torch.bfloat16)}
    assert schedule_of(layout, held) == (layout.schedule, [])
