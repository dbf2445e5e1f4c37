"""The web page: nothing runs, nothing is fetched, the text is unchanged and reads back."""

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from labelled import documents, gold, labelled, round_trip, unscored

from medmt5.formats import page as page_lib
from medmt5.formats.documents import Document, Entity


class _Page(HTMLParser):
    """Which tags a browser would see, and what text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.marks, self.paragraphs, self._inside = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        if tag == "p" and attributes.get("class") == "document":
            self._inside = True
            self.paragraphs.append("")
        if tag == "mark" and "data-label" in attributes:
            self.marks.append(attributes)

    def handle_endtag(self, tag):
        if tag == "p":
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.paragraphs[-1] += data


def test_html_shows_the_text_unchanged_with_label_and_score_at_the_entity():
    page = _Page(page_lib.to_html([Document("a fever", (Entity(2, 7, "Sign", "fever", 0.987),))]))
    assert page.paragraphs == ["a fever"]
    (mark,) = page.marks
    assert (mark["data-label"], mark["data-score"], mark["title"]) == ("Sign", "0.99", "Sign 0.99")


def test_scripts_in_text_labels_and_title_are_shown_not_run():
    attack = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
    document = labelled(f"{attack} {attack}", (0, len(attack), attack))
    page = page_lib.to_html([document], title=f"</title>{attack}")
    parsed = _Page(page)
    assert {"script", "img"}.isdisjoint(parsed.tags)
    assert parsed.paragraphs == [document.text]
    assert parsed.marks[0]["data-label"] == attack
    assert set(parsed.marks[0]) == {"style", "data-label", "data-score", "title"}
    assert html.escape(attack) in page


def test_the_html_page_asks_for_nothing_from_outside():
    page = page_lib.to_html([labelled("a b", (0, 1, "A"))])
    assert not re.search(r"https?:|src=|href=|url\(|@import|<link|<script", page)


def test_each_label_has_its_own_hue_and_the_legend_counts_it():
    text = "x" * 30
    many = labelled(text, *((i, i + 1, f"label {i:02}") for i in range(30)))
    hues = page_lib.label_hues([many])
    assert len(set(hues.values())) == 30
    both = [labelled("aab", (0, 1, "A"), (1, 2, "A"), (2, 3, "B")), labelled("a", (0, 1, "A"))]
    legend = page_lib.render_legend(both, page_lib.label_hues(both))
    assert re.findall(r">(\w)</mark> (\d)", legend) == [("A", "3"), ("B", "1")]


@given(documents())
def test_a_page_reads_back_with_ids_and_two_digits_of_scores(tmp_path_factory, document):
    document = document._replace(id="<&\"' 1")
    path = tmp_path_factory.mktemp("page") / "a.html"
    assert round_trip([document, labelled("")], "html", path) == [document, labelled("")]


def test_a_page_of_something_else_is_named(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("<html><p>fever</p>")
    with pytest.raises(ValueError, match=r"a\.html has no documents; give a page that medmt5"):
        gold("html", path)
    assert unscored(labelled("")) == ("", [])
