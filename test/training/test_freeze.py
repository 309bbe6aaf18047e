import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.space_time import SpaceTimeUNet
from mask2iv_ros.generator.stage import Stage
from mask2iv_ros.training.experiment import Trained
from mask2iv_ros.training.freeze import choose_trained, trained_parameters


def test_all_moves_unless_told_otherwise(full):
    stage = full.base.stages["base"]
    choose_trained(stage, Trained())
    assert dict(trained_parameters(stage)).keys() == dict(stage.named_parameters()).keys()
    choose_trained(stage, Trained(projector=False))
    names = set(dict(trained_parameters(stage)))
    assert names == {name for name, _ in stage.named_parameters() if not name.startswith("projector.")}


def test_stage_1_keeps_temporal_attention_and_nothing_else(full):
    stage = full.base.stages["base"]
    choose_trained(stage, Trained(freeze_time=True))
    frozen = {name for name, parameter in stage.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"denoiser.{name}" for name, _ in stage.denoiser.temporal_layers()}
    assert any("transformer_in" in name for name in frozen)
    assert any("temp_attentions" in name for name in frozen)
    assert not any("temp_convs" in name for name in frozen)


def test_the_small_defaults_temporal_attention_can_be_kept_too():
    stage = Stage(SpaceTimeUNet(6, 2, 4, widths=(16, 16), depth=1, head_width=16))
    choose_trained(stage, Trained(freeze_time=True))
    frozen = {name for name, parameter in stage.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[4] for name in frozen} == {"time", "position"}
    assert len(frozen) == 4 * 6


def test_a_network_without_time_is_refused():
    class Still(torch.nn.Linear):
        def temporal_layers(self):
            return iter(())

    with pytest.raises(Refused, match="Still has no temporal attention to freeze"):
        choose_trained(Stage(Still(1, 1)), Trained(freeze_time=True))
