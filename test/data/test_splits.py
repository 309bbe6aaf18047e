from itertools import combinations

from mask2iv_ros.data.splits import SPLITS, split_of


def test_no_seed_is_in_two_splits():
    assert set(SPLITS) == {"train", "validation", "test"}
    for one, other in combinations(SPLITS.values(), 2):
        assert one.stop <= other.start or other.stop <= one.start


def test_a_seed_knows_its_split():
    for name, seeds in SPLITS.items():
        assert split_of(seeds.start) == name
        assert split_of(seeds.stop - 1) == name
    assert split_of(-1) == "other"
    assert split_of(max(seeds.stop for seeds in SPLITS.values())) == "other"
