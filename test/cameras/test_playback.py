from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mask2iv_ros.cameras.playback import Playback
from mask2iv_ros.errors import Refused

REAL = Path(__file__).resolve().parents[2] / "../shared/data/real_video/robot_arm.mp4"


def colour(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = value  # red only: a swap of channels would show
    return image


def write_png(path: Path, rgb: np.ndarray) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "reds.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in (40, 120, 200):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour(value), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (10, 2, 1):
        write_png(tmp_path / f"frame{number}.png", colour(number * 10))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_video_gives_its_frames_in_rgb_at_its_own_rate(video: Path):
    playback = Playback(video, loop=False)
    frames = list(playback)
    assert playback.size == (48, 64)
    assert playback.fps == 12
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert all(frame.dtype == np.uint8 for frame in frames)
    for frame, value in zip(frames, (40, 120, 200), strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - (value, 0, 0)).max() < 12  # lossy codec


def test_looping_begins_again_and_iterating_twice_starts_anew(video: Path):
    playback = Playback(video)
    first, *_, fourth = islice(playback, 4)
    np.testing.assert_array_equal(first, fourth)
    np.testing.assert_array_equal(next(iter(playback)), first)


def test_a_folder_is_played_in_natural_order_and_other_files_are_passed_over(folder: Path):
    assert [int(frame[0, 0, 0]) for frame in Playback(folder, loop=False)] == [10, 20, 100]


def test_grey_and_transparent_images_come_as_rgb(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((6, 8), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((6, 8, 4), (1, 2, 3, 128), np.uint8))
    grey, transparent = Playback(tmp_path, loop=False)
    assert grey[0, 0].tolist() == [77, 77, 77]
    assert transparent[0, 0].tolist() == [3, 2, 1]


def test_size_and_fps_can_be_set(folder: Path):
    playback = Playback(folder, size=(24, 40), loop=False, fps=5)
    assert playback.fps == 5
    assert playback.size == (24, 40)
    assert {frame.shape for frame in playback} == {(24, 40, 3)}
    assert Playback(folder).fps == 10


def test_a_rotated_video_stands_upright(tmp_path: Path, video: Path):
    raw = bytearray(video.read_bytes())
    matrix = raw.index(b"tkhd") + 4 + 40  # version and flags, times, ids, layer, volume; then 3 x 3 fixed point
    one = 0x10000
    turned = [0, one, 0, -one, 0, 0, 0, 0, 0x40000000]  # 90 degrees clockwise
    raw[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    path = tmp_path / "phone.mp4"
    path.write_bytes(raw)
    assert Playback(path).size == (64, 48)


def test_an_image_of_another_size_is_refused_by_name(folder: Path):
    write_png(folder / "frame11.png", colour(0, 10, 20))
    frames = iter(Playback(folder))
    assert len(list(islice(frames, 3))) == 3
    with pytest.raises(Refused, match=r"'frame11\.png' is 20 x 10 pixels; expected 64 x 48 pixels"):
        next(frames)


@pytest.mark.parametrize("content", [b"", b"not a png"])
def test_an_image_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(Refused, match=r"broken\.png' cannot be decoded; expected a png or jpg"):
        Playback(tmp_path)


def test_an_image_that_is_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(Refused, match=r"folder\.png' cannot be read: Is a directory"):
        Playback(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(Refused, match=r"holds no images; expected files ending in \.png, \.jpg, \.jpeg"):
        Playback(tmp_path)


def test_a_missing_path_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"absent\.mp4' does not exist; expected a video file or a folder"):
        Playback(tmp_path / "absent.mp4")


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"not a film\n" * 100])
@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_a_corrupt_or_empty_video_is_refused(tmp_path: Path, content: bytes, suffix: str):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"broken\.\w+' cannot be opened: .*; expected a video file"):
        Playback(path)


@pytest.mark.parametrize("part", [0.3, 0.57, 0.8])
def test_a_video_cut_short_is_refused(tmp_path: Path, video: Path, part: float):
    path = tmp_path / "cut.mp4"
    content = video.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(Refused, match=r"cut\.mp4' (cannot be opened|has no video that can be decoded)"):
        Playback(path)


def test_text_and_sound_are_no_video(tmp_path: Path):
    text = tmp_path / "notes.txt"
    text.write_text("a text\n" * 50)
    with pytest.raises(Refused, match=r"notes\.txt' cannot be opened"):
        Playback(text)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(Refused, match=r"sound\.wav' has no video that can be decoded; expected a video file"):
        Playback(sound)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4,)])
def test_a_bad_size_is_refused(folder: Path, size: tuple[int, ...]):
    with pytest.raises(Refused, match=r"playback size is .*; expected height and width"):
        Playback(folder, size=size)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_rate_is_refused(folder: Path, fps: float):
    with pytest.raises(Refused, match=r"playback fps is .*; expected a positive number"):
        Playback(folder, fps=fps)


@pytest.mark.skipif(not REAL.exists(), reason="the shared real video is not on this machine")
def test_a_real_video_plays():
    playback = Playback(REAL)
    assert (playback.size, playback.fps) == ((720, 1280), 25.0)
    first, second = islice(playback, 2)
    assert 20 < first.mean() < 235
    assert 0 < np.abs(first.astype(int) - second).mean() < 30
