from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.sources.bag import BagSource
from mask2iv_ros.data.sources.bag_topics import BagTopics
from mask2iv_ros.errors import Refused

START, MS = 1_700_000_000 * 10**9, 10**6
CAMERA, JOINTS = "/camera/image_raw", "/joint_states"
IMAGE, JOINT_STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"


def read(path: Path, **topics: object):
    source = BagSource.open(path, BagTopics(**topics))
    return source.read(source.ids()[0], source.cameras()[0])


def test_hostile_messages_are_one_sentence_and_the_other_bag_is_read(tmp_path: Path, bags):
    pixels = np.zeros((8, 8, 3), np.uint8)
    image, joints = bags.image(pixels, START), bags.joints("ab", [1, 2], START)
    short = bags.store.serialize_cdr(joints, JOINT_STATE)[:-9]

    def spoilt(**fields: object) -> list[tuple]:
        return [(CAMERA, IMAGE, START, replace(image, **fields)), (JOINTS, JOINT_STATE, START, joints)]

    def moved(message: object) -> list[tuple]:
        return [(CAMERA, IMAGE, START, image), (JOINTS, JOINT_STATE, START, message)]

    two = [*moved(joints), (CAMERA, IMAGE, START + MS, bags.image(pixels[:4], START + MS))]
    cases = [
        (spoilt(encoding="16UC1"), "image 0 on /camera/image_raw has the encoding '16UC1'; accepted are rgb8"),
        (spoilt(data=image.data[:50]), "has 50 bytes of data; expected 192: step 24 x height 8"),
        (spoilt(step=3), "has a step of 3 bytes; expected at least 24"),
        (spoilt(height=2**31), "is 8 x 2147483648 pixels; expected 1 to 8192 each way"),
        (spoilt(width=0), "is 0 x 8 pixels"),
        (two, "image 1 on /camera/image_raw is 8 x 4 pixels and those before 8 x 8; expected one size"),
        (moved(bags.joints("ab", [1, np.nan], START)), "message 0 on /joint_states has nan for b; expected a number"),
        (moved(bags.joints("ab", [1, 1e300], START)), "has 1e+300 for b; expected a number"),
        (moved(bags.joints("ab", [1], START)), "has 1 positions of 2 joints (a, b); expected one each"),
        (moved(bags.joints("aa", [1, 2], START)), "has 2 positions of 2 joints (a, a)"),
        (moved(bags.joints("", [], START)), "has 0 values; expected 1 to 1024"),
        (moved(bytes(short)), "a message of 67 bytes on /joint_states is no sensor_msgs/msg/JointState"),
        (moved(bags.joints(["a\nb"], [1], START)), r"has the name 'a\nb'; expected up to 100 printable"),
        (moved(None), "has no message on /joint_states; expected some"),
        ([(CAMERA, IMAGE, 0, None), *moved(joints)[1:]], "has no message on /camera/image_raw"),
        (moved(joints)[1:], "has no topic '/camera/image_raw'; its topics are /joint_states"),
        (moved(bags.joints("ab", [1, 2], START))[:1], "has no topic '/joint_states'"),
        ([*moved(joints), moved(joints)[0]], "its frames' times do not ascend"),
        (
            [moved(joints)[0], (JOINTS, IMAGE, START, image)],
            f"{JOINTS} is of type {IMAGE}; expected one of {JOINT_STATE}",
        ),
    ]
    bags.write(tmp_path / "bags/0", moved(joints))
    for number, (messages, _) in enumerate(cases, 1):
        bags.write(tmp_path / f"bags/{number}", messages, "mcap" if number % 2 else "sqlite3")
    source = BagSource.open(tmp_path / "bags", BagTopics())
    assert source.ids() == [str(number) for number in range(len(cases) + 1)]
    assert source.read("0", "camera.image_raw").state.tolist() == [[1, 2]]
    for number, (_, words) in enumerate(cases, 1):
        with pytest.raises(Refused) as refusal:
            pytest.fail(f"{number} gives {source.read(str(number), 'camera.image_raw').frames.shape}")
        assert words in str(refusal.value)
        assert str(tmp_path / f"bags/{number}") in str(refusal.value)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_files_that_are_cut_or_are_none(tmp_path: Path, bags, storage: str):
    video, _, state, action = bags.scene(4)
    folder = bags.write(tmp_path / "whole", bags.demonstration(video, None, state, action), storage)
    file = next(one for one in folder.iterdir() if one.name != "metadata.yaml")
    data, cut = file.read_bytes(), tmp_path / f"cut{file.suffix}"
    for length in np.linspace(0, len(data) - 1, 25).astype(int):
        cut.write_bytes(data[:length])
        with pytest.raises(Refused, match=r"cannot be read .*expected a whole ROS 2 bag: `mcap recover` or"):
            read(cut)
    rng = np.random.default_rng(0)
    for _ in range(25):
        spoilt = bytearray(data)
        for place in rng.integers(0, len(data), 6):
            spoilt[place] = rng.integers(256)
        cut.write_bytes(spoilt)
        with suppress(Refused):  # and nothing else
            assert len(read(cut).frames) <= 4
    # A crash leaves no metadata.yaml; the file may be whole all the same.
    (folder / "metadata.yaml").unlink()
    np.testing.assert_array_equal(read(folder).frames, video)
    (folder / "metadata.yaml").write_text("{a: [")
    with pytest.raises(Refused, match="whole cannot be read"):
        read(folder)


def test_an_mcap_without_an_index_is_scanned(tmp_path: Path, bags):
    video, _, state, action = bags.scene(4)
    file = bags.write(tmp_path / "a", bags.demonstration(video, None, state, action)) / "a.mcap"
    data = bytearray(file.read_bytes())
    data[-28:-12] = bytes(16)  # where the summary begins, in the footer
    (tmp_path / "bare.mcap").write_bytes(data)
    found = read(tmp_path / "bare.mcap")
    np.testing.assert_array_equal(found.frames, video)
    assert found.action.tobytes() == action.tobytes()


def test_bags_of_humble_have_no_definitions(tmp_path: Path, bags):
    video, _, state, action = bags.scene(4)
    file = bags.write(tmp_path / "a", bags.demonstration(video, None, state, action), "sqlite3") / "a.db3"
    with sqlite3.connect(file) as database:
        database.executescript(
            "DROP TABLE message_definitions; DROP TABLE schema; DROP TABLE metadata; "
            "ALTER TABLE topics DROP COLUMN type_description_hash"
        )
    database.close()
    shutil.move(file, tmp_path / "old.db3")
    assert read(tmp_path / "old.db3").state.tobytes() == state.tobytes()


@pytest.mark.parametrize("values", ["-5, x''", "'soon', x''", "5000000000000000000, x''", "5, NULL", "5, 'text'"])
def test_a_database_with_anything_in_it(tmp_path: Path, bags, values: str):
    file = bags.write(tmp_path / "a", [*bags.frames_at([0]), *bags.joints_at([0])], "sqlite3") / "a.db3"
    with sqlite3.connect(file) as database:
        schema = "id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp, data"
        database.executescript(
            f"ALTER TABLE messages RENAME TO old; CREATE TABLE messages({schema}); "
            "INSERT INTO messages SELECT * FROM old; "
            f"INSERT INTO messages(topic_id, timestamp, data) VALUES (2, {values})"
        )
    database.close()
    with pytest.raises(Refused, match=r"expected bytes, received at 0 to|cannot be read|is no sensor_msgs/msg/Joint"):
        read(tmp_path / "a")


def test_another_definition_of_a_type_is_refused(tmp_path: Path, bags):
    bags.write(tmp_path / "a", [*bags.frames_at([0]), *bags.joints_at([0])])
    metadata = tmp_path / "a/metadata.yaml"
    digest = bags.store.hash_rihs01(JOINT_STATE)
    assert digest in metadata.read_text()
    metadata.write_text(metadata.read_text().replace(digest, digest[:-4] + "0000"))
    with pytest.raises(Refused, match=f"its {JOINT_STATE} on {JOINTS} is defined otherwise than that of ROS 2 Jazzy"):
        read(tmp_path / "a")


def test_where_bags_are(tmp_path: Path, bags):
    for name in ("s/day 2/b10", "s/day 2/b9", "s/lone"):
        bags.write(tmp_path / name, bags.frames_at([0]))
    (tmp_path / "s/lone/lone.mcap").rename(tmp_path / "s/lone.mcap")
    shutil.rmtree(tmp_path / "s/lone")
    (tmp_path / "s/notes.txt").write_text("")
    assert BagSource.open(tmp_path / "s").ids() == ["day_2_b9", "day_2_b10", "lone"]
    assert BagSource.open([tmp_path / "s/day 2/b10", tmp_path / "s/lone.mcap"]).ids() == ["b10", "lone"]
    with pytest.raises(Refused, match="would both be episode 'b9'; rename one"):
        BagSource.open([tmp_path / "s/day 2", tmp_path / "s/day 2/b9"])
    for path in (tmp_path / "nowhere", tmp_path / "s/notes.txt"):
        with pytest.raises(
            Refused, match=r"holds no ROS 2 bag; expected a folder with metadata.yaml, a file that ends"
        ):
            BagSource.open(path)
    source = BagSource.open(tmp_path / "s")
    with pytest.raises(Refused, match=r"there is no bag '../b9'; expected one of day_2_b9"):
        source.read("../b9", "camera.image_raw")
    with pytest.raises(Refused, match=r"has no camera 'left'; its cameras are camera.image_raw"):
        source.read("lone", "left")
