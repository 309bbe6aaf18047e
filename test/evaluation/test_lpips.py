import numpy as np
import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import weights
from mask2iv_ros.evaluation.lpips import Lpips, from_flax

# By the reference package (lpips 0.1.4, its own network and heads, net="alex") of `waves` and its like.
REFERENCE = {0.1: 0.0052413, 0.5: 0.0914547, 1.5: 0.3068721}
REFERENCE_GREY, REFERENCE_INVERTED = 0.9196372, 0.3750515


def waves(phase: float) -> np.ndarray:
    """An image that is known without a file."""
    y, x = np.mgrid[:64, :80]
    channels = [np.sin(x / 7 + phase), np.cos(y / 5 - phase), np.sin((x + y) / 9 + 2 * phase)]
    return (127 + 100 * np.stack(channels, -1)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def true_lpips() -> Lpips:
    state = weights.read("lpips", weights.default_folder())
    if state is None:
        pytest.skip("LPIPS' weights are not there; get them by: mask2iv weights fetch")
    return Lpips(state)


@pytest.fixture
def random_lpips(flax_lpips: dict) -> Lpips:
    return Lpips({name: torch.from_numpy(value) for name, value in from_flax(flax_lpips).items()})


def test_it_is_the_reference_packages(true_lpips: Lpips):
    truth = waves(0)
    others = [*(waves(phase) for phase in REFERENCE), np.full_like(truth, 127), 255 - truth]
    found = true_lpips([other[None] for other in others], truth[None])
    assert found == pytest.approx([*REFERENCE.values(), REFERENCE_GREY, REFERENCE_INVERTED], abs=2e-6)


def test_a_videos_is_the_mean_of_its_frames(true_lpips: Lpips):
    (found,) = true_lpips([np.stack([waves(0.1), waves(1.5)])], np.stack([waves(0), waves(0)]))
    assert found == pytest.approx((REFERENCE[0.1] + REFERENCE[1.5]) / 2, abs=2e-6)


def test_more_noise_is_farther(true_lpips: Lpips):
    truth, random = waves(0), np.random.default_rng(0)
    noisy = [np.clip(truth + random.normal(0, sigma, truth.shape), 0, 255).astype(np.uint8) for sigma in (5, 20, 60)]
    found = true_lpips([one[None] for one in noisy], truth[None])
    assert found == sorted(found)
    assert found[0] > 0


def test_identical_videos_are_not_apart(random_lpips: Lpips):
    truth = np.stack([waves(0), waves(1)])
    assert random_lpips([truth, truth[::-1].copy()], truth)[0] == 0
    assert random_lpips([truth[::-1].copy()], truth)[0] > 0


def test_it_computes_what_torchmetrics_does(random_lpips: Lpips):
    images = [torch.from_numpy(waves(phase)).permute(2, 0, 1)[None] / 127.5 - 1 for phase in (0, 1)]
    with torch.inference_mode():
        expected = float(random_lpips._net(images[1], images[0]))
    assert random_lpips([waves(1)[None]], waves(0)[None]) == pytest.approx([expected], rel=1e-5)


def test_other_weights_are_refused_and_so_are_tiny_frames(random_lpips: Lpips, flax_lpips: dict):
    state = {name: torch.from_numpy(value) for name, value in from_flax(flax_lpips).items()}
    del state["lin2.model.1.weight"]
    with pytest.raises(Refused, match=r"not those of LPIPS.*lin2"):
        Lpips(state)
    with pytest.raises(Refused, match="frames are 64 x 30 pixels; LPIPS expects at least 31 x 31"):
        random_lpips([], np.zeros((1, 30, 64, 3), np.uint8))
    assert np.isfinite(random_lpips([waves(1)[None, :31, :31]], waves(0)[None, :31, :31])).all()
