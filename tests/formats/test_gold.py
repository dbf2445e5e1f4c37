"""Annotations to flat entities: what stays, what is reported, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.formats.documents import check
from medmt5.formats.gold import Annotation, BadRecord, Report, flat

TEXT = "acute renal and hepatic failure"


def annotate(*spans, label="D"):
    return [Annotation(label, tuple(s), None, f"a.ann:{i}") for i, s in enumerate(spans, 1)]


def kept(report_spans, text=TEXT):
    report = Report()
    document = flat(text, annotate(*report_spans), report)
    return [e[:2] for e in document.entities], [(lost.why) for lost in report.lost]


def test_of_nested_annotations_the_longest_stays_and_the_others_are_reported(caplog):
    assert kept([[(0, 5)], [(0, 31)], [(24, 31)]]) == ([(0, 31)], ["nested", "nested"])
    assert "a.ann:1: D 0-5 lies within D 0-31: not kept" in caplog.text


@pytest.mark.parametrize(
    ("spans", "stays", "lost"),
    [
        ([[(0, 5)], [(5, 11)]], [(0, 5), (5, 11)], []),
        ([[(0, 8)], [(6, 15)]], [(6, 15)], ["crossing"]),
        ([[(6, 15)], [(0, 9)]], [(0, 9)], ["crossing"]),
        ([[(0, 5)], [(0, 5)]], [(0, 5)], ["repeated"]),
        ([[(6, 11), (24, 31)]], [], ["discontinuous"]),
        ([[(0, 5), (6, 11)]], [(0, 11)], []),
        ([[(6, 11), (0, 5)]], [(0, 11)], []),
    ],
)
def test_what_stays_and_what_is_lost(spans, stays, lost):
    assert kept(spans) == (stays, lost)


def test_a_second_label_of_one_stretch_is_reported():
    report = Report()
    two = annotate([(0, 5)]) + annotate([(0, 5)], label="C")
    (entity,) = flat(TEXT, two, report).entities
    assert entity.label == "D" and [lost.annotation.label for lost in report.lost] == ["C"]
    assert report.summary() == "1 documents, 1 entities; 1 two labels not kept"


_SPANS = st.lists(st.integers(0, 31), min_size=2, max_size=4, unique=True).map(
    lambda cuts: tuple(zip(sorted(cuts)[0::2], sorted(cuts)[1::2], strict=False))
)


@given(st.lists(_SPANS, max_size=12))
def test_every_annotation_is_an_entity_or_in_the_report(spans):
    report = Report()
    document = flat(TEXT, annotate(*spans), report)
    check(document)
    assert len(document.entities) + len(report.lost) == len(spans)
    assert report.entities == len(document.entities)


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        (Annotation("D", ((0, 99),), None, "x"), "outside the text of 31"),
        (Annotation("D", ((5, 5),), None, "x"), "are empty"),
        (Annotation("D", (), None, "x"), "are empty"),
        (Annotation("D", ((0, 5),), "Acute", "x"), "quotes 'Acute', but the text at"),
        (Annotation("", ((0, 5),), None, "x"), "label '' is empty"),
        (Annotation("a\nb", ((0, 5),), None, "x"), "has a tab or line break"),
    ],
)
def test_a_wrong_annotation_is_refused_or_skipped(annotation, fault, caplog):
    with pytest.raises(BadRecord, match=f"^x: .*{fault}"):
        flat(TEXT, [annotation], Report())
    report = Report(skip_bad=True)
    assert flat(TEXT, [annotation, *annotate([(0, 5)])], report).entities[0].text == "acute"
    assert report.skipped == 1 and fault in caplog.text


def test_offsets_in_other_units_are_recognised_by_the_quote():
    text = "😀é fièvre"  # 😀 is 4 bytes or 2 units, é and è 2 bytes or 1 unit
    for offsets, unit in (((7, 14), "bytes"), ((4, 10), "UTF-16 units")):
        with pytest.raises(BadRecord, match=f"count {unit}; they must count Unicode code points"):
            flat(text, [Annotation("D", (offsets,), "fièvre", "x")], Report())
    assert flat(text, [Annotation("D", ((3, 9),), "fièvre", "x")], Report()).entities


def test_annotations_are_left_aside_where_only_texts_are_wanted():
    report = Report(texts_only=True)
    assert flat(TEXT, [Annotation("D", ((0, 99),))], report).entities == ()
    assert report.unread == 1
