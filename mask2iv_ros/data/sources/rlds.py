"""Episodes of robot datasets in RLDS form: TFDS' tfrecords, read without TensorFlow.

TFDS keeps an episode in one tf.train.Example. Its features are flattened to `steps/observation/state` and the
like; a feature of the steps holds the values of all steps one after another, and an image its encoded bytes
(https://www.tensorflow.org/datasets/external_tfrecord). `features.json` says what there is,
`dataset_info.json` how many episodes each shard holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, UInt8

from mask2iv_ros.data.sources.base import SourceEpisode, require_camera
from mask2iv_ros.data.sources.bridge_facts import ACTION_NAMES, RATE, STATE_NAMES, names_for
from mask2iv_ros.data.sources.pictures import decode_picture
from mask2iv_ros.data.sources.tfrecord import RecordIndex, index_records, parse_example, read_record
from mask2iv_ros.errors import Refused

_CAMERA = "steps/observation/"
_STATE, _ACTION = "steps/observation/state", "steps/action"
# Where datasets keep their instruction; the first that is there.
_TEXTS = ("steps/language_instruction", "steps/observation/natural_language_instruction")
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_FILE_NAME = re.compile(r"[\w.-]+")


class _Feature(NamedTuple):
    """One leaf of features.json.

    Attributes:
        kind: "image", "tensor" or "text".
        dtype: as numpy names it; "" for a text.
        shape: of one value; None where it may vary.
        encoding: of a tensor's values.
    """

    kind: str
    dtype: str
    shape: tuple[int | None, ...]
    encoding: str


@dataclass(frozen=True)
class Rlds:
    """One split of a dataset in RLDS form.

    Episodes are named "<split>-<shard>-<record>" by what dataset_info.json promises; one that is not there, or is
    corrupt, is refused when it is read.

    Attributes:
        root: the folder of one version of the dataset.
        split: which.
        rate: steps a second; the format does not tell.
    """

    name: ClassVar[str] = "rlds"

    root: Path
    split: str
    rate: float
    _is_bridge: bool
    _features: Mapping[str, _Feature]
    _shards: tuple[tuple[Path, int], ...]
    _indices: dict[Path, RecordIndex] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, root: str | Path, split: str = "train", rate: float = RATE) -> Self:
        """Read what there is; no record is touched.

        Args:
            root: folder with features.json, dataset_info.json and the tfrecords.
            split: such as "train" or "val".
            rate: steps a second, BridgeData V2's by default.

        Raises:
            Refused: no such folder or split, no camera, none of the split's files, or a rate that is not positive.
        """
        root = Path(root).expanduser().resolve()
        if not (np.isfinite(rate) and rate > 0):
            raise Refused(f"rate is {rate}; expected a positive number of steps a second")
        info, spec = _json(root / "dataset_info.json"), _json(root / "features.json")
        try:
            features = dict(_leaves(spec))
            shards = _shards(root, info, split)
            is_bridge = "bridge" in str(info["name"]).lower()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(
                f"{root} cannot be read ({type(error).__name__}: {error}); expected a dataset that TFDS wrote"
            ) from error
        if not any(path.is_file() for path, _ in shards):
            raise Refused(f"{root} has no file of split {split!r}; expected {len(shards)}, as {shards[0][0].name}")
        found = cls(root, split, float(rate), is_bridge, features, shards)
        if not found.cameras():
            raise Refused(f"{root} has no image under {_CAMERA}; expected a dataset of episodes with cameras")
        for key in (_STATE, _ACTION):
            _require_plain(root, key, features.get(key))
        return found

    def cameras(self) -> tuple[str, ...]:
        """Return the names of its RGB images, in alphabetical order."""
        return tuple(
            sorted(
                key.removeprefix(_CAMERA)
                for key, one in self._features.items()
                if key.startswith(_CAMERA) and one.kind == "image" and one.dtype == "uint8"
                if len(one.shape) == 3 and one.shape[2] == 3
            )
        )

    def ids(self) -> Sequence[str]:
        """Return "<split>-<shard>-<record>" of every episode that dataset_info.json counts."""
        return [
            f"{self.split}-{shard:05d}-{record:05d}"
            for shard, (_, count) in enumerate(self._shards)
            for record in range(count)
        ]

    def read(self, id: str, camera: str) -> SourceEpisode:  # noqa: A002
        """Read one record and decode one camera's images; steps follow each other by 1 / `rate` seconds.

        Raises:
            Refused: no such episode or camera, a corrupt record, or an episode that this camera did not see.
        """
        require_camera(camera, self.cameras(), self.root)
        path, number = self._place(id)
        where = f"record {number} of {path}"
        if path not in self._indices:
            self._indices[path] = index_records(path)
        values = parse_example(read_record(path, self._indices[path], number))
        self._require_seen(values, camera, where)
        state, action = (self._matrix(values, key, where) for key in (_STATE, _ACTION))
        frames = self._frames(values, camera, where)
        if any(one is not None and len(one) != len(frames) for one in (state, action)):
            counts = [None if one is None else len(one) for one in (state, action)]
            raise Refused(f"{where} has {len(frames)} images, states and actions {counts}; expected as many of each")
        names = [
            names_for(names, one.shape[1]) if self._is_bridge and one is not None else None
            for names, one in ((STATE_NAMES, state), (ACTION_NAMES, action))
        ]
        return SourceEpisode(
            id=id,
            frames=frames,
            times=np.arange(len(frames)) / self.rate,
            task=_instruction(values, where),
            state=state,
            action=action,
            state_names=names[0],
            action_names=names[1],
        )

    def _place(self, id: str) -> tuple[Path, int]:  # noqa: A002
        match = re.fullmatch(re.escape(self.split) + r"-(\d{5,9})-(\d{5,9})", id, re.ASCII)
        if match:
            shard, record = int(match[1]), int(match[2])
            if shard < len(self._shards) and record < self._shards[shard][1]:
                return self._shards[shard][0], record
        raise Refused(f"{self.root} has no episode {id[:200]!r}; expected one such as {self.split}-00000-00000")

    def _require_seen(self, values: Mapping[str, Sequence[Any]], camera: str, where: str) -> None:
        """Refuse a camera that the episode says it has not.

        The flags of some releases are all false although three cameras saw everything: then they say nothing.
        """
        flags = {
            key.removeprefix("episode_metadata/has_"): bool(value and value[0])
            for key, value in values.items()
            if key.startswith("episode_metadata/has_")
        }
        seen = [name for name in self.cameras() if flags.get(name)]
        if seen and flags.get(camera) is False:
            raise Refused(f"{where} was not seen by camera {camera!r}; those that saw it are {', '.join(seen)}")

    def _frames(self, values: Mapping[str, Sequence[Any]], camera: str, where: str) -> UInt8[np.ndarray, "t h w 3"]:
        encoded = values.get(_CAMERA + camera, ())
        if not encoded or not isinstance(encoded[0], bytes):
            raise Refused(f"{where} has no images of camera {camera!r}; expected one a step")
        height, width, _ = self._features[_CAMERA + camera].shape
        size = (height, width)
        frames = []
        for step, data in enumerate(encoded):
            frames.append(decode_picture(data, f"image {step} of camera {camera!r} in {where}", size))
            size = frames[0].shape[:2]
        # TFDS has no missing images: where a camera did not film, it holds black ones.
        if not any(frame.any() for frame in frames):
            raise Refused(f"{where} was not seen by camera {camera!r}: all of its images are black")
        return np.stack(frames)

    def _matrix(self, values: Mapping[str, Sequence[Any]], key: str, where: str) -> Float32[np.ndarray, "t n"] | None:
        if key not in self._features:
            return None
        columns = self._features[key].shape[0]
        flat = np.array(values.get(key, ()), np.float32) if _are_floats(values.get(key, ())) else None
        if flat is None or not flat.size or flat.size % columns:
            raise Refused(f"{where} has {len(values.get(key, ()))} values of {key}; expected {columns} floats a step")
        return flat.reshape(-1, columns)


def _are_floats(values: Sequence[Any]) -> bool:
    return bool(values) and isinstance(values[0], float)


def _instruction(values: Mapping[str, Sequence[Any]], where: str) -> str:
    """Return the instruction of the first step."""
    for key in _TEXTS:
        if values.get(key) and isinstance(values[key][0], bytes):
            try:
                return values[key][0].decode()
            except UnicodeDecodeError as error:
                raise Refused(f"{where} has an instruction that is no UTF-8 ({error}); expected words") from error
    return ""


def _require_plain(root: Path, key: str, feature: _Feature | None) -> None:
    """Refuse vectors that are kept in another way than value by value."""
    if feature is None:
        return
    is_plain = (feature.kind, feature.dtype, feature.encoding) == ("tensor", "float32", "none")
    if not (is_plain and len(feature.shape) == 1 and feature.shape[0]):
        raise Refused(f"{root} keeps {key} as {tuple(feature)}; expected float32 vectors of one length, not encoded")


def _leaves(node: Mapping[str, Any], prefix: str = "", nested: int = 0) -> list[tuple[str, _Feature]]:
    """Return what features.json holds, by its name in the Example; sequences within the steps are left out."""
    if "featuresDict" in node:
        start = f"{prefix}/" if prefix else ""
        children = node["featuresDict"]["features"].items()
        return [leaf for key, child in children for leaf in _leaves(child, start + key, nested)]
    if "sequence" in node:
        return [] if nested else _leaves(node["sequence"]["feature"], prefix, 1)
    if "image" in node:
        return [(prefix, _Feature("image", node["image"]["dtype"], _shape(node["image"]), "none"))]
    if "tensor" in node:
        tensor = node["tensor"]
        return [(prefix, _Feature("tensor", tensor["dtype"], _shape(tensor), tensor.get("encoding", "none")))]
    return [(prefix, _Feature("text", "", (), "none"))] if "text" in node else []


def _shape(node: Mapping[str, Any]) -> tuple[int | None, ...]:
    sizes = [int(one) for one in node["shape"].get("dimensions", ())]
    return tuple(one if one > 0 else None for one in sizes)


def _shards(root: Path, info: Mapping[str, Any], split: str) -> tuple[tuple[Path, int], ...]:
    """Return the files of a split and how many episodes each holds."""
    splits = {one["name"]: one for one in info["splits"]}
    if split not in splits:
        raise Refused(f"{root} has no split {split!r}; its splits are {', '.join(splits)}")
    lengths = [int(one) for one in splits[split]["shardLengths"]]
    if not lengths or min(lengths) < 0 or sum(lengths) > 10**8:
        raise Refused(f"{root} counts {lengths[:10]} episodes in the files of split {split!r}; expected some")
    if info.get("fileFormat", "tfrecord") != "tfrecord":
        raise Refused(f"{root} is kept as {info['fileFormat']}; expected tfrecord")
    known = {"DATASET": info["name"], "SPLIT": split, "FILEFORMAT": "tfrecord"}
    paths = []
    for shard in range(len(lengths)):
        name = splits[split].get("filepathTemplate") or _TEMPLATE
        for key, value in (known | {"SHARD_X_OF_Y": f"{shard:05d}-of-{len(lengths):05d}"}).items():
            name = name.replace(f"{{{key}}}", str(value))
        # A template that leaves the folder is not followed.
        if not _FILE_NAME.fullmatch(name):
            raise Refused(f"{root} names a file {name[:200]!r}; expected letters, digits, '_', '.' and '-'")
        paths.append(root / name)
    return tuple(zip(paths, lengths, strict=True))


def _json(path: Path) -> Any:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(
            f"{path} cannot be read ({error}); expected the folder of a dataset that TFDS wrote, "
            "with dataset_info.json and features.json"
        ) from error
    if not isinstance(found, dict):
        raise Refused(f"{path} holds a {type(found).__name__}; expected what TFDS wrote")
    return found
