from itertools import combinations

import pytest

from mask2iv_ros.cameras.looks import HELD_OUT_STATION, TRAINED_STATION
from mask2iv_ros.cameras.tasks import TASKS
from mask2iv_ros.data.splits import SPLITS, require_split, split_of
from mask2iv_ros.errors import Refused


def test_no_seed_is_in_two_splits():
    assert set(SPLITS) == {"train", "validation", "test", "unseen_tasks", "unseen_camera"}
    for one, other in combinations([split.seeds for split in SPLITS.values()], 2):
        assert one.stop <= other.start or other.stop <= one.start


def test_a_seed_knows_its_split():
    for name, split in SPLITS.items():
        assert split_of(split.seeds.start) == name
        assert split_of(split.seeds.stop - 1) == name
        require_split([(split.tasks[0], split.seeds.start), ("a task of another's", 3)], name)
    assert split_of(-1) == "other"
    assert split_of(max(split.seeds.stop for split in SPLITS.values())) == "other"


def test_two_tasks_and_a_camera_are_held_out():
    held_out = set(SPLITS["unseen_tasks"].tasks)
    assert len(held_out) == 2
    assert len(SPLITS["train"].tasks) >= 10
    assert set(SPLITS["train"].tasks) | held_out == set(TASKS)
    assert not held_out & {task for name in ("train", "validation", "test") for task in SPLITS[name].tasks}
    beyond = HELD_OUT_STATION.middle.azimuth - HELD_OUT_STATION.turn
    assert beyond > TRAINED_STATION.middle.azimuth + TRAINED_STATION.turn + 10


@pytest.mark.parametrize(("scene", "split"), [(("push", 2_000_000), "train"), (("box-close", 5), "train")])
def test_a_scene_of_another_split_is_refused(scene: tuple[str, int], split: str):
    with pytest.raises(
        Refused, match=f"scene {scene[0]}-{scene[1]} is not of the split 'train'; expected seeds 0 to 999999"
    ):
        require_split([scene], split)
