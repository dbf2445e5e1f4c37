import html
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.formats import documents
from medmt5.formats import page as page_lib
from medmt5.formats.documents import Document, Entity


def labelled(text, *spans, **more):
    """A document with the given (start, end, label) spans, score 0.5."""
    entities = tuple(Entity(s, e, label, text[s:e], 0.5) for s, e, label in spans)
    return Document(text, entities, **more)


# What trips readers: markup, every line end, bidirectional marks, emoji, combining characters.
_TRICKY = st.sampled_from(
    "<>&;#/\"'\n\r\t\v\f\x00\x1c\x1d\x1e\x85\u2028\u2029\u200f\u0301e😀👩\u200d_xA0"
)
_TEXTS = st.lists(_TRICKY | st.characters(exclude_categories=["Cs"]), max_size=30).map("".join)
_LABELS = _TEXTS.filter(lambda label: label and not documents._BREAK.search(label))


@st.composite
def _documents(draw, labels=_LABELS):
    text = draw(_TEXTS)
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True).map(sorted))
    # Consecutive cuts bound stretches; those drawn are entities, so neighbours may touch.
    spans = [span for span in zip(cuts, cuts[1:], strict=False) if draw(st.booleans())]
    return labelled(text, *((start, end, draw(labels)) for start, end in spans))


def unscored(document):
    return document.text, [entity[:4] for entity in document.entities]


# JSON Lines


def test_jsonl_keeps_letters_and_rounds_scores_to_four_digits():
    document = Document("Fièvre 😀 aiguë", (Entity(9, 14, "Qualifier", "aiguë", 0.987654),))
    assert documents.to_jsonl(document) == (
        '{"text": "Fièvre 😀 aiguë", "entities": [{"start": 9, "end": 14, "label": "Qualifier", '
        '"text": "aiguë", "score": 0.9877}]}'
    )


def test_jsonl_tells_where_a_long_text_was_split_and_only_then():
    assert json.loads(documents.to_jsonl(labelled("a b", splits=(2,))))["splits"] == [2]
    assert "splits" not in json.loads(documents.to_jsonl(labelled("a b")))


@given(_documents())
def test_jsonl_is_one_line_for_every_reader_and_reads_back(document):
    line = documents.to_jsonl(document)
    assert len(line.splitlines()) == 1
    record = json.loads(line)
    entities = tuple(Entity(**entity) for entity in record["entities"])
    assert Document(record["text"], entities) == document


def test_half_a_surrogate_pair_can_be_written_as_utf8():
    line = documents.to_jsonl(labelled("a\ud83d b"))
    assert json.loads(line.encode("utf-8"))["text"] == "a\ud83d b"


# CoNLL


def test_adjacent_entities_of_one_label_each_begin_with_b():
    document = labelled(
        "acute renal failure fever .",
        (0, 19, "Disease"),
        (20, 25, "Disease"),
        words=((0, 5), (6, 11), (12, 19), (20, 25), (26, 27)),
    )
    assert documents.to_conll(document) == (
        "acute\tB-Disease\nrenal\tI-Disease\nfailure\tI-Disease\nfever\tB-Disease\n.\tO\n\n"
    )


def test_without_words_text_is_cut_at_whitespace_and_at_entity_edges():
    document = labelled("un\u00a0été,\nchaud", (3, 6, "T"), (6, 13, "U"))
    assert documents.to_conll(document) == "un\tO\nété\tB-T\n,\tB-U\nchaud\tI-U\n\n"


def test_words_without_spaces_between_them_are_tagged():
    document = labelled("急性阑尾炎入院", (2, 5, "Disease"), words=((0, 2), (2, 5), (5, 7)))
    assert documents.to_conll(document) == "急性\tO\n阑尾炎\tB-Disease\n入院\tO\n\n"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (labelled("fevers", (0, 5, "S"), words=((0, 6),)), "cuts the word 'fevers'"),
        (labelled("a\tb", words=((0, 3),)), r"word \(0, 3\) 'a\\tb'"),
        (labelled("ab c", words=((0, 2), (1, 4))), "in order"),
        (labelled("a b", (2, 3, "S"), words=((0, 1),)), "1 of 1 entities cover no word"),
        (labelled("a b", (0, 1, "S"), words=((2, 3),)), "1 of 1 entities cover no word"),
        (labelled("a b", (1, 2, "S")), "cover no word"),
    ],
)
def test_conll_refuses_what_it_cannot_hold(document, message):
    with pytest.raises(ValueError, match=message):
        documents.to_conll(document)


# brat


def test_brat_offsets_count_characters_not_bytes_or_utf16_units():
    document = labelled("😀 fièvre", (2, 8, "Symptom"))
    assert documents.to_brat(document) == "T1\tSymptom 2 8\tfièvre\n"


def test_a_brat_entity_over_a_line_break_becomes_fragments():
    text = "chronic\nrenal\r\n failure, fever"
    document = labelled(text, (0, 23, "Disease"), (25, 30, "Symptom"))
    assert documents.to_brat(document) == (
        "T1\tDisease 0 7;8 13;15 23\tchronic renal  failure\nT2\tSymptom 25 30\tfever\n"
    )


def test_a_brat_label_with_spaces_is_escaped_because_brat_ends_labels_there():
    document = labelled("cough", (0, 5, "Sign or Symptom"))
    assert documents.to_brat(document) == "T1\tSign_x0020_or_x0020_Symptom 0 5\tcough\n"


def test_brat_refuses_an_entity_of_line_breaks_alone():
    with pytest.raises(ValueError, match="only line breaks"):
        documents.to_brat(labelled("a\n\nb", (1, 3, "X")))


@given(_documents())
def test_brat_fragments_quote_the_text(document):
    if any(not documents._BREAK.sub("", entity.text) for entity in document.entities):
        return
    lines = documents.to_brat(document).splitlines()
    assert len(lines) == len(document.entities)
    for line, entity in zip(lines, document.entities, strict=True):
        _, place, text = line.split("\t")
        label, offsets = place.split(" ", 1)
        spans = [tuple(map(int, span.split(" "))) for span in offsets.split(";")]
        assert documents.unescape_label(label) == entity.label
        assert " ".join(document.text[start:end] for start, end in spans) == text
        assert entity.start <= spans[0][0] and spans[-1][1] <= entity.end


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Disease", "Disease"),
        ("Maladie_génétique-2", "Maladie_génétique-2"),
        ("2nd", "_x0032_nd"),
        ("DNA/RNA", "DNA_x002F_RNA"),
        ("max_xray", "max_xray"),
        ("a_x0020_b", "a_x005F_x0020_b"),
        ("😀", "_x1F600_"),
    ],
)
def test_labels_become_names_and_come_back(label, name):
    assert documents.escape_label(label) == name
    assert documents.unescape_label(name) == label


@given(_TEXTS | st.text(alphabet="_xX0A1F "))
def test_any_label_survives_escaping(label):
    name = documents.escape_label(label)
    assert re.fullmatch(r"[\w-]*", name)
    assert documents.unescape_label(name) == label


# inline


def test_inline_tags_and_escapes_by_hand():
    document = labelled("p<5% & fever\r\nnow", (7, 12, "Symptom"))
    line = "p&lt;5% &amp; <Symptom>fever</Symptom>&#13;&#10;now"
    assert documents.to_inline(document) == line
    assert unscored(documents.from_inline(line)) == unscored(document)


def test_text_that_looks_like_a_tag_or_a_code_stays_text():
    document = labelled("<Gene>x</Gene> &amp; &#10;", (6, 7, "Gene"))
    line = documents.to_inline(document)
    assert line.startswith("&lt;Gene&gt;<Gene>x</Gene>&lt;/Gene&gt; &amp;amp; &amp;#10;")
    assert unscored(documents.from_inline(line)) == unscored(document)


@given(_documents())
def test_inline_is_one_line_and_reads_back(document):
    line = documents.to_inline(document)
    assert len(line.splitlines()) == (1 if line else 0)
    assert unscored(documents.from_inline(line + "\n")) == unscored(document)


@given(_documents(labels=st.sampled_from(["Disease", "Sign or Symptom", "médicament", "3D"])))
def test_inline_is_what_an_xml_parser_reads(document):
    # XML has no form for most control characters, nor for surrogates and two noncharacters.
    if re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", document.text):
        return
    root = ElementTree.fromstring(f"<d>{documents.to_inline(document)}</d>")
    assert "".join(root.itertext()) == document.text
    found = [(documents.unescape_label(child.tag), child.text) for child in root]
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
        documents.from_inline(line)


# HTML


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


# what every writer checks


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        (Entity(4, 4, "S", "", 1.0), "needs 0 <= start < end <= 5"),
        (Entity(3, 9, "S", "er", 1.0), "needs 0 <= start < end <= 5"),
        (Entity(-2, 5, "S", "er", 1.0), "needs 0 <= start < end <= 5"),
        (Entity(0, 5, "S", "Fever", 1.0), "must quote the text at its offsets, 'fever'"),
        (Entity(0, 5, "", "fever", 1.0), "needs a label"),
        (Entity(0, 5, "a\tb", "fever", 1.0), "needs a label, without tabs"),
        (Entity(0, 5, "S", "fever", float("nan")), "score nan"),
    ],
)
def test_a_wrong_entity_is_refused_by_every_format(entity, message):
    document = Document("fever", (entity,))
    renderers = [documents.to_jsonl, documents.to_conll, documents.to_brat, documents.to_inline]
    for render in [*renderers, lambda document: page_lib.to_html([document])]:
        with pytest.raises(ValueError, match=message):
            render(document)


def test_overlapping_and_unsorted_entities_are_refused():
    for spans in [((0, 3, "A"), (2, 4, "B")), ((2, 4, "B"), (0, 2, "A"))]:
        with pytest.raises(ValueError, match="where the entity before it ends"):
            documents.check(labelled("fever", *spans))
    documents.check(labelled("fever", (0, 2, "A"), (2, 4, "B")))


# writers

_TWO = (labelled("a fever", (2, 7, "Sign")), labelled("none\r\nhere"))


@pytest.mark.parametrize("format", ["jsonl", "conll", "inline"])
def test_line_formats_are_written_as_they_come(format):
    stream = io.StringIO()
    with documents.writer(format, stream) as out:
        out.write(_TWO[0])
        first = stream.getvalue()
        out.write(_TWO[1])
    assert first.endswith("\n") and stream.getvalue().startswith(first)
    assert not stream.closed
    # CoNLL ends a document with a blank line, the others with the end of their only line.
    ends = stream.getvalue().count("\n\n" if format == "conll" else "\n")
    assert ends == 2


def test_html_waits_for_the_last_document_because_of_its_legend():
    stream = io.StringIO()
    with documents.writer("html", stream) as out:
        out.write(_TWO[0])
        assert stream.getvalue() == ""
    assert stream.getvalue() == page_lib.to_html(_TWO[:1])


@pytest.mark.parametrize("format", ["jsonl", "conll", "inline", "html"])
def test_a_path_gets_what_a_stream_gets_in_utf8(format, tmp_path):
    given_documents = [labelled("fièvre 😀", (0, 6, "Signe"))]
    stream, path = io.StringIO(), tmp_path / "out"
    assert documents.write_documents(given_documents, format, stream) == 1
    assert documents.write_documents(given_documents, format, path) == 1
    assert path.read_bytes() == stream.getvalue().encode("utf-8")


def test_brat_writes_pairs_whose_offsets_hold_byte_for_byte(tmp_path):
    folder = tmp_path / "new" / "brat"
    second = labelled("no\r\nfever", (4, 9, "Sign"))
    assert documents.write_documents([_TWO[0], second], "brat", folder) == 2
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["00001.ann", "00001.txt", "00002.ann", "00002.txt"]
    assert (folder / "00001.ann").read_text("utf-8") == "T1\tSign 2 7\tfever\n"
    assert (folder / "00002.txt").read_bytes() == b"no\r\nfever"
    assert (folder / "00002.ann").read_text("utf-8") == "T1\tSign 4 9\tfever\n"


def test_brat_does_not_overwrite_annotations_and_needs_a_folder(tmp_path):
    (tmp_path / "00001.ann").write_text("by hand")
    with pytest.raises(ValueError, match="already holds .ann files; give a new or empty folder"):
        documents.writer("brat", tmp_path)
    with pytest.raises(ValueError, match="give a folder instead"):
        documents.writer("brat", io.StringIO())


def test_an_unknown_format_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'xml' is unknown; use one of jsonl, conll, brat, inline"):
        documents.writer("xml", io.StringIO())
