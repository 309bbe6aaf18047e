from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder
from mask2iv_ros.generator.small_text import small_text_encoder
from mask2iv_ros.training.latents import LatentEpisodes, encode_dataset
from mask2iv_ros.training.windows import LatentWindows, Windows

LENGTHS = (9, 4, 7)


def hidden(clip: Clip, frame: int) -> Clip:
    """Return the clip with its object hidden in one frame."""
    labels = clip.labels.copy()
    labels[frame][labels[frame] == 2] = 1
    return replace(clip, labels=labels)


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> LatentEpisodes:
    root = tmp_path_factory.mktemp("windows") / "train"
    write_clips(root, [tiny_clip(seed, frames=length) for seed, length in enumerate(LENGTHS)])
    torch.manual_seed(0)
    model = PatchAutoencoder(channels=4, width=32)
    model.set_principal_components(torch.rand(500, 192) * 2 - 1)
    texts = small_text_encoder(["push the square"], width=32, longest=12, vocabulary=300)
    return encode_dataset(LabelledDataset.open(root), model.eval(), texts, None, (32, 48), "cpu", every=2)


def part(latents: LatentEpisodes, episode: int, name: str) -> torch.Tensor:
    with latents.open(episode) as file:
        return file.get_tensor(name)


def test_windows_are_all_that_fit():
    assert list(Windows(frames=4, strides=(1, 2), every=2).within(9)) == [(0, 1), (2, 1), (4, 1), (0, 2), (2, 2)]
    assert list(Windows(frames=4, every=1).within(4)) == [(0, 1)]
    assert list(Windows(frames=4, every=1).within(3)) == []


def test_windows_of_all_episodes_are_there_with_what_they_show(latents: LatentEpisodes):
    windows = LatentWindows(latents, Windows(frames=4, strides=(1, 2), every=2))
    assert windows.places == [
        *[(0, start, 1) for start in (0, 2, 4)],
        *[(0, start, 2) for start in (0, 2)],
        (1, 0, 1),
        *[(2, start, 1) for start in (0, 2)],
        (2, 0, 2),
    ]
    assert len(windows) == 9
    for (episode, start, stride), item in zip(windows.places, (windows[n] for n in range(9)), strict=True):
        chosen = slice(start, start + 3 * stride + 1, stride)
        for name in ("video", "masks"):
            assert torch.equal(item[name], part(latents, episode, name)[chosen].transpose(0, 1))
        assert torch.equal(item["labels"], part(latents, episode, "labels")[chosen])
        assert item["fps"] == 10 // stride
        assert torch.equal(item["text"], latents.text(latents.episodes[episode].task))
        assert "image" not in item
        assert {name: tuple(value.shape) for name, value in item.items() if name != "fps"} == {
            "video": (4, 4, 4, 6),
            "masks": (4, 4, 4, 6),
            "goal": (4, 4, 6),
            "labels": (4, 32, 48),
            "text": (12, 32),
        }


def test_the_goal_is_the_datasets_only_where_the_window_ends_its_episode(latents: LatentEpisodes):
    windows = LatentWindows(latents, Windows(frames=4, strides=(1, 2), every=1))
    ends = 0
    for index, (episode, start, stride) in enumerate(windows.places):
        last = start + 3 * stride
        goal, alone = part(latents, episode, "goal"), part(latents, episode, "object")[last]
        assert torch.equal(windows[index]["goal"], goal if last == LENGTHS[episode] - 1 else alone)
        ends += last == LENGTHS[episode] - 1
    assert ends == 5, "four-frame windows end each episode, those of stride 2 the two longer ones"


def test_windows_without_object_or_goal_are_left_out(tmp_path: Path):
    clips = [
        hidden(tiny_clip(0, frames=6), 0),  # not there at first
        hidden(tiny_clip(1, frames=6), 5),  # covered at last: the goal mask says where it is
        hidden(tiny_clip(2, frames=6), 3),  # covered where a window ends
    ]
    write_clips(tmp_path / "train", clips)
    model = PatchAutoencoder(channels=4, width=32)
    latents = encode_dataset(LabelledDataset.open(tmp_path / "train"), model, None, None, (32, 48), "cpu")
    windows = LatentWindows(latents, Windows(frames=4, every=1))
    assert windows.places == [(0, 1, 1), (0, 2, 1), (1, 0, 1), (1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 1)]
    at_last = windows[windows.places.index((1, 2, 1))]
    assert torch.equal(at_last["goal"], part(latents, 1, "goal"))
    assert (at_last["goal"] != part(latents, 1, "object")[5]).any()


def test_a_loader_stacks_them_in_processes_of_its_own(latents: LatentEpisodes):
    windows = LatentWindows(latents, Windows(frames=4, every=2))
    (batch,) = DataLoader(windows, batch_size=6, num_workers=1)
    assert batch["video"].shape == (6, 4, 4, 4, 6)
    assert batch["fps"].tolist() == [10] * 6
    assert torch.equal(batch["labels"][3], windows[3]["labels"])


def test_the_scale_is_the_root_mean_square_of_the_change(latents: LatentEpisodes):
    windows = LatentWindows(latents, Windows(frames=4, every=2))
    for stream in ("masks", "video"):
        change = torch.stack([window[stream].float() - window[stream][:, :1].float() for window in windows])
        torch.testing.assert_close(windows.change_scale(stream), change.square().mean((0, 2, 3, 4)).sqrt())
    ends = torch.stack([windows[index]["masks"].float() for index in (0, 5)])
    expected = (ends - ends[:, :, :1]).square().mean((0, 2, 3, 4)).sqrt()
    torch.testing.assert_close(windows.change_scale("masks", at_most=2), expected)


def test_nothing_to_train_on_is_refused(latents: LatentEpisodes):
    with pytest.raises(Refused, match=r"no window of 16 frames at strides \(1,\) .* longest episode has 9 frames"):
        LatentWindows(latents, Windows(frames=16))


def test_windows_begin_where_there_are_image_tokens(latents: LatentEpisodes):
    with_images = replace(latents, image_folder=latents.video_folder)
    with pytest.raises(Refused, match="windows start at every 3 frames and image tokens are at every 2"):
        LatentWindows(with_images, Windows(frames=4, every=3))


@pytest.mark.parametrize("change", [{"frames": 1}, {"strides": ()}, {"strides": (1, 0)}, {"every": 0}])
def test_settings_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match="expected"):
        Windows(**change)
