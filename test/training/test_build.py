from dataclasses import replace

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.control_branch import ControlledUNet
from mask2iv_ros.generator.dynamicrafter.unet import DynamiCrafterUNet
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.build import begin, check_fit, source_of
from mask2iv_ros.training.experiment import Optimiser
from mask2iv_ros.training.windows import Windows

CPU, SCALE = torch.device("cpu"), torch.full((8,), 0.5)


def test_a_network_begins_with_random_weights_that_the_seed_decides(small, tiny_experiment):
    asked = tiny_experiment("trajectory")
    one, again, other = (
        begin(tiny_experiment("trajectory", seed=seed), small.base, None, SCALE, CPU).stage for seed in (0, 0, 1)
    )
    weights = [stage.denoiser.entry.weight for stage in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(one.scale, SCALE)
    assert one.schedule == asked.schedule
    assert all(parameter.requires_grad for parameter in one.parameters())


def test_a_branch_begins_with_the_weights_that_a_network_without_one_begins_with(small, tiny_experiment):
    plain, branch = (
        begin(tiny_experiment("video", network={"branch": one}), small.base, None, SCALE, CPU).stage.denoiser
        for one in (False, True)
    )
    assert isinstance(branch, ControlledUNet)
    for name, weight in plain.state_dict().items():
        assert torch.equal(branch.network.state_dict()[name], weight), name
    assert all(parameter.requires_grad for parameter in branch.parameters())


@pytest.mark.parametrize(
    ("stage", "goals", "width"), [("trajectory", 0.5, 16), ("trajectory", 1.0, None), ("video", None, None)]
)
def test_a_network_takes_text_if_windows_are_told_one(small, tiny_experiment, stage: str, goals: float | None, width):
    beginning = begin(tiny_experiment(stage, goals=goals), small.base, None, SCALE, CPU)
    assert beginning.stage.denoiser.config.text_width == width


def test_a_base_model_is_widened_without_changing_what_it_does(full, base_experiment):
    base = full.base.stages["base"]
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    beginning = begin(base_experiment("video"), full.base, "base", SCALE[:4], CPU)
    weight = beginning.stage.denoiser.conv_in.weight
    assert torch.equal(weight[:, :8], before.pop("denoiser.conv_in.weight"))
    assert weight.shape[1] == 12
    assert not weight[:, 8:].any()
    after = beginning.stage.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert (beginning.stage.schedule, beginning.sampling) == (NoiseSchedule(), Sampling(steps=2))
    assert beginning.stage.scale is None
    assert beginning.undecayed == frozenset()


def test_the_experiments_schedule_and_sampling_go_before_the_bases(full, base_experiment):
    schedule, sampling = NoiseSchedule(rescale=0.3), Sampling(steps=7)
    asked = base_experiment("video")
    beginning = begin(replace(asked, schedule=schedule, sampling=sampling), full.base, "base", SCALE[:4], CPU)
    assert (beginning.stage.schedule, beginning.sampling) == (schedule, sampling)


def test_a_stage_is_trained_further_with_its_own_scale(small_base, tiny_experiment):
    base = checkpoints.load(small_base, CPU, stages=("video",))
    asked = tiny_experiment("video", network=None, schedule=None, sampling=None)
    assert source_of(asked, base.config) == "video"
    stage = begin(asked, base, "video", SCALE, CPU).stage
    assert torch.equal(stage.scale, torch.ones(8))
    assert stage.denoiser.entry.weight.requires_grad


def test_adapters_train_in_place_of_the_weights(full, base_experiment):
    beginning = begin(
        base_experiment("video", trained={"lora": 2, "projector": False}), full.base, "base", SCALE[:4], CPU
    )
    moving = {name for name, one in beginning.stage.named_parameters() if one.requires_grad}
    assert {name for name in moving if ".lora_" not in name} == {"denoiser.conv_in.weight"}
    assert beginning.undecayed == {beginning.stage.denoiser.conv_in.weight}


def test_where_the_weights_come_from(small, full, tiny_experiment, base_experiment):
    assert source_of(tiny_experiment("video"), small.base.config) is None
    assert source_of(base_experiment("video"), small.base.config) == "video"
    assert source_of(base_experiment("video"), full.base.config) == "base"
    bare = replace(full.base.config, stages={})
    with pytest.raises(Refused, match=r"base 'full' has no stage 'video' and no stage 'base' \(it has none\)"):
        source_of(base_experiment("video"), bare)


def test_a_base_that_does_not_fit_is_refused(small, small_base, full, tiny_experiment, base_experiment):
    def refused(asked, base, source, words):
        with pytest.raises(Refused, match=words):
            check_fit(asked, base, source)

    mute = replace(small.base, text_encoder=None)
    words = r"goals is 0\.5 and base 'tiny' has no text encoder; expected 1\.0"
    refused(tiny_experiment("trajectory"), mute, None, words)
    check_fit(tiny_experiment("trajectory", goals=1.0), mute, None)
    words = "change is True and stage 'base' of 'full' was trained with the opposite; expected False"
    refused(replace(base_experiment("video"), change=True), full.base, "base", words)
    check_fit(base_experiment("video"), full.base, "base")
    further = checkpoints.load(small_base, CPU, stages=("video",))
    changing = replace(base_experiment("video"), change=True)
    check_fit(changing, further, "video")
    pasting = replace(changing, origin="pasted")
    refused(pasting, further, "video", "origin is 'pasted' and stage 'video' of 'tiny' was trained with 'first'")
    huge = replace(changing, data=replace(changing.data, size=(8 * 128, 8 * 256)), optimiser=Optimiser(1, 12, 12))
    refused(huge, further, "video", "micro is 12 windows of 32768 latent positions each; expected micro 1, as CUDA's")
    check_fit(replace(huge, optimiser=Optimiser(1, 12, 1)), further, "video")
    wide = replace(huge, data=replace(huge.data, size=(8 * 300, 8 * 300)))
    refused(wide, further, "video", r"expected a smaller data\.size")
    long = replace(changing, data=replace(changing.data, windows=Windows(frames=5)))
    refused(long, further, "video", r"windows\.frames is 5; stage 'video' takes at most 4")
    told = replace(base_experiment("trajectory"), change=True)
    refused(told, further, "video", r"goals is 0\.5 and stage 'video' takes no text")


def test_a_size_that_the_network_cannot_halve_is_refused(full, base_experiment):
    denoiser = DynamiCrafterUNet(
        block_out_channels=(32, 32, 32),
        layers_per_block=1,
        attention_levels=1,
        cross_attention_dim=16,
        attention_head_dim=16,
        image_tokens=2,
    )
    deeper = replace(full.base, stages={"base": Stage(denoiser, NoiseSchedule())})
    with pytest.raises(Refused, match=r"size is \(16, 24\); stage 'base' takes multiples of 16 pixels"):
        check_fit(base_experiment("video"), deeper, "base")
