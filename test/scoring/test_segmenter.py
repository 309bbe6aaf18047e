from pathlib import Path

import numpy as np
import pytest
import torch

from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.parts import load_part, save_part
from mask2iv_ros.scoring.segmenter import Segmenter, find_roles

SIZE = (16, 24)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(widths=(8, 16), head_width=8).eval()


def test_it_answers_a_role_per_pixel_and_frame(segmenter: Segmenter):
    clip = tiny_clip(0, SIZE)
    found = find_roles(segmenter, clip.video[0], clip.labels[0], clip.video)
    assert found.shape == clip.labels.shape
    assert found.dtype == np.uint8
    assert set(np.unique(found)) <= {0, 1, 2}


def test_frames_are_looked_at_one_by_one(segmenter: Segmenter):
    clip = tiny_clip(0, SIZE)
    together = find_roles(segmenter, clip.video[0], clip.labels[0], clip.video)
    alone = find_roles(segmenter, clip.video[0], clip.labels[0], clip.video[2:3])
    assert np.mean(together[2] == alone[0]) > 0.99


def test_the_first_frame_and_its_labels_say_what_is_meant(segmenter: Segmenter):
    clip = tiny_clip(0, SIZE)
    images = torch.zeros(1, 3, *SIZE)
    noise = torch.rand(1, 3, *SIZE)
    roles = torch.zeros(1, 2, *SIZE)
    plain = segmenter(noise, images, roles)
    assert not torch.equal(plain, segmenter(noise, noise, roles))
    assert not torch.equal(plain, segmenter(noise, images, roles + 1))
    unlabelled = np.where(clip.labels[0] == 0, np.uint8(255), clip.labels[0])
    np.testing.assert_array_equal(
        find_roles(segmenter, clip.video[0], unlabelled, clip.video),
        find_roles(segmenter, clip.video[0], clip.labels[0], clip.video),
    )


def test_one_first_frame_serves_many_and_each_can_have_its_own(segmenter: Segmenter):
    frames, first, roles = torch.rand(3, 3, *SIZE), torch.rand(1, 3, *SIZE), torch.ones(1, 2, *SIZE)
    shared = segmenter(frames, first, roles)
    torch.testing.assert_close(segmenter(frames, first.expand(3, -1, -1, -1), roles.expand(3, -1, -1, -1)), shared)


def test_it_is_a_part_of_a_megabyte(tmp_path: Path):
    segmenter = Segmenter()
    assert segmenter.multiple == 8
    save_part(segmenter, tmp_path / "segmenter", torch.float16)
    assert sum(path.stat().st_size for path in (tmp_path / "segmenter").iterdir()) < 1e6
    again = load_part(Segmenter, tmp_path / "segmenter")
    assert {name: tuple(one.shape) for name, one in again.state_dict().items()} == {
        name: tuple(one.shape) for name, one in segmenter.state_dict().items()
    }


@pytest.mark.parametrize("fields", [{"widths": (24, 36)}, {"widths": (8, 16), "head_width": 12}])
def test_widths_that_do_not_divide_are_refused(fields: dict):
    with pytest.raises(Refused, match=r"widths are .*; expected multiples of 8, the last one of head_width"):
        Segmenter(**fields)
