import numpy as np
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import (
    CHANNELS,
    ExportSettings,
    features,
    frame_from_goal,
    frame_from_labels,
    goal_from_frame,
    labels_from_frame,
    require_same,
)
from mask2iv_ros.masks import COLOURS, Role


def channels_first(frame):
    return np.moveaxis(frame, -1, -3)


def test_every_role_survives_the_frame():
    labels = np.array([[[0, 1], [2, 255]], [[2, 2], [0, 1]]], np.uint8)
    frames = channels_first(frame_from_labels(labels))
    np.testing.assert_array_equal(labels_from_frame(frames), labels)
    np.testing.assert_array_equal(labels_from_frame(frames.astype(np.float32) / 255), labels)
    assert labels_from_frame(frames).dtype == np.uint8


def test_label_frames_have_the_colours_of_the_roles():
    for role in (Role.BACKGROUND, Role.INTERACTOR, Role.OBJECT):
        assert tuple(frame_from_labels(np.array([[role]], np.uint8))[0, 0]) == COLOURS[role]


def test_label_colours_that_stand_for_no_role_are_refused():
    blurred = np.zeros((3, 2, 2), np.uint8)
    blurred[0, 0, 0] = 250
    with pytest.raises(Refused, match="no role"):
        labels_from_frame(blurred)
    with pytest.raises(Refused, match="no role"):
        labels_from_frame(np.full((3, 1, 1), 255, np.uint8))
    with pytest.raises(Refused, match=r"\(4, 4\)"):
        labels_from_frame(np.zeros((4, 4), np.uint8))


def test_goal_mask_survives_the_frame_and_its_absence_too():
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = True
    np.testing.assert_array_equal(goal_from_frame(channels_first(frame_from_goal(mask, (4, 6)))), mask)
    assert goal_from_frame(channels_first(frame_from_goal(None, (4, 6)))) is None


def test_features_name_the_camera_and_invent_no_action_or_state():
    found = features(ExportSettings("wrist-2"), (48, 64))
    assert found["observation.images.wrist-2"]["shape"] == (48, 64, 3)
    assert found["observation.labels.wrist-2"]["dtype"] == "image"
    assert len(CHANNELS) == 3
    assert not {"action", "observation.state"} & found.keys()


@pytest.mark.parametrize("camera", ["", "a/b", "a.b", "left arm"])
def test_camera_names_that_break_feature_names_are_refused(camera):
    with pytest.raises(Refused, match="camera name"):
        ExportSettings(camera)


def info(**changes):
    own = features(ExportSettings(), (48, 64))
    own["observation.images.front"]["info"] = {"video.codec": "h264", "video.pix_fmt": "yuv444p"}
    own["index"] = {"dtype": "int64", "shape": [1], "names": None}
    return {"codebase_version": "v3.0", "features": own | changes}


def test_same_schema_gives_the_size():
    assert require_same(info(), ExportSettings(), "here") == (48, 64)


def test_other_schemas_are_refused_with_the_difference():
    with pytest.raises(Refused, match=r"has the feature action"):
        require_same(info(action={"dtype": "float32", "shape": [7], "names": None}), ExportSettings(), "here")
    with pytest.raises(Refused, match=r"lacks the feature observation.images.wrist|has the feature"):
        require_same(info(), ExportSettings("wrist"), "here")
    with pytest.raises(Refused, match=r"dtype int64; expected bool"):
        require_same(info(imagined={"dtype": "int64", "shape": [1], "names": None}), ExportSettings(), "here")
    with pytest.raises(Refused, match=r"v2\.1; expected v3\.0"):
        require_same({"codebase_version": "v2.1"}, ExportSettings(), "here")
    other = info()
    other["features"]["observation.images.front"]["info"]["video.codec"] = "av1"
    with pytest.raises(Refused, match=r"video\.codec av1; expected h264"):
        require_same(other, ExportSettings(), "here")
