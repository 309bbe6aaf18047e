import numpy as np
import pytest
import torch

from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.autoencoder import PatchAutoencoder, to_unit
from mask2iv_ros.masks import Role
from mask2iv_ros.training.imagined import Look, erase_object, imagine_look, shift_colours, through_autoencoder

SIZE = (32, 48)


def test_an_erased_object_leaves_what_is_behind_it():
    first, *_, last = (clip := tiny_clip(0, SIZE)).video
    away = np.zeros_like(clip.labels[0])
    frame, labels = erase_object(last, clip.labels[-1], first, away)
    thing = clip.labels[-1] == Role.OBJECT
    np.testing.assert_array_equal(frame[thing], first[thing])
    assert not (labels == Role.OBJECT).any()
    np.testing.assert_array_equal(labels == Role.INTERACTOR, clip.labels[-1] == Role.INTERACTOR)
    far = np.ones(SIZE, bool)
    far[:, np.flatnonzero(thing.any(0)).min() - 3 : np.flatnonzero(thing.any(0)).max() + 4] = False
    np.testing.assert_array_equal(frame[far], last[far])


def test_an_object_stays_where_the_other_frame_shows_no_background():
    clip = tiny_clip(0, SIZE)
    frame, labels = erase_object(clip.video[0], clip.labels[0], clip.video[1], np.ones_like(clip.labels[0]))
    np.testing.assert_array_equal(frame, clip.video[0])
    np.testing.assert_array_equal(labels, clip.labels[0])


def test_a_ghost_is_a_share_of_the_other_frame():
    frame, other = np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 200, np.uint8)
    ghosts = [imagine_look(frame, other, Look(share=1.0, blur=0.0), np.random.default_rng(seed)) for seed in range(20)]
    assert len({one.max() for one in ghosts}) > 5
    assert 0 < max(one.max() for one in ghosts) <= 0.35 * 200
    plain = imagine_look(frame, other, Look(share=0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(plain, frame)


def test_blur_softens_edges():
    frame = np.zeros((*SIZE, 3), np.uint8)
    frame[:, 24:] = 255
    soft = imagine_look(frame, frame, Look(share=1.0, ghosts=0.0, blur=2.0), np.random.default_rng(1))
    assert np.abs(np.diff(soft.astype(int), axis=1)).max() < 255
    assert abs(soft.mean() - frame.mean()) < 3


def test_a_pair_is_seen_under_one_light():
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    shifted = shift_colours(np.stack([frame, frame]), 0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(shifted[0], shifted[1])
    assert np.abs(shifted[0].astype(int) - frame).mean() > 5
    still = shift_colours(frame[None], 0.0, np.random.default_rng(1))[0]
    assert np.abs(still.astype(int) - frame).max() <= 1


def test_a_share_of_the_frames_goes_through_the_autoencoder():
    torch.manual_seed(0)
    autoencoder = PatchAutoencoder(channels=4, width=32)
    autoencoder.set_principal_components(torch.randn(400, 192))
    frames = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 3), np.uint8)
    changed = through_autoencoder(autoencoder, frames, Look(share=0.5), np.random.default_rng(3))
    same = (changed == to_unit(frames)).flatten(1).all(1)
    assert 0 < same.sum() < len(frames)
    assert changed.abs().max() <= 1
    assert not changed.requires_grad
    untouched = through_autoencoder(autoencoder, frames, Look(share=0.0), np.random.default_rng(3))
    torch.testing.assert_close(untouched, to_unit(frames))


@pytest.mark.parametrize("change", [{"share": 1.1}, {"erased": -1}, {"blur": 11}, {"noise": float("nan")}])
def test_looks_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match=f"{next(iter(change))} is .*; expected 0 to"):
        Look(**change)
