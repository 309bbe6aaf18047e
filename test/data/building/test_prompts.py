from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.building.prompts import Asked, read_prompts, told_prompts
from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role

FILE = """
all: {interactor: robot gripper, object: cup}
episodes:
  kitchen.mp4:
    - interactor: {box: [410, 0, 120, 230]}
      object: {points: [[322, 180]], outside: [[360, 175]]}
      task: put the cup on the shelf
    - frame: 210
      interactor: [{points: [[100, 30]]}, {points: [[500, 40]]}]
      object: {box: [200, 160, 40, 60]}
      camera: front
  7: {interactor: hand, object: spoon}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "prompts.yaml"
    path.write_text(text)
    return path


def test_the_file_that_is_documented(tmp_path: Path):
    prompts = read_prompts(write(tmp_path, FILE))
    first, second = prompts.of("kitchen.mp4", "front")
    assert first.task == "put the cup on the shelf"
    assert first.of(Role.INTERACTOR)[0].box == (410, 0, 120, 230)
    np.testing.assert_array_equal(first.of(Role.OBJECT)[0].points, [[322, 180], [360, 175]])
    np.testing.assert_array_equal(first.of(Role.OBJECT)[0].inside, [True, False])
    assert second.frame == 210
    assert len(second.of(Role.INTERACTOR)) == 2
    assert prompts.of("kitchen.mp4", "side") == (first,), "the second is of the front camera"
    assert prompts.of("7", "front")[0].of(Role.OBJECT)[0].words == "spoon"
    assert prompts.of("another.mp4", "front") == (prompts.everywhere,)
    assert prompts.everywhere.of(Role.INTERACTOR)[0].words == "robot gripper"


def test_the_format_in_the_docstring_is_the_one_that_is_read(tmp_path: Path):
    from mask2iv_ros.data.building import prompts

    text = "\n".join(line for line in prompts.__doc__.splitlines()[1:] if line.startswith("    "))
    assert len(read_prompts(write(tmp_path, text)).of("kitchen_03.mp4", "front")) == 2


def test_the_digest_changes_with_what_is_said(tmp_path: Path):
    before = read_prompts(write(tmp_path, FILE)).digest
    assert read_prompts(write(tmp_path, FILE + "\n# a remark\n")).digest == before
    assert read_prompts(write(tmp_path, FILE.replace("spoon", "fork"))).digest != before


def test_a_command_line_says_words_clicks_or_a_box():
    words = told_prompts(["robot", "arm"], ["320,180", "330,200"]).everywhere
    assert words.of(Role.INTERACTOR)[0].words == "robot arm"
    np.testing.assert_array_equal(words.of(Role.OBJECT)[0].points, [[320, 180], [330, 200]])
    assert told_prompts(["0,0,40,90"], ["5,5"]).everywhere.of(Role.INTERACTOR)[0].box == (0, 0, 40, 90)


@pytest.mark.parametrize(
    ("interactor", "object_", "said"),
    [
        (["arm"], [], "--object is ''; expected words, clicks"),
        ([], [], "--object is ''; expected words, clicks"),
        (["arm"], ["3,4", "cup"], "--object is '3,4 cup'"),
        (["1,2,3"], ["cup"], "--interactor is '1,2,3'"),
        (["0,0,9,9", "0,0,8,8"], ["cup"], "--interactor is '0,0,9,9 0,0,8,8'"),
        (["0,0,2,2"], ["cup"], "box is 2 x 2 pixels; expected at least"),
    ],
)
def test_a_command_line_that_says_nothing_clear(interactor: list[str], object_: list[str], said: str):
    with pytest.raises(Refused) as caught:
        told_prompts(interactor, object_)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds None; expected the keys 'all' and 'episodes'"),
        ("some: thing", "expected the keys 'all' and 'episodes'"),
        ("all: [", "cannot be read as YAML"),
        ("episodes: 3", "episodes is 3; expected entries by episode id"),
        ("all: {interactor: arm}", "all: nothing is said of the object"),
        ("all: {interactor: arm, objekt: cup}", "all has the key 'objekt'; accepted are camera, frame, interactor"),
        ("episodes: {a: {interactor: arm, object: cup, frame: -1}}", "a, entry 1: frame is -1; expected 0 or more"),
        ("episodes: {a: {interactor: arm, object: cup, frame: x}}", "frame is 'x'; expected a whole number"),
        ("episodes: {a: [{interactor: arm, object: {point: [1, 2]}}]}", "a, entry 1, object: it is {'point': [1, 2]}"),
        ("all: {interactor: arm, object: {points: [[1, 2, 3]]}}", "points is [[1, 2, 3]]; expected whole numbers, 2"),
        ("all: {interactor: arm, object: {box: [1, 2, 3.5, 9]}}", "box is [[1, 2, 3.5, 9]]; expected whole numbers, 4"),
        ("all: {interactor: '', object: cup}", "all, interactor:"),
        ("all: {interactor: arm, object: cup, task: 3}", "task 3; expected texts"),
        (
            "episodes: {a: [{object: cup}, {object: can}]}",
            "a has two entries from frame 0 on; expected one a frame and",
        ),
        ("episodes: {a: [{object: cup, camera: left}, {object: can}]}", "a has two entries from frame 0 on"),
    ],
)
def test_files_that_say_something_else(tmp_path: Path, text: str, said: str):
    with pytest.raises(Refused) as caught:
        read_prompts(write(tmp_path, text))
    assert said in str(caught.value)


def test_no_file(tmp_path: Path):
    with pytest.raises(Refused, match="cannot be read as YAML"):
        read_prompts(tmp_path / "nowhere.yaml")


def test_the_object_is_wanted_and_the_interactor_where_motion_does_not_find_it(tmp_path: Path):
    with pytest.raises(Refused, match="nothing is said of the object"):
        Asked(())
    alone = read_prompts(write(tmp_path, "episodes: {a: {object: cup}}"))
    alone.require_interactors(said=False)
    with pytest.raises(Refused, match="nothing is said of the interactor of 'a'"):
        alone.require_interactors(said=True)
    both = read_prompts(write(tmp_path, FILE))
    both.require_interactors(said=True)
    with pytest.raises(Refused, match=r"motion finds the interactor of 'kitchen\.mp4'"):
        both.require_interactors(said=False)


def test_an_episode_that_the_source_has_not_is_refused(tmp_path: Path):
    """YAML reads 000012 without quotes as an octal number, and the report writes "_" for "-"."""
    for name in ("000012", "train_00000"):
        prompts = read_prompts(write(tmp_path, f"episodes: {{{name}: {{interactor: arm, object: cup}}}}"))
        with pytest.raises(Refused, match=r"which the source has not; its ids are as 000012, train-00000"):
            prompts.require_known(["000012", "train-00000"])
    read_prompts(write(tmp_path, "episodes: {'000012': {object: cup}}")).require_known(["000012"])
