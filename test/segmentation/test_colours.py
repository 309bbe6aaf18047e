import numpy as np

from mask2iv_ros.segmentation import colours
from mask2iv_ros.segmentation.contour import to_lab


def test_odds_tell_two_colours_apart_and_say_nothing_of_a_third():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, :20], image[:, 20:40], image[:, 40:] = (200, 30, 40), (40, 60, 190), (120, 120, 120)
    bins = colours.binned(to_lab(image))
    red, blue = np.zeros((20, 60), np.bool_), np.zeros((20, 60), np.bool_)
    red[:, :20], blue[:, 20:40] = True, True
    found = colours.odds(bins, colours.histogram(bins, red), colours.histogram(bins, blue))
    assert (found[:, :20] == 4).all()
    assert (found[:, 20:40] == -4).all()
    assert (found[:, 40:] == 0).all()


def test_a_histogram_sums_to_one_and_light_moves_it_less_than_hue():
    swatch = np.zeros((4, 4, 3), np.uint8)
    everywhere = np.ones((4, 4), np.bool_)

    def seen(colour: tuple[int, int, int]) -> np.ndarray:
        swatch[:] = colour
        return colours.histogram(colours.binned(to_lab(swatch)), everywhere)

    skin = seen((224, 172, 150))
    assert np.isclose(skin.sum(), 1)
    assert (skin * seen((215, 165, 144))).sum() > 0
    assert (skin * seen((224, 200, 200))).sum() == 0
