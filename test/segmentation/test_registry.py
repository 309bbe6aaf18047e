import subprocess
import sys

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation import create, names


def test_every_name_makes_a_back_end_of_that_name():
    assert set(names()) == {"external", "grabcut"}
    for name in names():
        back_end = create(name)
        assert back_end.name == name
        back_end.close()
    assert create("grabcut").needs_prompt
    assert not create("external").needs_prompt


@pytest.mark.parametrize("name", ["sam9", "", "GrabCut"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str):
    with pytest.raises(Refused, match=rf"back end is '{name}'; accepted are external, grabcut"):
        create(name)


def test_a_back_end_is_imported_only_when_asked_for():
    code = "import sys, mask2iv_ros.segmentation; sys.exit('mask2iv_ros.segmentation.grabcut' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
