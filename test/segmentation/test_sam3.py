import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import Finder, create
from mask2iv_ros.segmentation.base import Prompt

WORDS = Prompt.from_lists(2, words="the red cup")
BOX = Prompt.from_lists(1, box=[10, 10, 20, 20])
CLICK = Prompt.from_lists(2, [20, 3], [20, 3], [True, False])


@pytest.fixture(scope="module")
def sam3(tiny_sam3: str):
    # Random weights believe in nothing: with a threshold of 0 they have to say something.
    back_end = create("sam3", {"weights": tiny_sam3, "device": "cpu", "box_threshold": 0.0})
    yield back_end
    back_end.close()


def test_words_become_masks_of_the_images_size(sam3, clip: np.ndarray):
    assert isinstance(sam3, Finder)
    found = sam3.candidates(clip[0], WORDS.words)
    assert [box.score for box in found] == sorted((box.score for box in found), reverse=True)
    answer = sam3.segment(clip[0], WORDS, None)
    assert answer.labels.shape == clip.shape[1:3]
    assert answer.pixels == np.count_nonzero(answer.labels == Role.OBJECT) > 0
    assert answer.confidence == pytest.approx(found[0].score)


def test_points_boxes_and_words_are_tracked_side_by_side(sam3, clip: np.ndarray):
    seen = []
    track = sam3.track(clip, [BOX, CLICK, WORDS], seen.append)
    assert track.labels.shape == clip.shape[:3]
    assert set(np.unique(track.labels)) <= {0, 1, 2}
    assert seen == [0, 1, 2, 3]
    assert ((track.confidence >= 0) & (track.confidence <= 1)).all()
    assert np.isnan(sam3.track(clip, [BOX]).confidence[:, 1]).all()


def test_a_track_is_what_the_models_own_iterator_says_of_the_whole_video(sam3, clip: np.ndarray):
    import torch

    video = np.concatenate([clip] * 5)  # longer than the tracker looks back
    ours = sam3.track(video, [BOX]).labels == Role.INTERACTOR
    model, processor = sam3._tracker
    session = processor.init_video_session(video=list(video), inference_device="cpu")
    for index, frame in enumerate(video):  # videos are resized by other code than single frames
        session.processed_frames[index] = processor(images=frame, return_tensors="pt").pixel_values[0]
    processor.add_inputs_to_inference_session(session, 0, 0, input_boxes=[[[10, 10, 30, 30]]])
    with torch.inference_mode():
        theirs = [
            processor.post_process_masks([output.pred_masks], [clip.shape[1:3]], binarize=False)[0][0, 0].numpy() > 0
            for output in model.propagate_in_video_iterator(session, start_frame_idx=0)
        ]
    # Frame by frame, the tracker counts the frames so far where a whole video counts all: its code, not ours.
    assert np.mean(ours == np.stack(theirs)) > 0.99


def test_known_labels_are_followed(sam3, clip: np.ndarray):
    labels = np.zeros(clip.shape[1:3], np.uint8)
    labels[12:28, 12:28] = Role.OBJECT
    track = sam3.follow(clip, labels)
    assert np.mean((track.labels[0] == Role.OBJECT) == (labels == Role.OBJECT)) > 0.95


def test_frames_leave_memory_again(sam3, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    sam3.track(clip, [BOX])
    processor = sam3._tracker[1]
    sessions = []
    begin = processor.init_video_session
    monkeypatch.setattr(processor, "init_video_session", lambda **k: sessions.append(begin(**k)) or sessions[-1])
    sam3.track(np.concatenate([clip] * 6), [BOX])
    (session,) = sessions
    assert max(len(session.processed_frames), len(session.output_dict_per_obj[0]["non_cond_frame_outputs"])) <= 17


def test_words_that_find_nothing_are_refused(tiny_sam3: str, clip: np.ndarray):
    strict = create("sam3", {"weights": tiny_sam3, "device": "cpu", "box_threshold": 1.0})
    with pytest.raises(Refused, match="nothing in the image looks like 'the red cup'"):
        strict.segment(clip[0], WORDS, None)


def test_close_frees_and_the_back_end_works_again(sam3, clip: np.ndarray):
    before = sam3.track(clip[:2], [BOX]).labels
    sam3.close()
    assert sam3._tracker is None
    np.testing.assert_array_equal(sam3.track(clip[:2], [BOX]).labels, before)


def test_missing_weights_are_named_with_the_command_that_fetches_them(clip: np.ndarray, tmp_path):
    with pytest.raises(Refused, match=r"`hf download facebook/sam3` \(its page on the hub asks to accept a licence"):
        create("sam3", {"device": "cpu"}).segment(clip[0], WORDS, None)
    with pytest.raises(Refused, match="cannot use the weights in"):
        create("sam3", {"device": "cpu", "weights": str(tmp_path)}).segment(clip[0], WORDS, None)
