import base64
import hashlib
import math
import re

import pytest

from mask2iv_ros.evaluation.html import (
    Cell,
    Column,
    Row,
    Section,
    card,
    facts,
    film,
    fold,
    link,
    page,
    paragraph,
    picture,
    table,
    write_value,
)

from .html_reading import Element, read

HOSTILE = """</title></style></script><script>alert("x")</script><img src=x onerror='alert(1)'>{{ 7 * 7 }}&amp;"""
HIGHER, LOWER = Column("PSNR", "dB", "higher"), Column("LPIPS", better="lower", digits=3)


def body(element: Element) -> list[list[str]]:
    return [[cell.text for cell in row.children if isinstance(cell, Element)] for row in element.all("tr")]


def marked(element: Element) -> list[str]:
    return [cell.text for cell in element.all("td") if "best" in cell.attributes["class"].split()]


def test_a_page_holds_its_sections_and_leads_to_them():
    found = read(page("Report", [Section("One", [paragraph("first")]), Section("Two", [paragraph("second")])]))
    assert [one.text for one in found.all("title") + found.all("h1")] == ["Report", "Report"]
    links = [(one.attributes["href"], one.text) for one in found.all("nav")[0].all("a")]
    assert links == [("#s1", "One"), ("#s2", "Two")]
    assert [found.all("section", id=f"s{n}")[0].text for n in (1, 2)] == ["One first", "Two second"]


def test_a_page_needs_nothing_from_outside_and_runs_its_own_script_alone():
    text = page("Report", [])
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    found = read(text)
    (script,) = found.all("script")
    digest = base64.b64encode(hashlib.sha256("".join(script.children).encode()).digest()).decode()
    (policy,) = found.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert f"script-src 'sha256-{digest}';" in policy.attributes["content"]
    assert "prefers-color-scheme: dark" in found.all("style")[0].text


def test_names_from_outside_are_text_wherever_they_stand():
    column = Column(HOSTILE, HOSTILE, "higher", note=HOSTILE)
    rows = [Row(HOSTILE, [Cell(HOSTILE, HOSTILE)], HOSTILE)]
    parts = [
        paragraph(HOSTILE),
        facts({HOSTILE: HOSTILE}),
        card(HOSTILE, paragraph("in")),
        fold(HOSTILE, paragraph("in")),
        table([column], rows, HOSTILE),
        film("a.mp4", HOSTILE),
        picture("a.png", HOSTILE),
        link("a", HOSTILE),
        HOSTILE,
    ]
    found = read(page(HOSTILE, [Section(HOSTILE, parts)]))
    assert len(found.all("script")) == len(found.all("style")) == len(found.all("title")) == 1
    assert [image.attributes["src"] for image in found.all("img")] == ["a.png"]
    wanted = " ".join(HOSTILE.split())
    assert found.all("h1")[0].text == found.all("h3")[0].text == found.all("summary")[0].text == wanted
    assert found.all("th", scope="col")[1].attributes["title"] == HOSTILE
    assert found.all("video")[0].attributes["aria-label"] == found.all("img")[0].attributes["alt"] == HOSTILE
    assert found.text.count("{{ 7 * 7 }}") == found.text.count('<script>alert("x")</script>') >= 16


def test_a_table_shows_means_with_intervals():
    found = read(table([HIGHER, LOWER], [Row("ours", [(22.514, 22.37, 22.67), 0.1234])], "method"))
    assert body(found) == [
        ["method", "PSNR, dB ↑", "LPIPS ↓"],
        ["ours", "22.51 [22.37, 22.67]", "0.123"],
    ]


def test_the_best_of_every_column_is_marked_by_its_direction():
    rows = [
        Row("a", [(20.0, 19, 21), 0.5, 1]),
        Row("b", [(22.0, 19, 23), 0.2, 2]),
        Row("c", [22.001, "not measured: weights missing", 3]),
        Row("d", [math.nan, None, 4]),
    ]
    found = read(table([HIGHER, LOWER, Column("seconds")], rows))
    assert marked(found) == ["22.00 [19.00, 23.00]", "0.200", "22.00"]
    assert body(found)[4] == ["d", "–", "–", "4.00"]
    absent = [cell.text for cell in found.all("td") if "absent" in cell.attributes["class"].split()]
    assert absent == ["not measured: weights missing", "–", "–"]


def test_the_best_is_sought_in_each_group_and_one_alone_is_no_best():
    rows = [Row("a", [30.0], "true masks"), Row("b", [29.0], "true masks"), Row("c", [25.0], "goal")]
    found = read(table([HIGHER], rows))
    assert marked(found) == ["30.00"]
    assert [one.text for one in found.all("th", scope="rowgroup")] == ["true masks", "goal"]


def test_a_row_has_a_cell_a_column():
    with pytest.raises(ValueError, match="zip"):
        table([HIGHER, LOWER], [Row("a", [1.0])])


def test_values_in_words():
    assert write_value((1.0, 1.0, 1.0), 1) == ("1.0", "")
    assert write_value((-1.26, -2.0, 0.5), 1) == ("−1.3", "[−2.0, 0.5]")
    assert write_value((1.0, math.nan, math.nan)) == ("1.00", "")
    assert write_value(math.inf) == write_value(None) == ("–", "")


def test_films_loop_silently_and_pictures_lead_to_themselves():
    (video,) = read(film("media/a.mp4", "best")).all("video")
    assert {"loop", "muted", "playsinline", "controls"} <= video.attributes.keys()
    (leading,) = read(picture("media/a.png", "sheet")).all("a", href="media/a.png")
    assert leading.all("img", src="media/a.png")


def test_what_is_folded_can_be_open():
    assert "open" in read(fold("more", paragraph("x"), opened=True)).all("details")[0].attributes
    assert "open" not in read(fold("more", paragraph("x"))).all("details")[0].attributes
