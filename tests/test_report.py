import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmt5 import report
from medmt5.formats.documents import Document, Entity
from medmt5.report import Curve, Table, read_scalars, write_report


def page_of(tmp_path, **sections):
    sections = {"title": "run", "summary": {}} | sections
    return write_report(tmp_path / "report.html", **sections).read_text("utf-8")


def lines_of(page):
    """The series drawn in a page: for each path, its list of (x, y) in SVG units."""
    chart = re.search(r'<svg class="chart".*?</svg>', page, re.S)[0]
    paths = re.findall(r'class="line[^"]*"[^>]* d="M([^"]*)"', chart)
    return [[tuple(map(float, p.split())) for p in path.split("L")] for path in paths]


# scalars


def test_scalars_are_read_line_by_line(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"step": 10, "loss": 3.2}\n\n{"step": 20, "loss": NaN}\n', "utf-8")
    first, second = read_scalars(path)
    assert first == {"step": 10, "loss": 3.2}
    assert second["step"] == 20 and math.isnan(second["loss"])


_LAST = '{"step": 20, "é": 3.2}'


@pytest.mark.parametrize("cut", range(len(_LAST.encode())))
def test_a_last_line_cut_anywhere_by_a_kill_is_ignored(tmp_path, cut):
    path = tmp_path / "scalars.jsonl"
    path.write_bytes(b'{"step": 10, "loss": 3.2}\n' + _LAST.encode()[:cut])
    assert read_scalars(path) == [{"step": 10, "loss": 3.2}]


def test_a_last_line_that_lacks_only_its_line_end_counts(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text(_LAST, "utf-8")
    assert read_scalars(path) == [{"step": 20, "é": 3.2}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"step": 10}\n{"step": 20, "lo\n{"step": 30}\n', 2),  # a kill, then a restart
        ('{"step": 10}\n{"step": 20, "lo{"step": 30}\n', 2),
        ('{"step": 10}\n\n[1, 2]\n', 3),
        ('{"step": 10}\n7', 2),
        ('{"step": 1\n', 1),  # complete with its line end, so no kill cut it
    ],
)
def test_any_other_broken_line_is_an_error_with_file_and_line(tmp_path, content, line):
    path = tmp_path / "scalars.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"scalars\.jsonl:{line}: .* is not a JSON object"):
        read_scalars(path)


def test_an_empty_file_has_no_scalars(tmp_path):
    (tmp_path / "scalars.jsonl").write_text("")
    assert read_scalars(tmp_path / "scalars.jsonl") == []


# the page


def test_a_report_asks_for_nothing_from_outside_and_runs_nothing(tmp_path):
    page = page_of(
        tmp_path,
        summary={"model": "t5-micro"},
        curves=[Curve("Loss", "step", "nats", {"train": [(0, 9.0), (10, 1.0)]}, log_y=True)],
        score_tables=[Table("Scores", ["task", "F1"], [["ncbi", 0.5]])],
        documents=[Document("a fever", (Entity(2, 7, "Sign", "fever", 0.9),))],
        paths={"checkpoint": "runs/1"},
    )
    assert not re.search(r"https?:|src=|href=|url\(|@import|<link|<script", page)
    for heading in ["Summary", "Learning curves", "Scores", "Labelled documents", "Files"]:
        assert f"<h2>{heading}</h2>" in page


def test_empty_sections_are_left_out_and_folders_are_made(tmp_path):
    path = write_report(tmp_path / "a" / "b.html", title="run", summary={"model": "tiny"})
    assert re.findall("<h2>(.*)</h2>", path.read_text("utf-8")) == ["Summary"]


def test_scripts_in_any_argument_are_shown_not_run(tmp_path):
    attack = "\"'><script>alert(1)</script>"
    page = page_of(
        tmp_path,
        title=attack,
        summary={attack: attack},
        curves=[Curve(attack, attack, attack, {attack: [(0, 1), (1, 2)]})],
        score_tables=[Table(attack, [attack], [[attack]], attack)],
        documents=[Document(attack, (Entity(0, 3, attack, attack[:3], 1.0),))],
        paths={attack: attack},
    )
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append((tag, dict(attributes)))
    parser.feed(page)
    assert "script" not in {tag for tag, _ in seen}
    known = {"class", "style", "title", "lang", "dir", "charset", "name", "content", "scope"}
    known |= {"viewbox", "role", "aria-label", "aria-hidden", "d", "x", "y", "dy", "text-anchor"}
    known |= {"transform", "stroke-dasharray", "data-label", "data-score"}
    assert {name for _, attributes in seen for name in attributes} <= known


# tables


def test_numbers_of_a_column_share_their_digits(tmp_path):
    columns = ["task", "fraction", "percent", "count", "text"]
    rows = [["a", 0.5, 87.123, 12045, "x"], ["b", None, 5, 7, "<y>"], ["c", math.nan, 5.5, 0, ""]]
    page = page_of(tmp_path, score_tables=[Table("Scores", columns, rows, "strict & exact")])
    cells = [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>.*</tr>", page)[1:]]
    assert cells == [
        ["a", "0.5000", "87.12", "12,045", "x"],
        ["b", "–", "5.00", "7", "&lt;y&gt;"],
        ["c", "–", "5.50", "0", ""],
    ]
    assert "strict &amp; exact" in page


def test_a_row_of_the_wrong_length_is_refused(tmp_path):
    table = Table("Scores", ["task", "F1"], [["ncbi"]])
    with pytest.raises(ValueError, match="'Scores' has 2 columns, but its row .* has 1 cells"):
        page_of(tmp_path, score_tables=[table])


# charts


def test_points_fall_where_ticks_and_arithmetic_put_them(tmp_path):
    curve = Curve("F1", "step", "F1", {"en": [(0, 0.0), (50, 0.5), (100, 1.0)]})
    # The plot spans x 76..626 and, downwards, y 274..12; ticks of y run from 0 to 1.
    assert lines_of(page_of(tmp_path, curves=[curve])) == [[(76, 274), (351, 143), (626, 12)]]


def test_on_a_log_axis_equal_factors_are_equal_distances(tmp_path):
    curve = Curve("Loss", "step", "loss", {"train": [(0, 100), (1, 10), (2, 1)]}, log_y=True)
    page = page_of(tmp_path, curves=[curve])
    ((_, top), (_, middle), (_, bottom)) = lines_of(page)[0]
    assert (top, middle, bottom) == (12, 143, 274)
    assert "(log)" in page


def test_a_nan_is_a_gap_and_a_lone_point_a_dot(tmp_path):
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 2.0), (4, math.inf), (5, 1.0), (6, 2.0)]
    page = page_of(tmp_path, curves=[Curve("Loss", "step", "loss", {"train": points})])
    # The lone point is drawn as a line to itself.
    assert [len(line) for line in lines_of(page)] == [2, 2, 2]
    assert page.count('class="line dot"') == 1
    assert "<b>2</b>" in page


def test_a_chart_without_points_says_so(tmp_path):
    curve = Curve("Loss", "step", "loss", {"train": [(0, -1.0), (1, 0.0)], "eval": []}, log_y=True)
    assert "No points yet." in page_of(tmp_path, curves=[curve])


def test_thinning_keeps_ends_and_peaks():
    points = [(x, 1.0) for x in range(10_000)]
    points[4321], points[7654] = (4321, 99.0), (7654, -99.0)
    (run,) = report._visible(points, log_y=False)
    assert len(run) <= report._MOST_POINTS + 2
    assert {(0, 1.0), (4321, 99.0), (7654, -99.0), (9999, 1.0)} <= set(run)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.31, 0.89, [0.2, 0.4, 0.6, 0.8, 1]),
        (-3.0, 17.0, [-5, 0, 5, 10, 15, 20]),
        (5.0, 5.0, [4.4, 4.6, 4.8, 5, 5.2, 5.4, 5.6]),
    ],
)
def test_linear_ticks_are_round_and_enclose(low, high, ticks):
    assert report._linear_ticks(low, high, most=6) == ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1.2, 9.0, [1, 2, 5, 10]), (1e-3, 5.0, [1e-3, 1e-2, 0.1, 1, 10]), (1.0, 1.0, [1, 2])],
)
def test_log_ticks_are_round_and_enclose(low, high, ticks):
    assert report._log_ticks(low, high) == ticks


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0.0, 1.0, "0"),
        (0.25, 0.05, "0.25"),
        (9999.0, 1.0, "9999"),
        (20e3, 5e3, "20k"),
        (100_010.0, 10.0, "100.01k"),
        (1.25e6, math.inf, "1.25M"),
        (2.5e9, math.inf, "2.5G"),
        (1e-5, math.inf, "1e-05"),
    ],
)
def test_tick_labels_are_short_but_differ(value, step, text):
    assert report._short(value, step) == text


_NUMBERS = st.floats() | st.integers(-(10**9), 10**9) | st.sampled_from([0.0, 1e-300, -1e299])


@settings(max_examples=200)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=12), st.booleans())
def test_any_numbers_make_a_chart_inside_its_frame(points, log_y):
    figure = report._figure(Curve("t", "x", "y", {"a": points}, log_y))
    ElementTree.fromstring(figure)
    if "No points" in figure:
        return
    for line in lines_of(figure):
        # 0.06: coordinates are rounded to 0.1.
        assert all(75.9 <= x <= 626.1 and 11.9 <= y <= 274.1 for x, y in line)
