import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.contact import RegionWeights, contact_map, loss_weight


def drawn(*rows: str) -> np.ndarray:
    return np.array([[".ao".index(pixel) for pixel in row] for row in rows], np.uint8)


def test_contact_is_where_each_lies_within_reach_of_the_other():
    labels = drawn(
        "........",
        ".aaoo...",
        ".aaooo..",
        ".aa.....",
        "........",
    )
    expected = drawn(
        "........",
        "..ao....",
        "..ao....",
        "..a.....",
        "........",
    )
    np.testing.assert_array_equal(contact_map(labels, 3), expected > 0)


def test_contact_across_a_gap_needs_the_reach():
    labels = drawn("aa..oo")
    assert not contact_map(labels, 5).any()
    np.testing.assert_array_equal(contact_map(labels, 7), drawn(".a..o.") > 0)
    np.testing.assert_array_equal(contact_map(labels, 9), drawn("aa..oo") > 0)
    assert not contact_map(drawn("aaoo"), 1).any()


def test_contact_is_the_methods_formula():
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 1, 2, 255], np.uint8), (12, 15), p=[0.8, 0.1, 0.08, 0.02])

    def dilate(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 2)
        return np.any([padded[y : y + 12, x : x + 15] for y in range(5) for x in range(5)], axis=0)

    arm, thing = labels == 1, labels == 2
    np.testing.assert_array_equal(contact_map(labels, 5), (dilate(arm) & thing) | (arm & dilate(thing)))


def test_one_pixel_is_enough_to_count():
    labels = np.zeros((2, 16, 24), np.uint8)
    labels[0, 9, 23] = 2
    labels[1, 0, 0] = 1
    weight = loss_weight(labels, RegionWeights(interactor=1, object=2, contact=5, reach=5), 8)
    expected = np.ones((1, 2, 2, 3))
    expected[0, 0, 1, 2] = 3
    expected[0, 1, 0, 0] = 2
    np.testing.assert_array_equal(weight.numpy(), expected)


def test_contact_is_the_least_weight_and_not_added():
    labels = np.zeros((1, 8, 16), np.uint8)
    labels[0, 2:5, 2:4], labels[0, 2:5, 4:6] = 1, 2
    assert loss_weight(labels, RegionWeights(1, 2, 5, 5), 8).flatten().tolist() == [5, 1]
    assert loss_weight(labels, RegionWeights(4, 4, 5, 5), 8).flatten().tolist() == [9, 1]


@pytest.mark.parametrize("change", [{"object": -1}, {"contact": float("nan")}, {"interactor": float("inf")}])
def test_weights_out_of_range_are_refused(change: dict):
    with pytest.raises(Refused, match="expected weights >= 0"):
        RegionWeights(**change)


@pytest.mark.parametrize("reach", [0, -1, 4])
def test_a_reach_without_a_middle_is_refused(reach: int):
    with pytest.raises(Refused, match=f"reach is {reach}; expected an odd number"):
        RegionWeights(reach=reach)
