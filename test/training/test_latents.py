import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import CLIPVisionConfig, CLIPVisionModel

from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip, write_tiny_dataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.generator.dynamicrafter.image import ClipImageEncoder
from mask2iv_ros.generator.dynamicrafter.text import ClipTextEncoder
from mask2iv_ros.generator.framing import Framing
from mask2iv_ros.generator.small_text import small_text_encoder
from mask2iv_ros.masks import encode_colours
from mask2iv_ros.training.latents import LatentEpisodes, encode_dataset

SIZE, FRAMES = (32, 48), 5
HALF = {"rtol": 1e-3, "atol": 2e-3}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("latents") / "train", 3, SIZE, FRAMES)


@pytest.fixture
def root(tmp_path: Path, original: Path) -> Path:
    # With their times: copies would be other files to the digest.
    return Path(shutil.copytree(original, tmp_path / "train", copy_function=shutil.copy2))


def autoencoder(seed: int = 0) -> PatchAutoencoder:
    torch.manual_seed(seed)
    model = PatchAutoencoder(channels=4, width=32)
    model.set_principal_components(torch.rand(500, 192) * 2 - 1)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def texts() -> ClipTextEncoder:
    return small_text_encoder(["push the square a little to the left"], width=32, longest=12, vocabulary=300)


@pytest.fixture(scope="module")
def images() -> ClipImageEncoder:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=8
    )
    return ClipImageEncoder(CLIPVisionModel(config).eval())


def encode(root: Path, model: PatchAutoencoder, *encoders: object, size: tuple[int, int] = SIZE) -> LatentEpisodes:
    text, image = encoders or (None, None)
    return encode_dataset(LabelledDataset.open(root), model, text, image, size, "cpu", every=2)


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_every_stream_is_the_latent_of_what_it_says(root: Path, texts: ClipTextEncoder, images: ClipImageEncoder):
    model, dataset = autoencoder(), LabelledDataset.open(root)
    latents = encode(root, model, texts, images)
    assert (latents.root, latents.fps, latents.size, latents.every) == (root, 10, SIZE, 2)
    assert latents.episodes == dataset.episodes
    for episode in range(3):
        video, labels, goal = dataset.read(episode)
        alone = np.where(labels == 2, labels, 0).astype(np.uint8)
        goal = (goal * 2).astype(np.uint8)
        with latents.open(episode) as file:
            for name, pixels in (
                ("video", video),
                ("masks", encode_colours(labels)),
                ("object", encode_colours(alone)),
                ("goal", encode_colours(goal)),
            ):
                expected = model.encode(to_unit(pixels.reshape(-1, *pixels.shape[-3:]))).reshape(
                    *pixels.shape[:-3], 4, 4, 6
                )
                assert file.get_tensor(name).dtype == torch.float16
                torch.testing.assert_close(file.get_tensor(name).float(), expected, **HALF)
            np.testing.assert_array_equal(file.get_tensor("labels"), labels)
        for frame in (0, 2, 4):
            expected = images.encode(to_unit(video[frame : frame + 1]))[0]
            torch.testing.assert_close(latents.image(episode, frame).float(), expected, **HALF)
        task = dataset.episodes[episode].task
        torch.testing.assert_close(latents.text(task).float(), texts.encode([task])[0], **HALF)
    assert (latents.text(dataset.episodes[0].task) != latents.text(dataset.episodes[1].task)).any()
    torch.testing.assert_close(latents.no_text.float(), texts.encode([""])[0], **HALF)
    torch.testing.assert_close(latents.no_image.float(), images.encode(torch.zeros(1, 3, *SIZE))[0], **HALF)


def test_frames_of_another_shape_are_cropped_and_resized(root: Path):
    model, dataset = autoencoder(), LabelledDataset.open(root)
    latents = encode(root, model, size=(24, 24))
    video, labels, _ = dataset.read(1)
    framing = Framing(dataset.size, (24, 24))
    with latents.open(1) as file:
        np.testing.assert_array_equal(file.get_tensor("labels")[2], framing.labels(labels[2]))
        expected = model.encode(to_unit(framing.image(video[2])[None]))[0]
        torch.testing.assert_close(file.get_tensor("video")[2].float(), expected, **HALF)
    assert latents.no_text is None
    assert latents.no_image is None


def test_it_is_known_which_frames_show_the_object(tmp_path: Path):
    clip = tiny_clip(0, SIZE, FRAMES)
    labels = clip.labels.copy()
    labels[3][labels[3] == 2] = 1
    write_clips(tmp_path / "hidden", [replace(clip, labels=labels)])
    seen, has_goal = encode(tmp_path / "hidden", autoencoder()).object_seen(0)
    assert seen.tolist() == [True, True, True, False, True]
    assert has_goal


def test_what_is_encoded_is_encoded_once(root: Path, texts: ClipTextEncoder, images: ClipImageEncoder):
    model = autoencoder()
    before = stamps(encode(root, model, texts, images).video_folder.parents[1])
    assert len(before) == 3 + 1 + 3  # names: episodes (video and image), the grey image, two texts and ""
    assert stamps(encode(root, model, texts, images).video_folder.parents[1]) == before


def test_another_encoder_has_a_place_of_its_own(root: Path, texts: ClipTextEncoder, images: ClipImageEncoder):
    one, other = encode(root, autoencoder(), texts, images), encode(root, autoencoder(1))
    assert one.video_folder != other.video_folder
    assert encode(root, autoencoder(), size=(24, 24)).video_folder not in (one.video_folder, other.video_folder)
    assert encode(root, autoencoder()).video_folder == one.video_folder
    again = encode(root, autoencoder(), small_text_encoder(["another vocabulary"], 32, 12, 300), images)
    assert (again.video_folder, again.image_folder) == (one.video_folder, one.image_folder)
    assert again.text_folder != one.text_folder


@pytest.mark.parametrize("damage", ["torn", "gone", "changed"])
def test_only_what_is_missing_or_out_of_date_is_encoded(root: Path, damage: str):
    model = autoencoder()
    folder = encode(root, model).video_folder
    before, path = stamps(folder), folder / "000001.safetensors"
    content = path.read_bytes()
    if damage == "torn":
        path.write_bytes(content[:-10])
    elif damage == "gone":
        path.unlink()
    else:
        video = sorted(root.rglob("*.mp4"))[1]
        video.write_bytes(video.read_bytes())
    encode(root, model)
    after = stamps(folder)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == ["000001.safetensors"]
    with safe_open(path, "pt") as file:
        assert file.get_tensor("video").shape == (FRAMES, 4, 4, 6)


def test_a_dataset_that_has_grown_is_encoded_where_it_has(root: Path, tmp_path: Path):
    model = autoencoder()
    before = stamps(encode(root, model).video_folder)
    with DatasetWriter(root) as writer:
        write_clips(tmp_path / "more", [tiny_clip(seed, SIZE, FRAMES) for seed in (3, 4)])
        writer.adopt(tmp_path / "more")
    latents = encode(root, model)
    after = stamps(latents.video_folder)
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    np.testing.assert_array_equal(LabelledDataset.open(root).read(4).labels, tiny_clip(4, SIZE, FRAMES).labels)


def test_a_file_torn_after_encoding_is_refused_when_it_is_read(root: Path):
    latents = encode(root, autoencoder())
    path = latents.video_folder / "000002.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Refused, match=r"000002\.safetensors does not hold encoded frames .*encode the dataset anew"):
        latents.object_seen(2)


@pytest.mark.parametrize(("size", "every"), [((30, 48), 8), ((32, 0), 8), ((32, 48), 0)])
def test_settings_out_of_range_are_refused(root: Path, size: tuple[int, int], every: int):
    dataset = LabelledDataset.open(root)
    with pytest.raises(Refused, match=f"size is {size[1]} x {size[0]} and every {every}; expected multiples of 8"):
        encode_dataset(dataset, autoencoder(), None, None, size, "cpu", every)


def test_a_folder_that_cannot_be_written_is_refused(root: Path):
    root.with_name("train.latents").write_text("in the way")
    with pytest.raises(Refused, match=r"train\.latents cannot be written .*expected a folder with room"):
        encode(root, autoencoder())
