from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import encode_video, to_unit
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.scene import Goal, Scene
from mask2iv_ros.training.experiment import Experiment, Perturbation
from mask2iv_ros.training.order import generator_at
from mask2iv_ros.training.pasted import Pasted, encode_pasted
from mask2iv_ros.training.run import train_stage
from mask2iv_ros.training.trajectories import Drawing, Trajectories, sample_trajectories
from mask2iv_ros.training.windows import LatentWindows, Windows

CPU = torch.device("cpu")
FRAMES = 4


@pytest.fixture(scope="module")
def trajectories(small, small_base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    folder = tmp_path_factory.mktemp("sampled") / "t"
    sample_trajectories(data, small_base, Drawing(draws=2, steps=2, strength=0.5, precision="fp32"), folder, episodes=3)
    return Trajectories.open(folder, small.latents, FRAMES, 0.0)


@pytest.fixture(scope="module")
def windows(small, data: Path, trajectories: Trajectories) -> LatentWindows:
    made = LatentWindows(small.latents, Windows(frames=FRAMES), trajectories)
    made.pasted = encode_pasted(LabelledDataset.open(data), made, small.base.autoencoder, CPU)
    return made


def latent(small, first: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return encode_video(small.base.autoencoder, to_unit(paste_and_move(first, labels))[None])[0]


def test_windows_are_given_what_is_pasted_along_their_masks(small, data: Path, windows: LatentWindows):
    dataset, with_sampled = LabelledDataset.open(data), 0
    for index, (episode, start, stride) in enumerate(windows.places):
        video, labels, _ = dataset.read(small.latents.episodes[episode].index)
        window = windows[index]
        np.testing.assert_array_equal(window["frame"], video[start])
        wanted = latent(small, video[0], labels)
        torch.testing.assert_close(window["pasted"].float(), wanted, rtol=0, atol=5e-3)
        others = windows.trajectories.labels(small.latents.episodes[episode], start, stride)
        assert (others is None) == ("pasted_sampled" not in window)
        if others is not None:
            with_sampled += 1
            wanted = torch.stack([latent(small, video[0], one.numpy()) for one in others])
            torch.testing.assert_close(window["pasted_sampled"].float(), wanted, rtol=0, atol=5e-3)
    assert with_sampled == 3


def test_the_scale_is_of_what_pasting_gets_wrong(windows: LatentWindows):
    given = [windows[index] for index in range(len(windows))]
    wrong = torch.stack([one["video"].float() - one["pasted"].float() for one in given])
    torch.testing.assert_close(windows.change_scale("video"), wrong.square().mean((0, 2, 3, 4)).sqrt().clamp_min(1e-3))


def test_they_are_made_once(small, data: Path, windows: LatentWindows):
    files = {path: path.stat().st_mtime_ns for path in windows.pasted.folder.glob("*.safetensors")}
    assert len(files) == len(windows)
    torn = sorted(files)[1]
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(Refused, match=r"does not hold pasted frames .*; encode the dataset anew"):
        windows.pasted.of(small.latents.episodes[1], 0, 1)
    again = encode_pasted(LabelledDataset.open(data), windows, small.base.autoencoder, CPU)
    now = {path: path.stat().st_mtime_ns for path in again.folder.glob("*.safetensors")}
    assert {path for path in files if files[path] != now[path]} == {torn}
    without = LatentWindows(small.latents, Windows(frames=FRAMES))
    other = encode_pasted(LabelledDataset.open(data), without, small.base.autoencoder, CPU)
    assert other != again == Pasted(windows.pasted.folder)


def test_the_origin_follows_the_masks_that_are_told(
    small, windows: LatentWindows, tiny_experiment: Callable[..., Experiment]
):
    window = next(one for one in (windows[index] for index in range(len(windows))) if "sampled" in one)
    asked = tiny_experiment(
        "video", origin="pasted", dropout=0.1, perturbation=Perturbation(share=0.3, kernels=(3,), sampled=0.4)
    )
    batcher = small.batcher(asked)
    batch = batcher.train([window] * 100, generator_at(0))
    first, masks, pasted = batch.condition.beside.chunk(3, 1)
    assert torch.equal(batch.origin, pasted)
    assert torch.equal(first[:, :, 0], window["video"][:, 0].float().expand_as(first[:, :, 0]))
    kinds = {"true": 0, "sampled": 0, "perturbed": 0, "dropped": 0}
    told = {"true": (window["masks"], window["pasted"])}
    told |= {
        f"sampled {n}": pair for n, pair in enumerate(zip(window["sampled"], window["pasted_sampled"], strict=True))
    }
    for one, origin in zip(masks, pasted, strict=True):
        if not one.any():
            kinds["dropped"] += 1
            assert origin.any()
            continue
        found = [name for name, (wanted, _) in told.items() if torch.equal(one, wanted.float())]
        kinds[found[0].split()[0] if found else "perturbed"] += 1
        if found:
            assert torch.equal(origin, told[found[0]][1].float())
        else:
            assert not torch.equal(origin, window["pasted"].float())
    assert kinds["true"] > 10
    assert kinds["sampled"] > 20
    assert kinds["perturbed"] > 10
    assert kinds["dropped"] > 3
    plain = batcher.plain([window], generator_at(0))
    assert torch.equal(plain.origin[0], window["pasted"].float())
    nothing = batcher.unconditional(plain.condition).beside.chunk(3, 1)
    assert not nothing[1].any()
    assert torch.equal(nothing[2], plain.origin)


def test_a_stage_2_learns_what_pasting_gets_wrong_and_imagines(
    data: Path, small_base: Path, tiny_experiment, tmp_path: Path
):
    few = {"optimiser": {"steps": 2}, "log": {"windows": 1, "sample": 2, "samples": 1}}
    train_stage(tiny_experiment("trajectory", **few), data, small_base, tmp_path / "out", tmp_path / "1", device="cpu")
    asked = tiny_experiment("video", origin="pasted", network={"gates": 2}, perturbation=Perturbation(share=0.5), **few)
    train_stage(asked, data, small_base, tmp_path / "out", tmp_path / "2", device="cpu")
    made = checkpoints.load(tmp_path / "out", CPU)
    about, denoiser = made.config.stages["video"], made.stages["video"].denoiser
    assert about.origin == "pasted"
    assert (denoiser.config.in_channels, denoiser.config.follow) == (32, True)
    video, labels, goal = LabelledDataset.open(data).read(0)
    scene = Scene(video[0], labels[0])
    rollout = Imaginer.load(tmp_path / "out", "cpu").imagine(scene, Goal(goal), seed=0, rollout_id="r")
    assert rollout.video.shape == video.shape
