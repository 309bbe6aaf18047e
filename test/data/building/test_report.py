from pathlib import Path

import pytest

from mask2iv_ros.data.building.build import build
from mask2iv_ros.data.building.report import describe, write_report
from mask2iv_ros.data.building.settings import BuildSettings


@pytest.fixture
def settings(tmp_path: Path) -> BuildSettings:
    return BuildSettings(tmp_path / "out", "robot", ("front",), frames=12, fps=10)


def test_the_report_counts_names_and_shows(settings: BuildSettings, make_source, make_episode):
    still = make_episode("<b>still</b>".replace("<b>", "").replace("</b>", ""))
    episodes = {
        "good": make_episode("good", frames=24),
        "corrupt": None,
        "still": type(still)("still", still.frames[[0] * 12], still.times, "<script>", still.state, still.action,
                             still.state_names, None, still.labels[[0] * 12]),
    }  # fmt: skip
    summary, plan = build(make_source(episodes), settings)
    for _ in range(2):  # a second run writes it anew
        path = write_report(summary, settings, plan, sample=1)
    text = path.read_text()
    for words in (
        "cannot be read",
        "nothing moves",
        "robot-still.front.000000",
        "episode corrupt is corrupt",
        "10 fps",
    ):
        assert words in text
    assert "<script>" not in text.replace("<script>", "", 1).split("</head>")[0]
    pictures = sorted(one.name for one in (settings.out / "report").iterdir())
    assert pictures[-1] == "kept_00.png"
    assert len(pictures) == 2, "one sheet of kept clips, one strip of what was left out"
    assert all(f'"report/{name}"' in text for name in pictures)
    lines = describe(summary, plan)
    assert lines[0].startswith("2 clips at 10 fps")
    assert "left out, cannot be read: 1" in lines
    assert any(one.startswith("  robot-corrupt.front: episode corrupt is corrupt") for one in lines)


def test_a_report_of_nothing(settings: BuildSettings, make_source, make_episode):
    summary, plan = build(make_source({"brief": make_episode("brief", frames=3)}), settings)
    text = write_report(summary, settings, plan).read_text()
    assert "No clip was kept" in text
    assert "shorter than a clip" in text
