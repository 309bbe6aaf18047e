from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mask2iv_ros.data.building.build import build
from mask2iv_ros.data.building.drop import Dropped
from mask2iv_ros.data.building.labelling import pieces
from mask2iv_ros.data.building.prompts import Asked, Prompts, told_prompts
from mask2iv_ros.data.building.settings import BuildSettings
from mask2iv_ros.data.sources.base import Span
from mask2iv_ros.masks import Role
from mask2iv_ros.segmentation import Prompt, create


def test_prompts_of_frames_that_are_not_there_are_told_and_break_nothing(make_episode):
    box = (Prompt(Role.INTERACTOR, box=(0, 18, 10, 12)), Prompt(Role.OBJECT, box=(26, 18, 12, 12)))
    episode = replace(make_episode("a"), spans=(Span(0, 6, "one"),))
    prompts = Prompts({"a": (Asked(box, frame=9), Asked(box, frame=500))})
    found = list(pieces(episode, "front", "prompts", prompts, create("grabcut"), 10, 4))
    assert [start for start, _ in found] == [9, 500]
    assert all(isinstance(dropped, Dropped) for _, dropped in found)
    assert [dropped.drop.kind for _, dropped in found] == ["shorter than a clip", "prompt does not fit"]


def test_a_list_among_a_back_end_s_settings_comes_through(tmp_path: Path, make_source, make_episode):
    from mask2iv_ros.cli.data_build import _setting

    prompts = told_prompts(["0,18,10,12"], ["26,18,12,12"])
    settings = BuildSettings(
        tmp_path / "out", "robot", ("front",), "prompts", prompts, frames=8, fps=10,
        segmenter_settings=(_setting("search_sides=[128, 256]"),),
    )  # fmt: skip
    summary, _ = build(make_source({"a": make_episode("a")}), settings)
    assert len(summary.outcomes) == 1
