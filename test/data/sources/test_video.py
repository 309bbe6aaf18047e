from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mask2iv_ros.data.sources import video as videos
from mask2iv_ros.data.sources.video import VideoSource
from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.video import write_mp4


def frames(count: int = 6, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    found = np.zeros((count, *size, 3), np.uint8)
    for index in range(count):
        found[index] = 20 + 20 * index
    return found


def test_each_video_of_a_folder_is_an_episode(tmp_path: Path):
    for name in ("pour 10.mp4", "pour 2.mp4", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    write_mp4(tmp_path / "pour 2.mp4", frames(), 10)
    source = VideoSource.open(tmp_path)
    assert source.ids() == ["pour_2.mp4", "pour_10.mp4"]
    assert source.cameras() == ("video",)
    episode = source.read("pour_2.mp4", "video")
    assert np.abs(episode.frames.astype(int) - frames()).max() < 4
    np.testing.assert_allclose(episode.times, np.arange(6) / 10, atol=1e-6)
    assert episode.labels is None
    with pytest.raises(Refused, match=r"pour 10\.mp4 cannot be decoded after 0 frames .*it is corrupt"):
        source.read("pour_10.mp4", "video")
    assert VideoSource.open(tmp_path / "pour 2.mp4").ids() == ["pour_2.mp4"]


def test_the_times_of_a_varying_rate_are_kept(tmp_path: Path):
    path, times = tmp_path / "phone.mkv", [0, 33, 71, 150, 166]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(times, frames(5), strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    np.testing.assert_allclose(
        VideoSource.open(path).read("phone.mkv", "video").times, np.array(times) / 1000, atol=2e-3
    )


def test_a_folder_of_images_is_an_episode(tmp_path: Path):
    folder = tmp_path / "take"
    folder.mkdir()
    for index, image in enumerate(frames(11)[:, :, :, ::-1]):
        cv2.imwrite(str(folder / f"frame{index}.png"), image)
    for path in (folder, tmp_path):
        source = VideoSource.open(path)
        assert source.ids() == ["take"]
        np.testing.assert_array_equal(source.read("take", "video").frames, frames(11))
    assert source.read("take", "video").times[10] == 1.0
    cv2.imwrite(str(folder / "frame5.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(Refused, match=r"frame5\.png is 8 x 8 pixels; expected 48 x 32"):
        source.read("take", "video")


def test_a_video_cut_short_is_refused(tmp_path: Path):
    path = tmp_path / "short.mp4"
    rng = np.random.default_rng(0)
    write_mp4(path, rng.integers(0, 255, (8, 64, 64, 3), np.uint8), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Refused, match=r"short\.mp4 cannot be decoded|short\.mp4 has no video"):
        VideoSource.open(path).read("short.mp4", "video")


def test_a_video_too_long_for_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_mp4(tmp_path / "long.mp4", frames(), 10)
    monkeypatch.setattr(videos, "_MOST_BYTES", 3 * 32 * 48 * 3)
    with pytest.raises(Refused, match=r"4 frames so far.*-segment_time"):
        VideoSource.open(tmp_path).read("long.mp4", "video")


def test_no_video_and_two_of_one_name(tmp_path: Path):
    with pytest.raises(Refused, match="holds no video; expected a file that ends in"):
        VideoSource.open(tmp_path)
    with pytest.raises(Refused, match="holds no video"):
        VideoSource.open(tmp_path / "nowhere")
    for name in ("a b.mp4", "a_b.mp4"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(Refused, match=r"'a b\.mp4' and 'a_b\.mp4' would both be episode"):
        VideoSource.open(tmp_path)
