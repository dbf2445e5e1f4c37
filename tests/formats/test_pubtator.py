"""PubTator: title and abstract, offsets over both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import TEXTS, documents, gold, labelled, round_trip, unscored

from medmt5.formats.documents import one_line
from medmt5.formats.pubtator import to_pubtator


def write(tmp_path, content):
    path = tmp_path / "a.pubtator"
    path.write_bytes(content.encode())
    return path


def test_title_abstract_and_entities_by_hand():
    document = labelled("Gout 😀\nA fever|t|", (0, 4, "Disease"), (9, 14, "Sign"), id="17")
    assert to_pubtator(document) == (
        "17|t|Gout 😀\n17|a|A fever|t|\n17\t0\t4\tGout\tDisease\t-\n17\t9\t14\tfever\tSign\t-\n\n"
    )


def test_a_text_of_one_line_is_a_title_and_gets_its_number_for_an_id():
    assert to_pubtator(labelled("a\tb\u2028c"), 3) == "3|t|a b c\n\n"


def test_an_id_that_would_end_early_is_refused():
    with pytest.raises(ValueError, match="which PubTator has no form for"):
        to_pubtator(labelled("a", id="1|2"))


@st.composite
def _holdable(draw):
    """One line feed at most, and none of the characters that are written as spaces."""
    title, abstract = one_line(draw(TEXTS)), one_line(draw(TEXTS))
    return draw(documents(texts=st.sampled_from([title, f"{title}\n{abstract}"])))


@given(st.lists(_holdable(), max_size=3))
def test_a_file_reads_back(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("pubtator") / "a.txt"
    read = round_trip(drawn, "pubtator", path)
    assert [unscored(d) for d in read] == [unscored(d) for d in drawn]
    assert [d.id for d in read] == [str(i) for i in range(1, len(drawn) + 1)]


@given(documents())
def test_other_line_ends_become_spaces_and_offsets_stay(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("pubtator") / "a.txt"
    (read,) = round_trip([document], "pubtator", path)
    assert one_line(read.text) == one_line(document.text)
    assert [e[:3] for e in read.entities] == [e[:3] for e in document.entities]


def test_relations_identifiers_and_nested_mentions_are_counted(tmp_path, caplog):
    path = write(
        tmp_path,
        "1|t|Renal failure\r\n1|a|By aspirin.\r\n1\t0\t13\tRenal failure\tDisease\tD1|D2\r\n"
        "1\t0\t5\tRenal\tOrgan\t-1\r\n1\t17\t24\taspirin\tChemical\tD3\r\n1\tCID\tD3\tD1\r\n"
        "2|t|No blank line before\n\n\n3|a|No title",
    )
    read, report = gold("pubtator", path)
    assert [d.text for d in read] == [
        *("Renal failure\nBy aspirin.", "No blank line before", "\nNo title")
    ]
    assert [e.text for e in read[0].entities] == ["Renal failure", "aspirin"]
    assert report.other == {"concept identifiers": 2, "relations": 1}
    assert "a.pubtator:4 (1): Organ 0-5 lies within Disease 0-13: not kept" in caplog.text


@pytest.mark.parametrize(
    "line", ["fever", "2\t0\t1\ta\tX", "1\t0\t1", "1\t0\tone\ta\tX", "1\t0\t1\tb\tX"]
)
def test_a_broken_line_is_named_or_skipped(tmp_path, line):
    path = write(tmp_path, f"1|t|a b\n{line}\n1\t0\t1\ta\tX\n")
    with pytest.raises(ValueError, match=r"a\.pubtator:2"):
        gold("pubtator", path)
    (document,), report = gold("pubtator", path, skip_bad=True)
    assert report.skipped == 1 and len(document.entities) == 1
