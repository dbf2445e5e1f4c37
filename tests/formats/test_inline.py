"""Inline tags: escapes, and where a fault is."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents, gold, labelled, round_trip, unscored

from medmt5.formats import inline
from medmt5.formats.documents import unescape_label


def test_inline_tags_and_escapes_by_hand():
    document = labelled("p<5% & fever\r\nnow", (7, 12, "Symptom"))
    line = "p&lt;5% &amp; <Symptom>fever</Symptom>&#13;&#10;now"
    assert inline.to_inline(document) == line
    assert unscored(inline.from_inline(line)) == unscored(document)


def test_text_that_looks_like_a_tag_or_a_code_stays_text():
    document = labelled("<Gene>x</Gene> &amp; &#10;", (6, 7, "Gene"))
    line = inline.to_inline(document)
    assert line.startswith("&lt;Gene&gt;<Gene>x</Gene>&lt;/Gene&gt; &amp;amp; &amp;#10;")
    assert unscored(inline.from_inline(line)) == unscored(document)


@given(documents())
def test_inline_is_one_line_and_reads_back(document):
    line = inline.to_inline(document)
    assert len(line.splitlines()) == (1 if line else 0)
    assert unscored(inline.from_inline(line + "\n")) == unscored(document)


@given(documents(labels=st.sampled_from(["Disease", "Sign or Symptom", "médicament", "3D"])))
def test_inline_is_what_an_xml_parser_reads(document):
    # XML has no form for most control characters, nor for surrogates and two noncharacters.
    if re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", document.text):
        return
    root = ElementTree.fromstring(f"<d>{inline.to_inline(document)}</d>")
    assert "".join(root.itertext()) == document.text
    found = [(unescape_label(child.tag), child.text) for child in root]
    assert found == [(entity.label, entity.text) for entity in document.entities]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a < b", "column 3: stray"),
        ("a & b", "column 3: stray"),
        ("a > b", "column 3: stray"),
        ("<A>x", "<A> is never closed; add </A>"),
        ("x</A>", "column 2: closing tag"),
        ("<A>x</B>", "column 5: closing tag"),
        ("<A></A>", "column 4: closing tag"),
        ("<A>x<B>y</B></A>", "column 5: tag inside <A>"),
        ("a &nbsp; b", "column 3: unknown code"),
        ("&#1114112;", "column 1: unknown code"),
    ],
)
def test_inline_errors_name_the_column(line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        inline.from_inline(line)


@given(st.lists(documents(), max_size=3))
def test_a_file_of_lines_reads_back(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("inline") / "a.txt"
    read = round_trip(drawn, "inline", path)
    assert [unscored(d) for d in read] == [unscored(d) for d in drawn]


def test_a_broken_line_is_named_or_skipped(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ok\n<A>x\n<A>y</A>\n")
    with pytest.raises(ValueError, match=r"a\.txt:2: column 5: <A> is never closed"):
        gold("inline", path)
    read, report = gold("inline", path, skip_bad=True)
    assert report.skipped == 1 and [d.text for d in read] == ["ok", "y"]
    assert unscored(labelled("y", (0, 1, "A"))) == unscored(read[1])
