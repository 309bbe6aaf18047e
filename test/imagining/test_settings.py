from pathlib import Path

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.settings import ImaginingSettings, parse_selection


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rollouts": 0}, "rollouts is 0"),
        ({"best_of": 65}, "best_of is 65; expected 1 to 64"),
        ({"batch": 0}, "batch is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"keep": "best"}, "keep is 'best'"),
        ({"goals": ()}, "goals are none"),
        ({"goals": ("moves", "moves")}, "each once"),
        ({"goals": ("dreams",)}, "goals are 'dreams'; accepted are moves, places, episodes and list:FILE"),
        ({"goals": ("list:",)}, "goals are 'list:'"),
        ({"every": 0}, "every is 0"),
        ({"frames": (-1,)}, "frames are"),
        ({"episodes": "3-1"}, "episodes are '3-1'"),
        ({"labeller": Path("x"), "without_actions": True}, "expected one of both"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, said: str):
    with pytest.raises(Refused, match=said):
        ImaginingSettings(**{"source": Path("a"), "out": Path("b")} | change)


def test_a_selection_names_what_is_there():
    there = [0, 1, 2, 5, 7]
    assert parse_selection("", there) == there
    assert parse_selection("7, 0-2", there) == [0, 1, 2, 7]
    assert parse_selection("2-5", there) == [2, 5]
    for text in ("6", "0-999999999", "x", "1,,2", "-1"):
        with pytest.raises(Refused, match="episodes are"):
            parse_selection(text, there)
