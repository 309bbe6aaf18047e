from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.reading import read_settings


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    sides: tuple[int, ...] = (3,)

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise Refused(f"rate is {self.rate}; expected at most 1")


@dataclass(frozen=True)
class Outer:
    steps: int
    size: tuple[int, int] = (8, 8)
    kind: Literal["one", "two"] = "one"
    inner: Inner = field(default_factory=Inner)
    more: Inner | None = None
    quiet: bool = False
    share: float | None = None


def read(folder: Path, text: str, *changes: str) -> Outer:
    path = folder / "outer.yaml"
    path.write_text(text)
    return read_settings(Outer, path, changes)


def test_a_file_becomes_the_dataclass(tmp_path: Path):
    text = "steps: 3\nsize: [4, 6]\nkind: two\ninner: {rate: 1e-4, sides: [5, 7]}\nmore: {rate: 1}\nquiet: true"
    assert read(tmp_path, text) == Outer(3, (4, 6), "two", Inner(1e-4, (5, 7)), Inner(1.0), quiet=True)
    assert isinstance(read(tmp_path, text).more.rate, float)
    assert read(tmp_path, "steps: 1\nshare: null") == Outer(1)


def test_changes_take_the_place_of_what_the_file_says(tmp_path: Path):
    text = "steps: 3\ninner: {sides: [5]}"
    changed = read(tmp_path, text, "inner.rate=1e-3", "steps=9", "more.sides=[9]", "share=0.25")
    assert changed == Outer(9, inner=Inner(1e-3, (5,)), more=Inner(sides=(9,)), share=0.25)
    assert read(tmp_path, f"{text}\nmore: {{}}", "more=null").more is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: 1\nstepps: 2", "stepps is unknown; accepted are steps, size, kind"),
        ("steps: 1\ninner: {speed: 2}", r"inner\.speed is unknown; accepted are inner\.rate, inner\.sides"),
        ("size: [1, 2]", "steps is missing"),
        ("steps: 1.5", "steps is 1.5; expected a whole number"),
        ("steps: true", "steps is True; expected a whole number"),
        ("steps: 1\nquiet: 1", "quiet is 1; expected true or false"),
        ("steps: 1\nsize: [1, 2, 3]", r"size is \[1, 2, 3\]; expected a list of 2"),
        ("steps: 1\nsize: [1, wide]", r"size\[1\] is 'wide'; expected a whole number"),
        ("steps: 1\nkind: three", "kind is 'three'; accepted are one, two"),
        ("steps: 1\nkind: [one]", r"kind is \['one'\]; accepted are one, two"),
        ("steps: 1\ninner: 3", "inner is 3; expected a mapping with some of rate, sides"),
        ("steps: 1\ninner: {rate: fast}", r"inner\.rate is 'fast'; expected a number"),
        ("steps: 1\ninner: {rate: 2}", r"inner\.rate is 2.0; expected at most 1"),
        ("steps: 1\nshare: [1]", r"share is \[1\]; expected a number"),
        ("- steps", "the file is .*; expected a mapping"),
        ("", "the file is None; expected a mapping"),
        ("steps: [", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, text: str, words: str):
    with pytest.raises(Refused, match=rf"outer\.yaml.*{words}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("steps", "change 'steps' is not understood; expected KEY=VALUE"),
        ("=3", "change '=3' is not understood"),
        ("steps=[", "has no YAML value after its ="),
        ("steps.more=1", "names a key inside of a value"),
        ("inner.speed=1", r"inner\.speed is unknown"),
    ],
)
def test_a_change_that_changes_nothing_is_refused(tmp_path: Path, change: str, words: str):
    with pytest.raises(Refused, match=words):
        read(tmp_path, "steps: 1", change)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"none\.yaml cannot be read as YAML"):
        read_settings(Outer, tmp_path / "none.yaml")
