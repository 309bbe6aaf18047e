from functools import partial

import numpy as np
import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation import weights
from mask2iv_ros.evaluation.frechet import Distance, frechet_distance
from mask2iv_ros.evaluation.i3d import from_flax
from mask2iv_ros.evaluation.video_distance import VideoFeatures, video_distances


def video(seed: int) -> np.ndarray:
    """A square that glides over a smooth ground, nine frames."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    ground = np.stack([120 + 60 * np.sin(x / random.uniform(4, 12) + y / random.uniform(4, 12)) for _ in range(3)], -1)
    frames = np.repeat(ground[None], 9, 0).astype(np.uint8)
    left, top, step = random.integers(0, 20), random.integers(0, 34), random.integers(1, 4)
    colour = random.integers(0, 256, 3)
    for n, frame in enumerate(frames):
        frame[top : top + 14, left + step * n : left + step * n + 14] = colour
    return frames


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(int(frames[0, 0, 0, 0])).normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def means(frames: np.ndarray) -> np.ndarray:
    """Features that need no network: the mean colour, early and late."""
    return frames.reshape(len(frames), -1, 3)[[0, -1]].mean(1).ravel().astype(np.float64)


@pytest.fixture
def clips() -> list[tuple]:
    return [
        (task, one, {"same": one, "noise": noisy(one, 60)})
        for task, one in zip("aab", map(video, range(3)), strict=True)
    ]


def test_distances_are_over_all_clips_and_by_task(clips: list[tuple]):
    found = video_distances(clips, means)
    assert list(found) == ["all", "a", "b"]
    assert list(found["all"]) == ["same", "noise"]
    assert found["all"]["same"].value == pytest.approx(0, abs=1e-9)
    assert found["all"]["noise"].value > 1
    assert (found["all"]["noise"].count, found["a"]["noise"].count) == (3, 2)
    sets = [
        np.stack([means(one) for one in column]) for column in ([c[2]["noise"] for c in clips], [c[1] for c in clips])
    ]
    assert found["all"]["noise"].value == pytest.approx(frechet_distance(*sets))
    assert found["b"]["noise"] == "not measured: a distance of sets needs at least 2 clips"


def test_a_video_is_looked_at_once(clips: list[tuple]):
    seen: list[int] = []

    def counting(frames: np.ndarray) -> np.ndarray:
        seen.append(id(frames))
        return means(frames)

    shared = clips[0][1]
    video_distances([(task, one, made | {"shared": shared}) for task, one, made in clips], counting)
    assert len(seen) == len(set(seen)) == 6


def test_random_weights_load_and_shapes_that_do_not_fit_are_refused(flax_i3d: dict):
    state = {name: torch.from_numpy(value) for name, value in from_flax(flax_i3d).items()}
    features = VideoFeatures(state)
    found = features(video(0))
    assert found.shape == (400,)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, features(video(0)))
    assert np.abs(found - features(video(1))).max() > 0
    del state["Mixed_4d.Branch_2.1.conv.bias"]
    with pytest.raises(Refused, match=r"not those of I3D.*Mixed_4d\.Branch_2\.1\.conv\.bias"):
        VideoFeatures(state)


@pytest.fixture(scope="module")
def true_features() -> VideoFeatures:
    state = weights.read("i3d", weights.default_folder())
    if state is None:
        pytest.skip("I3D's weights are not there; get them by: mask2iv weights fetch")
    return VideoFeatures(state)


def test_fvd_grows_with_noise_and_is_zero_of_the_same(true_features: VideoFeatures):
    levels = {"same": 0, "little": 8, "some": 25, "much": 80}
    clips = [("a", one, {name: noisy(one, sigma) for name, sigma in levels.items()}) for one in map(video, range(5))]
    found = video_distances(clips, true_features)["all"]
    values = [one.value for one in found.values() if isinstance(one, Distance)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert 1 < values[1] < values[2] < values[3]


def test_bfloat16_leaves_the_distance_as_it_is(true_features: VideoFeatures):
    if true_features.dtype == torch.float32:
        pytest.skip("this machine computes in float32")
    exact = VideoFeatures(weights.read("i3d", weights.default_folder()))
    exact.dtype = torch.float32
    exact._net.float()
    truth = [video(seed) for seed in range(3)]
    sets = [
        [np.stack([features(one) for one in videos]) for videos in (truth, list(map(partial(noisy, sigma=25), truth)))]
        for features in (true_features, exact)
    ]
    rounded, expected = (frechet_distance(*pair) for pair in sets)
    assert rounded == pytest.approx(expected, rel=0.02)
