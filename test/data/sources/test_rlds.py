import json
import pickle
import shutil
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.data.sources.rlds import Rlds
from mask2iv_ros.errors import Refused

SHARD = "bridge_dataset-train.tfrecord-00000-of-00001"


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Protobuf's wire format by hand: (number, varint or bytes) of each field; nothing of the package reads along."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        assert tag & 7 == 2, tag
        length = varint()
        yield tag >> 3, data[place : place + length]
        place += length


def by_hand(data: bytes) -> dict[str, bytes | list[bytes]]:
    """Features of a tf.train.Example: the packed bytes of floats and ints, a list of bytes."""
    features = {}
    for _, entry in fields(dict(fields(data))[1]):
        pair = dict(fields(entry))
        ((kind, values),) = fields(pair[2])
        found = [value for _, value in fields(values)]
        features[pair[1].decode()] = found if kind == 1 else b"".join(found)
    return features


@pytest.fixture(scope="module")
def records(bridge_sample: Path) -> list[dict[str, bytes | list[bytes]]]:
    data, place, found = (bridge_sample / SHARD).read_bytes(), 0, []
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        found.append(by_hand(data[place + 12 : place + 12 + length]))
        place += 16 + length
    return found


@pytest.fixture
def root(bridge_sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bridge_sample, tmp_path / "bridge", copy_function=shutil.copyfile))


def test_the_real_episodes_come_back_to_the_bit(bridge_sample: Path, records: list):
    source = Rlds.open(bridge_sample)
    assert source.cameras() == ("image_0", "image_1", "image_2", "image_3")
    assert source.ids() == [f"train-00000-{number:05d}" for number in range(25)]
    compared = 0
    for id_, truth in zip(source.ids(), records, strict=True):
        for camera in source.cameras()[:3]:
            found = source.read(id_, camera)
            assert found.state.tobytes() == truth["steps/observation/state"]
            assert found.action.tobytes() == truth["steps/action"]
            assert {found.task.encode()} == set(truth["steps/language_instruction"])
            encoded = truth[f"steps/observation/{camera}"]
            assert found.frames.shape == (len(encoded), 64, 64, 3)
            for frame, data in zip(found.frames, encoded, strict=True):
                expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
                np.testing.assert_array_equal(frame, expected)
                compared += 1
    assert compared == 750
    assert (found.id, found.task) == ("train-00000-00024", "put carrot on plate")
    assert found.state_names == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    np.testing.assert_allclose(found.times, np.arange(10) / 5)
    assert found.labels is None
    assert found.spans is None


def test_a_camera_that_filmed_black_did_not_see_it(bridge_sample: Path):
    source = Rlds.open(bridge_sample)
    with pytest.raises(Refused, match=r"^record 0 of .* was not seen by camera 'image_3': all of its images are black"):
        source.read("train-00000-00000", "image_3")
    with pytest.raises(Refused, match="has no camera 'wrist'; its cameras are image_0, image_1, image_2, image_3"):
        source.read("train-00000-00000", "wrist")


def test_it_is_cheap_to_open_and_goes_to_workers(bridge_sample: Path, root: Path):
    (root / SHARD).write_bytes(b"")  # opening looks at no record
    assert len(Rlds.open(root).ids()) == 25
    source = Rlds.open(bridge_sample)
    data = pickle.dumps(source)
    assert len(data) < 4000
    np.testing.assert_array_equal(
        pickle.loads(data).read("train-00000-00007", "image_1").frames,
        source.read("train-00000-00007", "image_1").frames,
    )
    tracemalloc.start()
    for id_ in source.ids():
        source.read(id_, "image_0")
    assert tracemalloc.get_traced_memory()[1] < 1_500_000  # one record has 140 kB, the file 3.5 MB
    tracemalloc.stop()


def test_a_corrupt_episode_is_named_and_the_others_are_read(root: Path):
    data = bytearray((root / SHARD).read_bytes())
    data[300_000] ^= 1
    (root / SHARD).write_bytes(data[:-10])
    source, faults = Rlds.open(root), {}
    for id_ in source.ids():
        try:
            source.read(id_, "image_0")
        except Refused as error:
            faults[id_] = str(error)
    assert list(faults) == ["train-00000-00002", "train-00000-00024"]
    assert f"record 2 of {root / SHARD} is corrupt: its checksum is" in faults["train-00000-00002"]
    assert f"record 24 of {root / SHARD} is cut short" in faults["train-00000-00024"]


def edit(root: Path, name: str, change) -> None:
    found = json.loads((root / name).read_text())
    change(found)
    (root / name).write_text(json.dumps(found))


def test_several_shards_and_a_missing_one(root: Path):
    edit(root, "dataset_info.json", lambda info: info["splits"][0].update(shardLengths=["25", "0", "3"]))
    (root / SHARD).rename(root / SHARD.replace("of-00001", "of-00003"))
    source = Rlds.open(root)
    assert source.ids()[-4:] == ["train-00000-00024", *(f"train-00002-{number:05d}" for number in range(3))]
    assert len(source.read("train-00000-00024", "image_0").frames) == 10
    with pytest.raises(Refused, match=r"train.tfrecord-00002-of-00003 cannot be read \(No such file"):
        source.read("train-00002-00000", "image_0")
    with pytest.raises(Refused, match="has no episode 'train-00001-00000'"):
        source.read("train-00001-00000", "image_0")


def test_what_is_missing_is_said_when_it_is_opened(root: Path):
    with pytest.raises(Refused, match=r"has no file of split 'val'; expected 1, as bridge_dataset-val.tfrecord-00000"):
        Rlds.open(root, "val")
    with pytest.raises(Refused, match="has no split 'test'; its splits are train, val"):
        Rlds.open(root, "test")
    with pytest.raises(Refused, match="rate is nan; expected a positive number"):
        Rlds.open(root, rate=float("nan"))
    (root / "features.json").unlink()
    with pytest.raises(Refused, match=r"features.json cannot be read .*No such file.* that TFDS wrote"):
        Rlds.open(root)


@pytest.mark.parametrize(
    "id_", ["train-00000-00025", "../../etc/passwd", "train-00000-00000/..", "val-00000-00000", ""]
)
def test_ids_lead_nowhere_else(bridge_sample: Path, id_: str):
    with pytest.raises(Refused, match="has no episode"):
        Rlds.open(bridge_sample).read(id_, "image_0")


def test_hostile_metadata(root: Path):
    def opened(name: str, change) -> None:
        kept = (root / name).read_text()
        edit(root, name, change)
        try:
            Rlds.open(root)
        finally:
            (root / name).write_text(kept)

    def steps(spec: dict) -> dict:
        return spec["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]

    info, spec = "dataset_info.json", "features.json"
    with pytest.raises(Refused, match=r"names a file '\.\./\.\./etc/passwd'"):
        opened(info, lambda one: one["splits"][0].update(filepathTemplate="../../etc/passwd"))
    with pytest.raises(Refused, match=r"names a file '\.\./x-train"):
        opened(info, lambda one: one.update(name="../x"))
    with pytest.raises(Refused, match="is kept as array_record; expected tfrecord"):
        opened(info, lambda one: one.update(fileFormat="array_record"))
    for lengths in (["-3"], [], ["999999999999"]):
        with pytest.raises(Refused, match="expected some"):
            opened(info, lambda one, lengths=lengths: one["splits"][0].update(shardLengths=lengths))
    with pytest.raises(Refused, match="expected a dataset that TFDS wrote"):
        opened(info, lambda one: one.update(splits=3))
    with pytest.raises(Refused, match="has no image under steps/observation/"):
        opened(spec, lambda one: steps(one).pop("observation"))
    with pytest.raises(Refused, match=r"keeps steps/action as .*zlib.*expected float32 vectors"):
        opened(spec, lambda one: steps(one)["action"]["tensor"].update(encoding="zlib"))
    (root / spec).write_text("[" * 100_000)
    with pytest.raises(Refused, match=r"features\.json cannot be read"):
        Rlds.open(root)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def piece(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(features: dict[str, list]) -> bytes:
    entries = b""
    for name, values in features.items():
        if values and isinstance(values[0], bytes):
            feature = piece(1, b"".join(piece(1, one) for one in values))
        elif values and isinstance(values[0], float):
            feature = piece(2, piece(1, np.array(values, "<f4").tobytes()))
        else:
            feature = piece(3, piece(1, b"".join(varint(one) for one in values)))
        entries += piece(1, piece(1, name.encode()) + piece(2, feature))
    return piece(1, entries)


@pytest.fixture
def write(root: Path, write_records, records: list):
    jpegs = records[0]["steps/observation/image_0"][:3]

    def features(**changes: list) -> dict[str, list]:
        known = {"steps/action": [0.5] * 21, "steps/observation/state": [1.5] * 21}
        known |= {f"steps/observation/image_{camera}": jpegs for camera in range(4)}
        known["steps/language_instruction"] = [b"push  it"] * 3
        return known | {key.replace("__", "/"): value for key, value in changes.items()}

    def write_(**changes: list) -> Rlds:
        write_records(root / SHARD, [example(features(**changes))])
        edit(root, "dataset_info.json", lambda info: info["splits"][0].update(shardLengths=["1"]))
        return Rlds.open(root)

    return write_


def test_flags_tell_which_camera_saw_an_episode(write):
    flags = {f"episode_metadata__has_image_{camera}": [int(camera != 2)] for camera in range(4)}
    source = write(**flags)
    assert source.read("train-00000-00000", "image_3").task == "push  it"
    with pytest.raises(Refused, match="was not seen by camera 'image_2'; those that saw it are image_0, image_1,"):
        source.read("train-00000-00000", "image_2")


def test_episodes_that_do_not_fit_together(write, records: list):
    jpeg = records[0]["steps/observation/image_0"][0]
    cases = {
        "has 20 values of steps/action; expected 7 floats a step": {"steps__action": [0.5] * 20},
        "has 0 values of steps/action": {"steps__action": []},
        "has 21 values of steps/action; expected 7 floats": {"steps__action": [1] * 21},
        r"has 3 images, states and actions \[3, 2\]": {"steps__action": [0.5] * 14},
        "has no images of camera 'image_0'": {"steps__observation__image_0": []},
        "image 1 of camera 'image_0' in record 0 of .* cannot be decoded": {
            "steps__observation__image_0": [jpeg, jpeg[:700], jpeg]
        },
        "image 0 of .* is 8 x 8 pixels; expected 64 x 64": {
            "steps__observation__image_0": [cv2.imencode(".png", np.ones((8, 8, 3), np.uint8))[1].tobytes()]
        },
        "has an instruction that is no UTF-8": {"steps__language_instruction": [b"\xff\xfe"] * 3},
    }
    for match, changes in cases.items():
        with pytest.raises(Refused, match=match):
            write(**changes).read("train-00000-00000", "image_0")
