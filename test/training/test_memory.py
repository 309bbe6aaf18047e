import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.memory import enough_memory, too_little_memory

CPU = torch.device("cpu")


def test_it_names_what_is_not_done_yet(base_experiment, tiny_experiment):
    refusal = too_little_memory(base_experiment("video"), 2, CPU)
    assert isinstance(refusal, Refused)
    assert str(refusal) == (
        "the GPU's memory is too small for 2 windows of 4 frames of 24 x 16 at once; expected optimiser.micro=1, "
        "optimiser.checkpointing=true, optimiser.precision=bf16, trained.lora=32, a smaller data.size, "
        "or other programs off the GPU"
    )
    done = {"checkpointing": True, "precision": "bf16", "average": 0.9}
    assert "expected optimiser.average=null, trained.weights=bf16, a smaller data.size, or" in str(
        too_little_memory(base_experiment("video", optimiser=done, trained={"lora": 4}), 1, CPU)
    )
    assert "lora" not in str(too_little_memory(tiny_experiment("video"), 1, CPU))


def test_what_does_not_fit_anywhere_in_a_training_is_refused(tiny_experiment):
    asked = tiny_experiment("video", optimiser={"checkpointing": True, "precision": "bf16"}, log={"sample": 2})
    with pytest.raises(Refused) as refusal, enough_memory(asked, CPU):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
    assert str(refusal.value) == (
        "the GPU's memory is too small for this training of 4 frames of 24 x 16; expected optimiser.micro=1, "
        "log.sample=0, a smaller data.size, or other programs off the GPU"
    )
    with pytest.raises(RuntimeError, match="another"), enough_memory(asked, CPU):
        raise RuntimeError("another")
