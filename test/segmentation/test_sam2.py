import os
import pickle

import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import create
from mask2iv_ros.segmentation.base import Prompt

pytest.importorskip("sam2", reason="needs the extra sam2")
CLICK = Prompt.from_lists(2, [20], [20])
BOX = Prompt.from_lists(1, box=[10, 10, 20, 20])
OTHER = Prompt.from_lists(2, box=[24, 8, 30, 24])


@pytest.fixture(scope="module")
def sam2(tiny_sam2: dict[str, str]):
    back_end = create("sam2", tiny_sam2)
    yield back_end
    back_end.close()


@pytest.mark.parametrize(
    "prompt", [CLICK, BOX, Prompt.from_lists(2, [20, 2], [20, 2], [True, False], [10, 10, 20, 20])]
)
def test_a_prompt_becomes_a_label_map_of_the_images_size(sam2, clip: np.ndarray, prompt: Prompt):
    found = sam2.segment(clip[0], prompt, None)
    assert found.labels.shape == clip.shape[1:3]
    assert found.labels.dtype == np.uint8
    assert set(np.unique(found.labels)) <= {0, int(prompt.role)}
    assert found.pixels == np.count_nonzero(found.labels == prompt.role) > 0
    assert 0 <= found.confidence <= 1


def test_a_mask_is_what_the_packages_own_predictor_says(sam2, clip: np.ndarray):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    found = sam2.segment(clip[0], BOX, None)
    predictor = SAM2ImagePredictor(sam2._loaded())
    predictor._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]
    predictor.set_image(clip[0])
    masks, scores, _ = predictor.predict(box=np.array([10, 10, 30, 30]), multimask_output=False)
    np.testing.assert_array_equal(found.labels == Role.INTERACTOR, masks[0] > 0)
    assert found.confidence == pytest.approx(float(scores[0]), abs=1e-6)


def test_a_track_is_what_the_packages_own_predictor_says_of_the_same_frames(sam2, clip: np.ndarray, tmp_path):
    """The package reads folders of JPEG files; kept at their best quality they are all but the frames from memory."""
    import torch
    from PIL import Image
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    for index, frame in enumerate(np.concatenate([clip] * 5)):  # longer than the network looks back
        Image.fromarray(frame).save(tmp_path / f"{index}.jpg", quality=100, subsampling=0)
    decoded = np.stack([np.array(Image.open(tmp_path / f"{index}.jpg")) for index in range(20)])
    ours = sam2.track(decoded, [BOX])
    model = sam2._loaded()
    with torch.inference_mode():
        state = SAM2VideoPredictor.init_state(model, str(tmp_path))
        model.add_new_points_or_box(state, frame_idx=0, obj_id=0, box=np.array([10, 10, 30, 30], np.float32))
        theirs = [logits[0, 0].numpy() > 0 for _, _, logits in model.propagate_in_video(state)]
    np.testing.assert_array_equal(ours.labels == Role.INTERACTOR, np.stack(theirs))


def test_prompts_are_tracked_side_by_side_and_the_later_wins(sam2, clip: np.ndarray):
    seen = []
    track = sam2.track(clip, [BOX, OTHER], seen.append)
    assert track.labels.shape == clip.shape[:3]
    assert track.labels.dtype == np.uint8
    assert seen == [0, 1, 2, 3]
    assert track.confidence.shape == (4, 2)
    assert ((track.confidence >= 0) & (track.confidence <= 1)).all()
    alone = sam2.track(clip, [OTHER])
    np.testing.assert_array_equal(alone.labels == Role.OBJECT, track.labels == Role.OBJECT)
    assert np.isnan(alone.confidence[:, 0]).all()


def test_known_labels_are_followed_from_the_first_frame(sam2, clip: np.ndarray):
    labels = np.zeros(clip.shape[1:3], np.uint8)
    labels[12:28, 12:28] = Role.OBJECT
    track = sam2.follow(clip, labels)
    assert track.labels.shape == clip.shape[:3]
    # SAM 2 takes the mask at its word, brought to its own resolution and back.
    assert np.mean((track.labels[0] == Role.OBJECT) == (labels == Role.OBJECT)) > 0.97


def test_memory_does_not_grow_with_the_video(sam2, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    model = sam2._loaded()
    states = []
    init = type(model).init_state
    monkeypatch.setattr(type(model), "init_state", lambda *a: states.append(init(*a)) or states[-1])
    sam2.track(np.concatenate([clip] * 6), [OTHER])
    (state,) = states
    kept = state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
    assert len(kept) == model.lookback
    assert max(kept) == 23


def test_close_frees_and_the_back_end_works_again(tiny_sam2: dict[str, str], clip: np.ndarray):
    import gc
    import weakref

    back_end = create("sam2", tiny_sam2)
    before = back_end.segment(clip[0], CLICK, None)
    network = weakref.ref(back_end._loaded())
    back_end.close()
    gc.collect()
    assert network() is None
    np.testing.assert_array_equal(back_end.segment(clip[0], CLICK, None).labels, before.labels)


def test_half_precision_computes_in_it(tiny_sam2: dict[str, str], clip: np.ndarray):
    back_end = create("sam2", tiny_sam2 | {"precision": "bfloat16"})
    back_end.segment(clip[0], CLICK, None)
    assert str(back_end._predictor._features["high_res_feats"][0].dtype) == "torch.bfloat16"


def test_words_are_not_its_language(sam2, clip: np.ndarray):
    with pytest.raises(Refused, match="made of words; this segmentation back end takes clicked points or a box"):
        sam2.segment(clip[0], Prompt.from_lists(2, words="the cup"), None)


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_weights_that_are_none_are_refused(tiny_sam2: dict[str, str], clip: np.ndarray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "sam2.1_hiera_tiny.pt"

    def says(message: str, **settings: str):
        with pytest.raises(Refused, match=message):
            create("sam2", {"device": "cpu"} | settings).segment(clip[0], CLICK, None)

    says("and nothing is there", weights=str(tmp_path / "none.pt"))
    says("accepted are a path and the hub ids facebook/sam2-hiera-tiny", weights="someone/sam9")
    says(r"the folder .* has 0 \.pt files", weights=str(tmp_path))
    bad.write_bytes(pickle.dumps({"model": _Evil()}))
    says("are no SAM 2 checkpoint", weights=str(bad))
    assert not (tmp_path / "evil").exists()
    bad.write_bytes(b"nonsense")
    says("are no SAM 2 checkpoint", weights=str(bad))
    says("which SAM 2 the file 'tiny.pt' holds is unknown", weights=tiny_sam2["weights"])
    (tmp_path / "evil.yaml").write_text("model: {_target_: os.mkdir, path: evil}")
    says("wants to build 'os.mkdir'", weights=tiny_sam2["weights"], config=str(tmp_path / "evil.yaml"))
    assert not (tmp_path / "evil").exists()


def test_missing_weights_are_named_with_the_command_that_fetches_them(clip: np.ndarray, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Refused, match=r"fetch them once by `hf download facebook/sam2\.1-hiera-small`"):
        create("sam2", {"device": "cpu"}).segment(clip[0], CLICK, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "tpu"}, "device is 'tpu'; accepted are auto, cpu, cuda"),
        ({"precision": "int4"}, "precision is 'int4'; accepted are auto, float32"),
        ({"weight": "x"}, "'sam2' has no setting 'weight'; accepted are weights, device, precision, config"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, str], message: str):
    with pytest.raises(Refused, match=message):
        create("sam2", settings)


def test_a_configuration_that_is_not_there_is_refused_each_time_alike():
    from mask2iv_ros.segmentation import sam2_model

    known = dict(sam2_model._HF)
    for _ in range(len(known) + 1):
        with pytest.raises(Refused, match=r"config is 'nowhere\.yaml'; expected a YAML file or one of the sam"):
            sam2_model._build("nowhere.yaml")
    assert known == sam2_model._HF
