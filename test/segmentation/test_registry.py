import subprocess
import sys

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation import create, names


def test_every_name_makes_a_back_end_of_that_name():
    assert set(names()) == {"external", "grabcut", "sam2", "grounded_sam2", "sam3"}
    for name in names():
        if "sam2" in name:
            pytest.importorskip("sam2", reason="needs the extra sam2")
        back_end = create(name)
        assert back_end.name == name
        back_end.close()
    assert create("grabcut").needs_prompt
    assert not create("external").needs_prompt
    assert create("grabcut").takes == {"points", "box"}


def test_settings_go_to_the_back_end_and_unknown_ones_are_refused():
    assert create("grabcut", {"track_side": 200}).settings.track_side == 200
    with pytest.raises(Refused, match="'grabcut' has no setting 'weights'; accepted are search_sides"):
        create("grabcut", {"weights": "x.pt"})
    with pytest.raises(Refused, match="'external' has no setting 'device'; it has none"):
        create("external", {"device": "cpu"})
    with pytest.raises(Refused, match="track_side is 0; expected at least 1"):
        create("grabcut", {"track_side": 0})


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        (
            "grabcut",
            {"iterations": "2"},
            "setting 'iterations' of segmentation back end 'grabcut' is '2'; expected a w",
        ),
        ("grabcut", {"iterations": True}, "is True; expected a whole number"),
        ("grabcut", {"faintest": None}, "is None; expected a finite number"),
        ("grabcut", {"unusual": float("nan")}, "is nan; expected a finite number"),
        ("grabcut", {"radii": 0.1}, "is 0.1; expected a list of numbers"),
        ("grabcut", {"search_sides": [256, "a"]}, "is 'a'; expected a whole number"),
        ("sam3", {"weights": 3}, "setting 'weights' of segmentation back end 'sam3' is 3; expected a text"),
    ],
)
def test_settings_of_another_kind_are_refused(name: str, setting: dict, said: str):
    with pytest.raises(Refused, match=said):
        create(name, setting)
    assert create("grabcut", {"search_sides": [128], "faintest": 0.2}).settings.search_sides == (128,)


@pytest.mark.parametrize("name", ["sam9", "", "GrabCut"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str):
    with pytest.raises(Refused, match=rf"back end is '{name}'; accepted are external, grabcut"):
        create(name)


def test_a_back_end_is_imported_only_when_asked_for():
    code = "import sys, mask2iv_ros.segmentation; sys.exit('mask2iv_ros.segmentation.grabcut' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
