from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mask2iv_ros.evaluation.comparison import comparison_film, comparison_sheet, panels
from mask2iv_ros.evaluation.measure import Measured

Make = Callable[..., Measured]


def levelled(one: Measured) -> Measured:
    """Every method's frames of a grey of its own, the goal far from the corner that is looked at."""
    videos = {name: np.full_like(video, 40 + 30 * n) for n, (name, video) in enumerate(one.videos.items())}
    return replace(one, videos=videos, clip=replace(one.clip, video=np.full_like(one.clip.video, 250)))


def test_truth_stands_beside_both_generators_and_baselines(measured_with: Make):
    one = measured_with("push", 0, 1.0)
    captions = [panel.caption for panel in panels(one)]
    assert captions == [
        "truth",
        "stage 2, stage 1's masks",
        "stage 2, true masks",
        "nearest training clip, by goal",
        "paste and move, by true masks",
        "repeat first frame",
    ]
    truth, chain, guided, nearest, moved, still = panels(one)
    np.testing.assert_array_equal(truth.video, one.clip.video)
    np.testing.assert_array_equal(chain.labels, one.chained.trajectory.labels)
    np.testing.assert_array_equal(guided.labels, one.clip.labels)
    np.testing.assert_array_equal(moved.labels, one.clip.labels)
    np.testing.assert_array_equal(nearest.labels, one.labels["nearest training clip, by goal"])
    np.testing.assert_array_equal(still.labels, one.labels["static masks"])


def test_the_film_enlarges_small_frames_and_keeps_their_order(measured_with: Make):
    one = levelled(measured_with("push", 0, 1.0))
    film = comparison_film(one)
    width, height = 48 * 6, 32 * 6
    assert film.shape == (4, 18 + 2 * height, 6 * width + 5 * 4, 3)
    for place, panel in enumerate(panels(one)):
        left = place * (width + 4)
        frames, masks = film[:, 18 : 18 + height, left : left + width], film[:, 18 + height :, left : left + width]
        assert (frames[:, -2, 2] == panel.video[0, 0, 0]).all()
        bare = panel.labels[:, -1, 0] == 0
        assert bare[0]
        assert (masks[bare, -2, 2] == 250).all()  # the source frame
        yellow = (frames == (255, 255, 0)).all(-1)
        assert (yellow.sum((1, 2)) > 4 * 20).all()  # the goal's outline
    # In the last frame the object's true mask is where the goal is.
    thing = np.argwhere(one.clip.goal_mask)[0] * 6 + 4
    assert film[-1, 18 + height + thing[0], thing[1], 1] > film[-1, 18 + height + thing[0], thing[1], 0]


def test_the_sheet_has_a_strip_for_everything(measured_with: Make):
    one = measured_with("push", 0, 1.0)
    strips = 2 + len(one.videos) + len(one.labels)
    assert comparison_sheet(one).shape == (strips * (18 + 128), 4 * 192, 3)
