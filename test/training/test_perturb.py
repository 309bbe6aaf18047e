import cv2
import numpy as np

from mask2iv_ros.training.perturb import perturb


def labels(*, thing: bool = True) -> np.ndarray:
    drawn = np.zeros((3, 40, 60), np.uint8)
    for frame in range(3):
        drawn[frame, 5:25, 3:23] = 1
        if thing:
            drawn[frame, 14:32, 36 + frame : 52 + frame] = 2
    return drawn


def test_each_role_is_dilated_or_eroded_by_one_kernel_for_the_whole_clip():
    before, seen = labels(), set()
    for seed in range(40):
        after = perturb(before, np.random.default_rng(seed), (3, 5, 7))
        for role in (1, 2):
            ways = {
                (name, side)
                for name, change in (("dilate", cv2.dilate), ("erode", cv2.erode))
                for side in (3, 5, 7)
                if all(
                    np.array_equal(a == role, change((b == role).astype(np.uint8), np.ones((side, side))) > 0)
                    for a, b in zip(after, before, strict=True)
                )
            }
            assert len(ways) == 1
            seen |= {(role, *way) for way in ways}
    assert len(seen) == 12, "every role is changed in every way"


def test_the_generator_decides():
    one, again, other = (perturb(labels(), np.random.default_rng(seed), (3, 5, 7)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_given_labels_stay_as_they_are():
    before = labels()
    perturb(before, np.random.default_rng(0), (3,))
    np.testing.assert_array_equal(before, labels())


def test_no_role_comes_from_nothing():
    after = perturb(labels(thing=False), np.random.default_rng(0), (7,))
    assert set(np.unique(after)) == {0, 1}
