from dataclasses import replace

import numpy as np
import pytest
import torch

from mask2iv_ros.masks import encode_colours
from mask2iv_ros.training.build import begin
from mask2iv_ros.training.samples import sample_videos

CPU = torch.device("cpu")


@pytest.mark.parametrize("stage", ["trajectory", "video"])
def test_the_true_video_is_beside_what_the_stage_makes(small, tiny_experiment, stage: str):
    asked = tiny_experiment(stage)
    windows = [small.windows[index] for index in range(2)]
    beginning = begin(asked, small.base, None, torch.ones(8), CPU)
    made = list(sample_videos(beginning.stage.eval(), small.batcher(asked), windows, beginning.sampling))
    assert [(frames.shape, frames.dtype, fps) for frames, fps in made] == [((4, 16, 48, 3), np.uint8, 10.0)] * 2
    for window, (frames, _) in zip(windows, made, strict=True):
        true, sampled = frames[:, :, :24], frames[:, :, 24:]
        # A fresh network predicts no change: the first frame stands still, up to DDIM's last grain of noise.
        assert np.abs(true[0].astype(int) - sampled[-1]).max() <= 8
        assert np.abs(true[0].astype(int) - true[-1]).max() > 16
        if stage == "trajectory":
            expected = encode_colours(window["labels"].numpy()).astype(int)
            near, far = np.abs(true - expected).mean(), np.abs(true - expected[::-1]).mean()
            assert near < far
    again = list(sample_videos(beginning.stage, small.batcher(asked), windows, beginning.sampling))
    np.testing.assert_array_equal(made[1][0], again[1][0])


def test_guidance_of_the_image_alone_leads_away_from_no_conditions_too(full, base_experiment):
    asked, windows = base_experiment("trajectory"), [full.windows[0]]
    beginning = begin(asked, full.base, "base", None, CPU)
    plain = replace(beginning.sampling, eta=0.0, guidance=1.0)

    def made(sampling):
        ((frames, _),) = sample_videos(beginning.stage.eval(), full.batcher(asked), windows, sampling)
        return frames[:, :, 24:]

    assert not np.array_equal(made(plain), made(replace(plain, image_guidance=9.0)))
