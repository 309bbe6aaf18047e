import json
import pickle
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mask2iv_ros.data.motion import least_motion, motion_score
from mask2iv_ros.data.sources.hoi4d import Hoi4d
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

RED, GREEN, BLUE, MAGENTA, CYAN = (128, 0, 0), (0, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)
MUG = "ZY20210800001/H1/C2/N46/S54/s02/T1"
DRAWER = "ZY20210800003/H3/C4/N07/S216/s01/T4"
EVENTS = [("rest", 0, 0.4), ("Grasp", 0.4, 0.6), ("Pickup", 0.6, 1.2), ("Stop", 1.2, 2.0)]


def squares(step: int) -> dict[tuple[int, int, int], tuple[slice, slice]]:
    """A hand and a mug that go right by 2 pixels a frame, in 64 x 96; beside them a second mug that does not count."""
    left = 8 + 2 * step
    return {
        GREEN: (slice(30, 50), slice(left, left + 6)),
        RED: (slice(36, 46), slice(left + 6, left + 14)),
        (128, 128, 0): (slice(2, 8), slice(2, 8)),
    }


def write(
    folder: Path, painted=squares, events=EVENTS, count: int = 30, rate: int = 15, masks: str = "mask", size=(64, 96)
) -> None:
    """One recording in HOI4D's layout."""
    for name in ("align_rgb", "action", f"2Dseg/{masks}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "align_rgb/image.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for step in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 4 * step, np.uint8))
            frame.pts, frame.time_base = step, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for step in range(round(count * 15 / rate)):
        picture = np.zeros((*size, 3), np.uint8)
        for colour, (rows, columns) in painted(step).items():
            picture[rows, columns] = colour
        cv2.imwrite(str(folder / f"2Dseg/{masks}/{step:05d}.png"), picture[..., ::-1])
    known = {"info": {"duration": count / rate}}
    known["events"] = [{"id": 1, "event": name, "startTime": start, "endTime": stop} for name, start, stop in events]
    (folder / "action/color.json").write_text(json.dumps(known))


@pytest.fixture(scope="module")
def mug(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hoi4d")
    write(root / MUG)
    return root


@pytest.fixture
def root(mug: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mug, tmp_path / "hoi4d"))


def test_a_recording_comes_back(mug: Path):
    source = pickle.loads(pickle.dumps(Hoi4d.open(mug)))
    assert (source.ids(), source.cameras()) == ([MUG.replace("/", "_")], ("align_rgb",))
    found = source.read(source.ids()[0], "align_rgb")
    assert found.frames.shape == (30, 64, 96, 3)
    np.testing.assert_allclose(found.frames.mean((1, 2, 3)), 4 * np.arange(30), atol=3)
    np.testing.assert_allclose(found.times, np.arange(30) / 15, atol=1e-4)
    assert found.spans == ((6, 9, "a hand grasping a mug"), (9, 18, "a hand picking up a mug"))
    assert found.state is None
    assert found.action is None
    inside = np.zeros(30, bool)
    inside[6:18] = True
    assert (found.labels[~inside] == Role.UNLABELLED).all()
    for frame in range(6, 18):
        expected = np.zeros((64, 96), np.uint8)
        expected[squares(frame)[GREEN]], expected[squares(frame)[RED]] = Role.INTERACTOR, Role.OBJECT
        np.testing.assert_array_equal(found.labels[frame], expected)


def test_its_motion_by_hand(mug: Path):
    found = Hoi4d.open(mug).read(MUG.replace("/", "_"), "align_rgb")
    start, stop, _ = found.spans[1]
    # Hand and mug each go 2 pixels a frame, in 8 steps; 64 x 96 pixels have a diagonal of 115.4.
    assert motion_score(found.labels[start:stop]) == pytest.approx(8 * (2 + 2) / np.hypot(64, 96))
    # Of 40 such clips, the two in which the mug hardly moves are below the threshold.
    resting = found.labels[start:stop].copy()
    resting[2:] = resting[1]
    scores = [motion_score(one) for one in [found.labels[start:stop]] * 38 + [resting] * 2]
    assert np.flatnonzero(np.array(scores) < least_motion(scores)).tolist() == [38, 39]


def test_frames_and_masks_are_reduced_alike(mug: Path):
    found = Hoi4d.open(mug, height=32).read(MUG.replace("/", "_"), "align_rgb")
    assert found.frames.shape == (30, 32, 48, 3)
    np.testing.assert_allclose(found.frames.mean((1, 2, 3)), 4 * np.arange(30), atol=3)
    assert np.argwhere(found.labels[10] == Role.OBJECT).min(0).tolist() == [18, 17]
    assert np.argwhere(found.labels[10] == Role.OBJECT).max(0).tolist() == [22, 20]
    assert np.unique(found.labels[10]).tolist() == [0, 1, 2]


def test_the_archives_own_folders_and_masks_shifted_into_place(mug: Path, tmp_path: Path):
    write(tmp_path / "both" / MUG, masks="shift_mask")
    wrong = tmp_path / "both" / MUG / "2Dseg/mask"
    wrong.mkdir()
    (wrong / "00000.png").write_bytes(b"not this one")
    for name, kept in (("HOI4D_release", ["align_rgb"]), ("HOI4D_annotations", ["2Dseg", "action"])):
        for one in kept:
            (tmp_path / name / MUG).mkdir(parents=True, exist_ok=True)
            (tmp_path / "both" / MUG / one).rename(tmp_path / name / MUG / one)
    shutil.rmtree(tmp_path / "both")
    found, expected = (Hoi4d.open(one).read(MUG.replace("/", "_"), "align_rgb") for one in (tmp_path, mug))
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_what_is_handled_changes_with_the_action(tmp_path: Path):
    def drawer_and_bottle(step: int) -> dict:
        return {
            (128, 128, 0): (slice(0, 60), slice(60, 96)),  # the body of the cabinet
            BLUE: (slice(20, 30), slice(50, 70)),
            MAGENTA: (slice(40, 50), slice(5, 10)),
            GREEN: (slice(30, 36), slice(20, 26)),
        }

    events = [("Grasp", 0, 0.2), ("pull", 0.2, 0.6), ("Grasp", 0.6, 0.8), ("Pickup", 0.8, 1.2), ("push", 1.2, 2)]
    write(tmp_path / DRAWER, drawer_and_bottle, events)
    found = Hoi4d.open(tmp_path).read(DRAWER.replace("/", "_"), "align_rgb")
    assert [span.task.removeprefix("a hand ") for span in found.spans] == [
        "grasping a drawer", "pulling a drawer", "grasping a bottle", "picking up a bottle", "pushing a drawer",
    ]  # fmt: skip
    areas = [(found.labels[span.start] == Role.OBJECT).sum() for span in found.spans]
    assert areas == [200, 200, 50, 50, 200]


def test_left_hands_are_hands(tmp_path: Path):
    def two(step: int) -> dict:
        return {RED: (slice(9), slice(9)), GREEN: (slice(20, 30), slice(9)), CYAN: (slice(40, 50), slice(9))}

    recording = MUG.replace("C2", "C8")
    write(tmp_path / recording, two, [("Carrywithbothhands", 0, 2)])
    found = Hoi4d.open(tmp_path).read(recording.replace("/", "_"), "align_rgb")
    assert found.spans == ((0, 30, "two hands carrying a bucket"),)
    assert (found.labels[3] == Role.INTERACTOR).sum() == 180


def change(root: Path, edit) -> None:
    path = root / MUG / "action/color.json"
    known = json.loads(path.read_text())
    edit(known)
    path.write_text(json.dumps(known))


def read(root: Path):
    return Hoi4d.open(root).read(MUG.replace("/", "_"), "align_rgb")


def test_the_other_form_of_the_file_and_a_clock_at_half_the_rate(root: Path):
    def other(known: dict) -> None:
        marks = [
            {"event": one["event"], "hdTimeStart": one["startTime"] / 2, "hdTimeEnd": one["endTime"] / 2}
            for one in known.pop("events")
        ]
        known |= {"markResult": {"marks": marks[::-1]}, "info": {"Duration": 1.0}}

    expected = read(root)
    change(root, other)
    found = read(root)
    assert found.spans == expected.spans
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_video_at_twice_the_masks_rate(mug: Path, tmp_path: Path):
    write(tmp_path / MUG, count=60, rate=30)
    found = read(tmp_path)
    assert len(found.frames) == 30
    np.testing.assert_allclose(found.times, np.arange(30) / 15, atol=1e-4)
    np.testing.assert_allclose(found.frames.mean((1, 2, 3))[:25], 8 * np.arange(25), atol=4)
    np.testing.assert_array_equal(found.labels, read(mug).labels)


def test_what_is_missing_or_corrupt_is_named(root: Path):
    video, masks, action = (root / MUG / one for one in ("align_rgb/image.mp4", "2Dseg/mask", "action/color.json"))
    whole, mask = video.read_bytes(), (masks / "00010.png").read_bytes()
    small = cv2.imencode(".png", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
    grey = cv2.imencode(".png", np.full((64, 96), 2, np.uint8))[1].tobytes()
    cases = [
        (masks / "00010.png", None, r"mask has no 00010\.png; expected a mask for every frame of an action"),
        (masks / "00010.png", mask[:100], r"00010\.png cannot be decoded"),
        (masks / "00010.png", small, r"00010\.png is 48 x 32 pixels; expected 96 x 64"),
        (masks / "00010.png", grey, r"^mask .*00010\.png: 6144 of its pixels are as \(2, 2, 2\); expected HOI4D's col"),
        (video, None, r"image\.mp4 cannot be decoded after 0 frames \(No such file"),
        (video, b"", r"image\.mp4 cannot be decoded"),
        (video, whole[: len(whole) // 2], r"image\.mp4 cannot be decoded"),
        (video, mask, r"image\.mp4 has no frame|image\.mp4 cannot be decoded|has 1 frames and a mask 00029"),
        (action, None, r"color\.json cannot be read \(No such file"),
        (action, b"{", r"color\.json cannot be read \(JSONDecodeError"),
        (action, b"[" * 100_000, r"color\.json cannot be read \(RecursionError"),
        (
            action,
            b'{"info": {"duration": 0}, "events": [{"event": "cut", "startTime": 0, "endTime": 1}]}',
            "ZeroDivision",
        ),
        (action, b'{"info": {}, "events": []}', "KeyError: 'Duration'"),
        (action, b'{"info": {"duration": 2}, "events": []}', "has 0 actions and none that handles anything"),
    ]
    for path, data, match in cases:
        kept = path.read_bytes()
        path.unlink() if data is None else path.write_bytes(data)
        with pytest.raises(Refused, match=match):
            read(root)
        path.write_bytes(kept)
    assert len(read(root).frames) == 30
    masks.rename(masks.with_name("other"))
    with pytest.raises(Refused, match=r"2Dseg has no shift_mask/00000\.png and no mask/00000\.png; expected masks"):
        read(root)


def test_a_video_that_ends_early_is_not_stretched(root: Path, tmp_path: Path):
    write(tmp_path / "short" / MUG, count=20)
    shutil.copyfile(tmp_path / "short" / MUG / "align_rgb/image.mp4", root / MUG / "align_rgb/image.mp4")
    with pytest.raises(Refused, match=r"has 20 frames and a mask 00029\.png; expected as many frames: the video"):
        read(root)


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (1, 0.5), (0, 9), (float("nan"), 1), (0, float("inf"))])
def test_actions_outside_the_recording(root: Path, start: float, stop: float):
    change(root, lambda known: known["events"][2].update(startTime=start, endTime=stop))
    with pytest.raises(Refused, match=r"'Pickup' from .* of 2 s; expected it within the recording"):
        read(root)


def test_an_unknown_action_is_named(root: Path):
    change(root, lambda known: known["events"][2].update(event="juggle"))
    with pytest.raises(Refused, match=r"recording ZY.*_T1: an action is 'juggle'; known are"):
        read(root)


def test_ids_and_folders(root: Path):
    (root / "ZY20210800001/H1/C2/N46/S54/s02/../../../../../../etc").mkdir()
    (root / "ZY20210800001/H1/notes").mkdir()
    (root / MUG / "../T2.txt").write_text("")
    source = Hoi4d.open(root)
    assert len(source.ids()) == 1
    for id_ in ("", "..", "../../etc", source.ids()[0] + "/..", MUG):
        with pytest.raises(Refused, match="has no recording"):
            source.read(id_, "align_rgb")
    with pytest.raises(Refused, match="has no camera 'left'; its cameras are align_rgb"):
        source.read(source.ids()[0], "left")
    with pytest.raises(Refused, match=r"holds no folder such as ZY2021"):
        Hoi4d.open(root / MUG)
    with pytest.raises(Refused, match="cannot be read"):
        Hoi4d.open(root / "missing")
    with pytest.raises(Refused, match="height is 8; expected at least 16"):
        Hoi4d.open(root, height=8)
