import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import decode_video, encode_video, to_bytes, to_unit
from mask2iv_ros.generator.imagine import Imaginer
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.masks import decode_colours, encode_colours, iou
from mask2iv_ros.scene import Goal, Scene
from mask2iv_ros.training.experiment import Experiment, Perturbation
from mask2iv_ros.training.order import generator_at, seed_at
from mask2iv_ros.training.trajectories import Drawing, Trajectories, folder_beside, sample_trajectories
from mask2iv_ros.training.windows import LatentWindows, Windows

SIZE, FRAMES = (16, 24), 4
EXACT = Drawing(steps=2, strength=1.0, precision="fp32")


def contents(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found[path.stem] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


@pytest.fixture(scope="module")
def sampled(data: Path, small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trajectories of every clip."""
    out = tmp_path_factory.mktemp("sampled") / "trajectories"
    folder, made = sample_trajectories(data, small_base, replace(EXACT, draws=2), out)
    assert (folder, made) == (out, 5)
    return out


@pytest.mark.parametrize("conditions", [("mask",), ("text",), ("mask", "text")])
def test_a_free_trajectory_is_the_one_that_a_rollout_would_have(data: Path, tmp_path: Path, conditions: tuple[str]):
    base = write_tiny_checkpoint(tmp_path / "tiny", SIZE, FRAMES, conditions=conditions)
    folder, _ = sample_trajectories(data, base, EXACT, tmp_path / "out", batch=3)
    imaginer = Imaginer.load(base, "cpu", dtype="fp32")
    told = [None, None]
    for number, tensors in contents(folder).items():
        clip = tiny_clip(int(number), SIZE, FRAMES)
        goal = Goal(clip.goal_mask if "mask" in conditions else None, clip.instruction)
        # Latents were kept in half precision, so a pixel at an edge may fall to the other side.
        seed = seed_at(EXACT.seed, int(number), 0, 1, 0)
        imagined = imaginer.trajectory(Scene(clip.video[0], clip.labels[0]), goal, seed=seed).labels
        assert (tensors["labels/0/1/0"].numpy() == imagined).mean() > 0.98
        np.testing.assert_array_equal(tensors["labels/0/1/0"][0], clip.labels[0])
        told = [told[1], imagined]
    assert (told[0] != told[1]).any()


def test_latents_and_agreement_are_those_of_the_trajectory(data: Path, small, sampled: Path):
    truth = LabelledDataset.open(data)
    for number, tensors in contents(sampled).items():
        with safe_open(sampled / f"{number}.safetensors", "pt") as file:
            agreement = json.loads(file.metadata()["agreement"])
        assert set(agreement) == {"0/1/0", "0/1/1"}
        assert (tensors["labels/0/1/0"] != tensors["labels/0/1/1"]).any()
        true = truth.read(int(number)).labels
        for name, values in agreement.items():
            labels = tensors[f"labels/{name}"].numpy()
            expected = encode_video(small.base.autoencoder, to_unit(encode_colours(labels))[None])[0]
            torch.testing.assert_close(tensors[f"masks/{name}"].float(), expected, rtol=1e-3, atol=2e-3)
            for role, value in zip((1, 2), values, strict=True):
                found = np.mean(
                    [iou(one == role, other == role) for one, other in zip(labels[1:], true[1:], strict=True)]
                )
                assert value == pytest.approx(found, abs=1e-4)


def test_the_less_the_strength_the_nearer_to_the_truth(data: Path, tmp_path: Path, small_base: Path, small):
    # A stage that predicts noise keeps of its beginning what is not noise, whatever its weights.
    base = Path(shutil.copytree(small_base, tmp_path / "base"))
    about = json.loads((base / "config.json").read_text())
    about["stages"]["trajectory"]["schedule"]["prediction"] = "v"
    (base / "config.json").write_text(json.dumps(about))
    # What this autoencoder, as untrained, shows of the true masks.
    true = torch.stack([small.windows[index]["masks"].float() for index in range(5)])
    truth = decode_colours(to_bytes(decode_video(small.base.autoencoder, true)))
    apart = []
    for strength in (0.003, 0.5, 1.0):
        drawing = Drawing(steps=3, strength=strength, precision="fp32")
        folder, _ = sample_trajectories(data, base, drawing, tmp_path / str(strength))
        labels = np.stack([one["labels/0/1/0"] for one in contents(folder).values()])
        apart.append((labels != truth)[:, 1:].mean())
    assert apart[0] < 0.1 < apart[1] < apart[2]


def test_a_sampling_goes_on_where_it_was(data: Path, small_base: Path, sampled: Path, tmp_path: Path):
    out, drawing = tmp_path / "out", replace(EXACT, draws=2)
    assert sample_trajectories(data, small_base, drawing, out, episodes=2)[1] == 2
    first = stamps(out)
    assert len(first) == 2
    assert sample_trajectories(data, small_base, drawing, out, batch=1)[1] == 3
    assert {name: stamps(out)[name] for name in first} == first
    torn = out / "000003.safetensors"
    torn.write_bytes(torn.read_bytes()[:-8])
    (out / "000001.safetensors").unlink()
    assert sample_trajectories(data, small_base, drawing, out, batch=3)[1] == 2
    assert sample_trajectories(data, small_base, drawing, out)[1] == 0
    # In parts, one by one or in other company: the same but for rounding.
    for number, tensors in contents(sampled).items():
        again = contents(out)[number]
        assert again.keys() == tensors.keys()
        for name in tensors:
            if name.startswith("labels"):
                assert (again[name] == tensors[name]).float().mean() > 0.99


def test_pieces_of_longer_episodes_have_trajectories_of_their_own(small_base: Path, tmp_path: Path):
    root = tmp_path / "long"
    write_clips(root, [tiny_clip(seed, SIZE, 7) for seed in range(2)])
    drawing = replace(EXACT, strides=(1, 2), every=2)
    folder, _ = sample_trajectories(root, small_base, drawing)
    assert folder == folder_beside(root.resolve())
    expected = {
        f"{kind}/{start}/{stride}/0" for start, stride in ((0, 1), (2, 1), (0, 2)) for kind in ("labels", "masks")
    }
    for tensors in contents(folder).values():
        assert tensors.keys() == expected
        assert (tensors["labels/0/1/0"][1:] != tensors["labels/2/1/0"][1:]).any()


def test_a_folder_is_for_one_stage_and_setting(data: Path, small_base: Path, sampled: Path, tmp_path: Path):
    before = stamps(sampled)
    with pytest.raises(Refused, match=r"holds trajectories whose draws is 2, not 1; expected the same"):
        sample_trajectories(data, small_base, EXACT, sampled)
    other = write_tiny_checkpoint(tmp_path / "small", SIZE, FRAMES, seed=1, conditions=("mask", "text"))
    with pytest.raises(Refused, match=r"holds trajectories whose (autoencoder|stage) is"):
        sample_trajectories(data, other, replace(EXACT, draws=2), sampled)
    assert stamps(sampled) == before
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refused, match="cannot be written"):
        sample_trajectories(data, small_base, EXACT, tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"draws": 0}, "draws is 0; expected at least 1"),
        ({"strength": 0.0}, "strength is 0.0; expected above 0 and at most 1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, words: str):
    with pytest.raises(Refused, match=words):
        Drawing(**change)


def test_what_is_sampled_is_given_beside_the_truth(small, sampled: Path):
    plain = small.windows
    windows = LatentWindows(
        small.latents, Windows(frames=FRAMES), Trajectories.open(sampled, small.latents, FRAMES, 0.0)
    )
    for index in range(len(plain)):
        one, other = plain[index], windows[index]
        assert other.keys() == one.keys() | {"sampled"}
        assert torch.equal(one["masks"], other["masks"])
        kept = contents(sampled)[f"{windows.places[index][0]:06d}"]
        assert torch.equal(other["sampled"], torch.stack([kept["masks/0/1/0"], kept["masks/0/1/1"]]))


def test_what_went_astray_is_left_out(small, sampled: Path, tmp_path: Path):
    folder = Path(shutil.copytree(sampled, tmp_path / "t"))
    every = Trajectories.open(folder, small.latents, FRAMES, 0.0)
    values = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found = json.loads(file.metadata()["agreement"])
        values |= {(int(path.stem), name): min(pair) for name, pair in found.items()}
    bound = sorted(values.values())[4]
    some = Trajectories.open(folder, small.latents, FRAMES, bound)
    kept = {(place[0], name) for place, names in some.names.items() for name in names}
    assert kept == {place for place, value in values.items() if value >= bound}
    assert 0 < len(kept) < len(values)
    assert some.digest != every.digest == Trajectories.open(folder, small.latents, FRAMES, 0.0).digest
    with pytest.raises(Refused, match=r"no trajectory of .* agrees with the truth by 1; make some with: mask2iv data"):
        Trajectories.open(folder, small.latents, FRAMES, 1.0)


def test_trajectories_of_something_else_are_refused(small, full, sampled: Path, tmp_path: Path):
    with pytest.raises(Refused, match=r"holds no trajectories .*mask2iv data trajectories --data .*clips --checkpoint"):
        Trajectories.open(tmp_path / "none", small.latents, FRAMES, 0.3)
    with pytest.raises(Refused, match="trajectories whose frames is 4, not 3"):
        Trajectories.open(sampled, small.latents, 3, 0.0)
    with pytest.raises(Refused, match="trajectories whose autoencoder is"):
        Trajectories.open(sampled, full.latents, FRAMES, 0.0)
    folder = Path(shutil.copytree(sampled, tmp_path / "t"))
    opened = Trajectories.open(folder, small.latents, FRAMES, 0.0)
    (folder / "000002.safetensors").unlink()
    with pytest.raises(Refused, match=r"000002\.safetensors does not hold sampled trajectories .*sample anew"):
        opened.of(small.latents.episodes[2], 0, 1)


def test_a_share_of_the_windows_is_told_what_stage_1_sampled(
    small, sampled: Path, tiny_experiment: Callable[..., Experiment]
):
    trajectories = Trajectories.open(sampled, small.latents, FRAMES, 0.0)
    window = LatentWindows(small.latents, Windows(frames=FRAMES), trajectories)[1]
    asked = tiny_experiment("video", perturbation=Perturbation(share=0.3, kernels=(3,), sampled=0.4))
    batcher = small.batcher(asked)
    batch = batcher.train([window] * 200, generator_at(0))
    masks = batch.condition.beside.chunk(2, 1)[1]
    shares = [(masks == one.float()).flatten(1).all(1).float().mean() for one in (*window["sampled"], window["masks"])]
    assert shares == [pytest.approx(0.2, abs=0.08), pytest.approx(0.2, abs=0.08), pytest.approx(0.3, abs=0.08)]
    # Told something else, it shall still make the true video.
    without = {name: value for name, value in window.items() if name != "sampled"}
    plain = batcher.train([without] * 200, generator_at(0))
    assert torch.equal(batch.video, plain.video)
    assert torch.equal(batch.weight, plain.weight)
    true = (plain.condition.beside.chunk(2, 1)[1] == window["masks"].float()).flatten(1).all(1).float().mean()
    assert true == pytest.approx(0.7, abs=0.08)
    # Validation is always told the truth, so its loss means the same.
    told = batcher.plain([window], generator_at(0)).condition.beside.chunk(2, 1)[1]
    assert torch.equal(told[0], window["masks"].float())
