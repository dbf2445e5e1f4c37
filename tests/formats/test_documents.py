"""What a document must be, whatever it is written as; labels as names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import TEXTS, labelled

from medmt5.formats import bioc, brat, conll, inline, jsonl, offsets, page, pubtator
from medmt5.formats.documents import Document, Entity, check, escape_label, unescape_label


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
    renderers = [jsonl.to_jsonl, conll.to_conll, brat.to_brat, inline.to_inline]
    renderers += [bioc.to_bioc, pubtator.to_pubtator]
    renderers += [lambda d: offsets.to_offsets(d, "a"), lambda d: page.to_html([d])]
    for render in renderers:
        with pytest.raises(ValueError, match=message):
            render(document)


def test_overlapping_and_unsorted_entities_are_refused():
    for spans in [((0, 3, "A"), (2, 4, "B")), ((2, 4, "B"), (0, 2, "A"))]:
        with pytest.raises(ValueError, match="where the entity before it ends"):
            check(labelled("fever", *spans))
    check(labelled("fever", (0, 2, "A"), (2, 4, "B")))


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
    assert escape_label(label) == name
    assert unescape_label(name) == label


@given(TEXTS | st.text(alphabet="_xX0A1F "))
def test_any_label_survives_escaping(label):
    name = escape_label(label)
    assert re.fullmatch(r"[\w-]*", name)
    assert unescape_label(name) == label
