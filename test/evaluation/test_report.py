import csv
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from urllib.parse import unquote

import av
import cv2
import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.evaluation.claims import Claim
from mask2iv_ros.evaluation.measure import CHAINED, GUIDED, Measured, summarise
from mask2iv_ros.evaluation.report import write_report

from .html_reading import Element, read

HOSTILE = """../../<script>alert("x")</script>' onload='{{ 7 * 7 }}\n&lt;ü\x00"""
MISSING, ADVICE = "not measured: weights missing", "; get <them>"
Make = Callable[..., Measured]


@pytest.fixture(scope="module")
def measured(measured_with: Make) -> list[Measured]:
    clips = [measured_with("push", seed, value) for seed, value in enumerate([3.0, 11.0, 5.0, 2.0, nan])]
    clips.append(measured_with(HOSTILE, 9, 7.0, instruction=HOSTILE))
    verdicts = ["good", "doubtful: <it> jumps", "", "", "", ""]
    return [
        replace(one, chained=replace(one.chained, verdict=verdict))
        for one, verdict in zip(clips, verdicts, strict=True)
    ]


@pytest.fixture(scope="module")
def folder(measured: list[Measured], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "new" / "report"
    summary = summarise(measured)
    for methods in summary.values():
        methods[CHAINED]["fvd"] = MISSING + ADVICE
        methods["repeat first frame"]["fvd"] = (812.34, 790.0, 830.0)
    about = {"checkpoint": "tiny@0<b>", "clips": 6, "command": "mask2iv evaluate '<i>'"}
    claimed = [Claim("ours less <another>", (1.25, 1.0, 1.5), 6), Claim("FVD", MISSING, 0)]
    assert write_report(out, measured, summary, about, claimed, sampled=3, seed=4) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> Element:
    return read((folder / "report.html").read_text())


def section(report: Element, title: str) -> Element:
    return next(one for one in report.all("section") if one.all("h2")[0].text == title)


def test_the_head_says_what_was_measured(report: Element):
    head = section(report, "What was measured")
    told = {one.all("dt")[0].text: one.all("dd")[0].text for one in head.all("div")}
    assert told == {"checkpoint": "tiny@0<b>", "clips": "6", "command": "mask2iv evaluate '<i>'"}
    assert report.all("h1")[0].text == "tiny@0<b>: imagined and true"


def test_what_is_claimed_stands_first(report: Element):
    rows = [[cell.text for cell in row.children if isinstance(cell, Element)] for row in report.all("tr")]
    assert report.all("section")[1].all("h2")[0].text == "In short"
    assert rows[1:3] == [["ours less <another>", "1.250 [1.000, 1.500]", "6"], ["FVD", MISSING, "0"]]


def test_every_file_that_is_linked_is_beside_the_page(report: Element, folder: Path):
    links = [one.attributes["src"] for tag in ("video", "img") for one in report.all(tag)]
    links += [one.attributes["href"] for one in report.all("a") if not one.attributes["href"].startswith("#")]
    assert len(links) == len(set(links)) + len(report.all("img"))  # each picture leads to itself
    for path in map(unquote, links):
        assert (folder / path).resolve().is_relative_to(folder)
        assert (folder / path).stat().st_size
    assert {path.name for path in folder.iterdir()} == {"report.html", "clips.csv", "media"}
    assert {f"media/{path.name}" for path in (folder / "media").iterdir()} == set(links) - {"clips.csv"}


def test_films_play_in_browsers_at_the_clips_rate(report: Element, folder: Path):
    films = [one.attributes["src"] for one in report.all("video")]
    assert len(films) == 3 + 1 + 3
    for path in films:
        with av.open(str(folder / path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate == 8
            assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(6 * 288 + 20, 402)] * 4


def test_contact_sheets_can_be_read(report: Element, folder: Path):
    sheets = [one.attributes["src"] for one in report.all("img")]
    assert len(sheets) == 7
    assert all(cv2.imread(str(folder / path)).shape[1] == 4 * 192 for path in sheets)


def test_best_median_and_worst_are_those_of_rank(report: Element):
    push = next(
        one for one in section(report, "Best, median and worst").all("article") if one.all("h3")[0].text == "push"
    )
    words = [one.attributes["aria-label"] for one in push.all("video")]
    assert [text.partition(" dB")[0] for text in words] == [
        "best, rank 1 of 4: foreground PSNR 11.00",
        "median, rank 3 of 4: foreground PSNR 3.00",
        "worst, rank 4 of 4: foreground PSNR 2.00",
    ]
    assert [one.text for one in push.all("dd")][::5] == ["push-1", "push-0", "push-3"]
    assert [one.text for one in push.all("dd")][4::5] == ["doubtful: <it> jumps", "good", "none"]


def test_what_was_not_measured_is_said(report: Element):
    frames = section(report, "Overall").all("table")[0]
    place = [head.text for head in frames.all("thead")[0].all("th")].index("FVD ↓") - 1
    cells = {row.all("th")[0].text: row.all("td")[place].text for row in frames.all("tr")[1:] if row.all("td")}
    assert cells[CHAINED] == MISSING
    assert f"FVD: {MISSING}{ADVICE}." in [one.text for one in section(report, "Overall").all("p")]
    assert cells["repeat first frame"] == "812.3 [790.0, 830.0]"
    assert cells["stage 2, true masks"] == "–"


def test_ours_are_held_against_what_was_given_the_same(report: Element):
    groups: dict[str, list[str]] = {}
    for row in section(report, "Clip by clip").all("tr"):
        title = row.all("th")[0].text
        if row.attributes.get("class") == "group":
            groups[title] = rows = []
        elif row.all("td"):
            rows.append(title)
    assert groups == {
        GUIDED: [
            "less repeat first frame",
            "less nearest training clip, by true masks",
            "less paste and move, by true masks",
        ],
        CHAINED: ["less repeat first frame", "less nearest training clip, by goal"],
        "stage 1": ["less nearest training clip, by goal", "less static masks", "less linear translation"],
    }


def test_names_from_data_are_text(report: Element, folder: Path):
    assert len(report.all("script")) == 1
    wanted = " ".join(HOSTILE.replace("\x00", "\ufffd").split())
    assert wanted in [one.text for one in report.all("h3")]
    assert f"{wanted}, 1 clip" in [one.text for one in report.all("summary")]
    assert {one.attributes.get("onload") for tag in ("video", "img", "a") for one in report.all(tag)} == {None}
    assert all(path.name.isascii() and "<" not in path.name for path in (folder / "media").iterdir())


def test_every_clip_is_listed_with_or_without_a_rank(report: Element, measured: list[Measured]):
    rows = [row for row in section(report, "Every clip").all("tr") if row.all("td")]
    assert [row.all("td")[0].text for row in rows] == ["1", "1", "2", "3", "4", "–"]
    assert rows[1].all("th")[0].text == "push-1"
    assert [row.all("td")[-1].text for row in rows] == ["–", "doubtful", "–", "good", "–", "–"]
    curves = section(report, "Every clip").all("polyline")
    assert len(curves) == sum("psnr_foreground" in figures for figures in measured[0].figures.values())
    titles = [one.all("title")[0].text for one in section(report, "Every clip").all("g") if one.all("title")]
    chain = [tuple(map(float, xy.split(","))) for xy in curves[titles.index(CHAINED)].attributes["points"].split()]
    assert len(chain) == 5  # one has no foreground PSNR
    assert chain == sorted(chain)  # fewer reach more: to the right is down


def test_the_csv_holds_every_figure(folder: Path, measured: list[Measured]):
    with (folder / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(figures) for one in measured for figures in one.figures.values())
    found = [float(row["value"]) for row in rows if (row["method"], row["figure"]) == (CHAINED, "psnr_foreground")]
    assert sorted(value for value in found if value == value) == [2, 3, 5, 7, 11]


def test_a_folder_that_cannot_be_written_is_refused(measured: list[Measured], tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"file cannot be written: .+; expected a folder"):
        write_report(tmp_path / "file", measured[:1], summarise(measured[:1]), {})


def test_a_report_goes_over_an_earlier_one_and_leaves_other_files(measured: list[Measured], tmp_path: Path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "holiday.mp4").write_text("mine")
    few = [replace(measured[0], figures=dict(measured[0].figures))]
    for _ in range(2):
        write_report(tmp_path, few, summarise(few), {}, sampled=0)
    assert (tmp_path / "media" / "holiday.mp4").read_text() == "mine"
    assert len(read((tmp_path / "report.html").read_text()).all("video")) == 1
