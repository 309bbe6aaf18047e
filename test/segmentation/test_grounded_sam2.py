import shutil
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import Finder, create
from mask2iv_ros.segmentation.base import Prompt, Unusable

pytest.importorskip("sam2", reason="needs the extra sam2")
WORDS = Prompt.from_lists(2, words="the red cup")


@pytest.fixture(scope="module")
def grounded(tiny_sam2: dict[str, str], tiny_detector: str):
    # Random weights believe in nothing: with a threshold of 0 they have to say something.
    back_end = create("grounded_sam2", tiny_sam2 | {"detector": tiny_detector, "box_threshold": 0.0})
    yield back_end
    back_end.close()


def test_words_find_boxes_inside_of_the_image_best_first(grounded, clip: np.ndarray):
    assert isinstance(grounded, Finder)
    found = grounded.candidates(clip[0], "The red cup")
    assert found
    scores = [box.score for box in found]
    assert scores == sorted(scores, reverse=True)
    for box in found:
        Prompt(Role.OBJECT, box=box.box).check_inside_image(*clip.shape[1:3])


def test_words_stand_for_the_best_box(grounded, clip: np.ndarray):
    best = grounded.candidates(clip[0], WORDS.words)[0]
    box = Prompt.from_lists(2, box=best.box)
    words, boxed = grounded.segment(clip[0], WORDS, None), grounded.segment(clip[0], box, None)
    np.testing.assert_array_equal(words.labels, boxed.labels)
    assert words.confidence == pytest.approx(boxed.confidence * best.score)
    assert "the words fit" in words.note
    assert not boxed.note
    np.testing.assert_array_equal(grounded.track(clip, [WORDS]).labels, grounded.track(clip, [box]).labels)


def test_words_that_find_nothing_are_refused(tiny_sam2: dict[str, str], tiny_detector: str, clip: np.ndarray):
    strict = create("grounded_sam2", tiny_sam2 | {"detector": tiny_detector, "box_threshold": 1.0})
    assert strict.candidates(clip[0], "the red cup") == []
    with pytest.raises(Refused, match="nothing in the image looks like 'the red cup' with a score of 1 or more"):
        strict.segment(clip[0], WORDS, None)
    with pytest.raises(Refused, match="nothing in the image looks like"):
        strict.track(clip, [Prompt.from_lists(1, box=[10, 10, 20, 20]), WORDS])


def test_close_frees_both_networks_and_they_come_back(grounded, clip: np.ndarray):
    before = grounded.segment(clip[0], WORDS, None).labels
    grounded.close()
    assert grounded._model is None
    assert grounded._detector._model is None
    np.testing.assert_array_equal(grounded.segment(clip[0], WORDS, None).labels, before)


def test_a_missing_detector_is_named_with_the_command_that_fetches_it(tiny_sam2: dict[str, str], clip: np.ndarray):
    with pytest.raises(Refused, match=r"`hf download IDEA-Research/grounding-dino-tiny`"):
        create("grounded_sam2", tiny_sam2).candidates(clip[0], "a cup")
    with pytest.raises(Refused, match="box_threshold is 2; expected a score from 0 to 1"):
        create("grounded_sam2", {"box_threshold": 2})


def test_weights_that_are_cut_short_are_refused(tiny_detector: str, clip: np.ndarray, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_detector, tmp_path / "detector"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(Unusable, match="the detector of segmentation back end 'grounded_sam2' cannot use the weights"):
        create("grounded_sam2", {"detector": str(folder)}).candidates(clip[0], "the red cup")
