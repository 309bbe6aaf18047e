from pathlib import Path

import cv2
import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role, iou
from mask2iv_ros.segmentation.base import Prompt
from mask2iv_ros.segmentation.cutting import GrabCutSettings
from mask2iv_ros.segmentation.grabcut import GrabCut

VIDEOS = Path(__file__).resolve().parents[2] / "../shared/data/real_video"
real = pytest.mark.skipif(not VIDEOS.exists(), reason="the shared real videos are not on this machine")
GRABCUT = GrabCut()


def click(*points: tuple[int, int], outside: tuple[tuple[int, int], ...] = (), role: int = 2) -> Prompt:
    x, y = zip(*points, *outside, strict=True)
    return Prompt.from_lists(role, x, y, [True] * len(points) + [False] * len(outside))


def box(*values: int) -> Prompt:
    return Prompt.from_lists(2, box=values)


def noisy(image: np.ndarray, sigma: float = 6.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    """A table with a red disc, the object, that a grey bar, the arm, touches."""
    image = np.full((240, 320, 3), (150, 120, 90), np.uint8)
    image[100:140, :150] = (90, 90, 95)
    truth = np.zeros((240, 320), np.uint8)
    cv2.circle(truth, (180, 120), 34, 1, -1)
    image[truth > 0] = (190, 30, 40)
    return noisy(image), truth > 0


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    _, frame = cv2.VideoCapture(str(VIDEOS / "hands_coffee.mp4")).read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("prompt", [click((180, 120)), click((165, 100)), click((180, 110), (200, 130))])
def test_clicks_find_the_whole_thing(table: tuple[np.ndarray, np.ndarray], prompt: Prompt):
    found = GRABCUT.segment(table[0], prompt, None)
    assert iou(found.labels == Role.OBJECT, table[1]) > 0.95
    assert found.pixels == (found.labels == Role.OBJECT).sum()
    assert found.confidence > 0.5
    assert found.labels.dtype == np.uint8


@pytest.mark.parametrize("prompt", [box(146, 86, 69, 69), box(136, 76, 92, 88)])
def test_a_box_finds_the_whole_thing(table: tuple[np.ndarray, np.ndarray], prompt: Prompt):
    found = GRABCUT.segment(table[0], prompt, None)
    assert iou(found.labels == Role.OBJECT, table[1]) > 0.95
    assert found.confidence > 0.5


def test_a_box_too_tight_is_filled_and_not_left(table: tuple[np.ndarray, np.ndarray]):
    found = GRABCUT.segment(table[0], box(150, 90, 60, 60), None).labels > 0
    allowed = np.zeros_like(found)
    allowed[90:150, 150:210] = True
    assert iou(found, table[1] & allowed) > 0.95
    assert not (found & ~allowed).any()


def test_the_same_request_gives_the_same_answer(table: tuple[np.ndarray, np.ndarray]):
    first = GRABCUT.segment(table[0], click((180, 120)), None)
    cv2.setRNGSeed(12345)
    again = GrabCut().segment(table[0], click((180, 120)), None)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.confidence == again.confidence


def test_a_second_role_is_added_and_the_newest_prompt_wins(table: tuple[np.ndarray, np.ndarray]):
    image, truth = table
    labels = GRABCUT.segment(image, click((60, 120), role=1), None).labels
    assert iou(labels == Role.INTERACTOR, np.pad(np.ones((40, 146), bool), ((100, 100), (0, 174)))) > 0.9
    labels[truth] = Role.INTERACTOR
    labels[0, 0], labels[0, 1] = Role.OBJECT, Role.UNLABELLED
    before = labels.copy()
    after = GRABCUT.segment(image, click((180, 120)), labels).labels
    np.testing.assert_array_equal(labels, before)
    assert iou(after == Role.OBJECT, truth) > 0.95
    assert after[0, :2].tolist() == [Role.BACKGROUND, Role.UNLABELLED]
    untouched = (before == Role.INTERACTOR) & (after != Role.OBJECT)
    assert (after[untouched] == Role.INTERACTOR).all()


def test_a_click_outside_takes_a_twin_away():
    image = np.full((160, 320, 3), 120, np.uint8)
    image[50:110, 60:260] = (30, 60, 180)
    whole = GRABCUT.segment(noisy(image), click((80, 80)), None)
    half = GRABCUT.segment(noisy(image), click((80, 80), outside=((240, 80),)), None)
    assert whole.labels[80, 240] == Role.OBJECT
    assert half.labels[80, 80] == Role.OBJECT
    assert half.labels[80, 240] == Role.BACKGROUND
    assert half.pixels < 0.8 * whole.pixels


def test_highlights_are_filled_and_real_holes_are_kept():
    image = np.full((200, 200, 3), 200, np.uint8)
    cv2.circle(image, (100, 100), 70, (20, 60, 160), -1)
    cv2.circle(image, (100, 100), 40, (200, 200, 200), -1)  # a ring is seen through
    cv2.circle(image, (100, 45), 4, (255, 255, 255), -1)
    labels = GRABCUT.segment(noisy(image, 3), click((45, 100)), None).labels
    assert labels[45, 100] == Role.OBJECT
    assert labels[100, 100] == Role.BACKGROUND


def test_a_wire_that_vanishes_on_the_reduced_image_is_still_found():
    image = np.full((720, 1280, 3), (150, 140, 130), np.uint8)
    image[300:420, 500:507] = (200, 20, 20)
    found = GRABCUT.segment(noisy(image), click((503, 360)), None)
    truth = np.zeros((720, 1280), np.bool_)
    truth[300:420, 500:507] = True
    assert iou(found.labels == Role.OBJECT, truth) > 0.6


def test_a_clear_thing_is_more_confident_than_a_faint_one_and_than_noise(table: tuple[np.ndarray, np.ndarray]):
    image, truth = table
    faint = np.full(image.shape, (150, 120, 90), np.uint8)
    faint[truth] = (158, 126, 94)
    noise = np.random.default_rng(0).integers(0, 256, image.shape).astype(np.uint8)
    clear = GRABCUT.segment(image, click((180, 120)), None).confidence
    assert clear > 2 * _confidence(noisy(faint, 10))
    assert clear > 2 * _confidence(noise)


def _confidence(image: np.ndarray) -> float:
    try:
        return GRABCUT.segment(image, click((180, 120)), None).confidence
    except Refused:
        return 0.0


@pytest.mark.parametrize("prompt", [click((160, 120)), box(100, 80, 120, 90)])
def test_a_plain_image_has_no_object_to_find(prompt: Prompt):
    image = np.full((240, 320, 3), 128, np.uint8)
    with pytest.raises(Refused, match=r"no object stands out at the prompt: .* prompt again"):
        GRABCUT.segment(image, prompt, None)


def test_everything_is_no_role():
    image = np.full((240, 320, 3), 128, np.uint8)
    image[:2] = 0
    settings = GrabCutSettings(radii=(1.5,), tolerances=(8.0,), largest=0.5)
    with pytest.raises(Refused, match=r"the object found is (9\d|100) % of the image; expected at most 50 %"):
        GrabCut(settings).segment(image, click((160, 120)), None)


def test_a_prompt_outside_of_the_image_is_refused(table: tuple[np.ndarray, np.ndarray]):
    with pytest.raises(Refused, match=r"point \(320, 0\) lies outside of the 320 x 240 image"):
        GRABCUT.segment(table[0], click((320, 0)), None)
    with pytest.raises(Refused, match="no prompt was given"):
        GRABCUT.segment(table[0], None, None)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 5), (33, 7)])
def test_tiny_images_are_answered_or_refused(size: tuple[int, int]):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    try:
        labels = GRABCUT.segment(image, click((0, 0)), None).labels
    except Refused:
        return
    assert labels.shape == size
    assert labels[0, 0] == Role.OBJECT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations is 0; expected at least 1"),
        ({"search_sides": ()}, r"search_sides is \(\); expected positive numbers"),
        ({"radii": (0.1, -1.0)}, r"radii is \(0.1, -1.0\)"),
        ({"largest": 1.5}, "largest is 1.5; expected a share between 0 and 1"),
        ({"faintest": float("nan")}, "faintest is nan"),
    ],
)
def test_bad_settings_are_refused(change: dict, message: str):
    with pytest.raises(Refused, match=message):
        GrabCutSettings(**change)


@real
@pytest.mark.parametrize("prompt", [click((860, 520)), click((900, 470)), box(795, 410, 205, 210)])
def test_a_mug_in_a_real_frame(coffee: np.ndarray, prompt: Prompt):
    outline = [(801, 438), (840, 418), (890, 417), (960, 435), (988, 450), (953, 512), (938, 560), (918, 606)]
    outline += [(885, 614), (850, 612), (817, 598), (804, 580)]
    truth = cv2.fillPoly(np.zeros((720, 1280), np.uint8), [np.array(outline)], 1) > 0
    found = GRABCUT.segment(coffee, prompt, None)
    assert iou(found.labels == Role.OBJECT, truth) > 0.85
    assert found.confidence > 0.6


@real
def test_a_kettle_that_mirrors_its_surroundings_needs_a_box(coffee: np.ndarray):
    found = GRABCUT.segment(coffee, box(385, 290, 450, 350), None).labels == Role.OBJECT
    assert found[[330, 400, 500, 600], [570, 560, 560, 500]].all()  # lid, and down the body
    assert not found[[330, 600, 400], [750, 750, 880]].any()  # shirt, table, mug
    found[290:640, 385:835] = False
    assert not found.any()  # nothing beyond the box


def moving(steps: int = 12) -> tuple[np.ndarray, list[np.ndarray]]:
    frames, truths = [], []
    for k in range(steps):
        image = np.full((120, 200, 3), (150, 120, 90), np.uint8)
        truth = cv2.circle(np.zeros((120, 200), np.uint8), (60 + 6 * k, 60), 18, int(Role.OBJECT), -1)
        truth[50:70, : 40 + 6 * k][truth[50:70, : 40 + 6 * k] == 0] = Role.INTERACTOR
        image[truth == Role.OBJECT], image[truth == Role.INTERACTOR] = (190, 30, 40), (60, 60, 70)
        frames.append(image)
        truths.append(truth)
    rng = np.random.default_rng(1)
    video = np.clip(np.stack(frames) + rng.normal(0, 4, (steps, 120, 200, 3)), 0, 255).astype(np.uint8)
    return video, truths


def test_arm_and_object_are_tracked_through_a_video():
    video, truths = moving()
    seen = []
    prompts = [Prompt.from_lists(1, box=[0, 50, 42, 20]), click((60, 60))]
    track = GRABCUT.track(video, prompts, seen.append)
    assert seen == list(range(len(video)))
    for found, truth in zip(track.labels, truths, strict=True):
        assert iou(found == Role.OBJECT, truth == Role.OBJECT) > 0.85
        assert iou(found == Role.INTERACTOR, truth == Role.INTERACTOR) > 0.7
    assert track.confidence.shape == (12, 2)
    assert track.confidence[:, 1].min() > 0.7
    assert track.confidence[:, 0].min() > 0.2  # it grows as it comes in
    np.testing.assert_array_equal(track.labels, GrabCut().track(video, prompts).labels)


def test_a_known_label_map_is_followed_and_unasked_roles_have_no_confidence():
    video, truths = moving(5)
    only = np.where(truths[0] == Role.OBJECT, truths[0], 255).astype(np.uint8)
    track = GRABCUT.follow(video, only)
    assert iou(track.labels[-1] == Role.OBJECT, truths[-1] == Role.OBJECT) > 0.85
    assert not (track.labels == Role.INTERACTOR).any()
    assert np.isnan(track.confidence[:, 0]).all()
    np.testing.assert_array_equal(track.labels[0] == Role.OBJECT, only == Role.OBJECT)


def test_two_arms_are_two_prompts_of_one_role():
    video, _ = moving(4)
    video[:, 100:115, 150:190] = (60, 60, 70)
    track = GRABCUT.track(
        video,
        [
            Prompt.from_lists(
                1,
                [
                    20,
                ],
                [60],
            ),
            Prompt.from_lists(1, [170], [107]),
        ],
    )
    assert (track.labels[-1][102:113, 152:188] == Role.INTERACTOR).mean() > 0.9
    assert track.labels[-1][60, 20] == Role.INTERACTOR


def test_what_is_not_found_on_the_first_frame_is_refused():
    with pytest.raises(Refused, match="no object stands out"):
        GRABCUT.track(np.full((3, 60, 80, 3), 128, np.uint8), [click((40, 30))])
    with pytest.raises(Refused, match="made of words"):
        GRABCUT.track(moving(2)[0], [Prompt.from_lists(2, words="a disc")])
