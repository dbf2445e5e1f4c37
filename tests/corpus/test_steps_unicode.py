"""Unicode repair: what is put right, and what must stay as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.unicode import Unicode

CLEAN = Unicode().clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # UTF-8 read as Windows-1252.
        ("El paciente presentÃ³ cefalea", "El paciente presentó cefalea"),
        ("diagnostiquÃ©e Ã  5Â°C", "diagnostiquée à 5°C"),
        # Letter and accent apart; NFC joins them.
        ("cafe\u0301", "café"),
        ("soft\u00adhyphen, zero\u200bwidth, \ufeffmark", "softhyphen, zerowidth, mark"),
        ("\x00nul, \ue123private", "nul, private"),
        ("4\u2009μg/kg\u00a0i.v.", "4 μg/kg i.v."),
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        # Windows-1252's ellipsis, far commoner than the line end of that number.
        ("and so on\x85 He", "and so on… He"),
        # The font Symbol of a PDF: μ and ≥.
        ("\uf0b3 5 \uf06dg", "≥ 5 μg"),
        ("pulmonary ﬁbrosis", "pulmonary fibrosis"),
        ("a  b \n\n\n\n c", "a b\n\nc"),
        ("lone \ud800 surrogate", "lone surrogate"),
    ],
)
def test_what_is_broken_is_repaired(text, expected):
    assert CLEAN(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Hb 12,5 g/dl; 10⁹/L, m², H₂O, SpO₂ 98 %, ½, ±0.5 µg·kg⁻¹, 37 °C, Å, ≤3",
        "α-фетопротеин, β₂-микроглобулин; Жалобы на боль. Ёлка, й",
        "患者，女，４５岁。　主诉：腹痛３天（ＣＴ示阑尾炎）。",
        "７５歳の男性。ｶﾙｼｳﾑ 8.5mg/dL、「呼吸困難」が主訴。㎎",
        "Η ασθενής παρουσίασε πυρετό",
        # An accent that no letter is made with, and joiners of Persian.
        "m̄ x̂ می‌خواهم",
        "“quoted” – ‘text’ … l’œdème",
        "Hb\t12\t13\nNa\t138\t140",
    ],
)
def test_units_scripts_and_tables_stay(text):
    assert CLEAN(text) == text


def test_words_cut_at_a_line_end_are_joined():
    text = "The inflam-\nmation and the beta-\nblocker; a beta-blocker. COVID-\n19, pre-\nand post-"
    assert CLEAN(text) == (
        # Compounds that the text has elsewhere keep the hyphen; digits and conjunctions stay.
        "The inflammation and the beta-blocker; a beta-blocker. COVID-\n19, pre-\nand post-"
    )
    assert Unicode(join=False).clean("inflam-\nmation") == "inflam-\nmation"


def test_a_document_without_change_is_the_same_object_and_an_empty_one_is_removed():
    document = Document("No fever.", "1", "notes")
    assert Unicode()(document) is document
    assert Unicode()(Document("\u200b \x00", "2", "notes")) == Removed("empty")


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_cleaning_again_changes_nothing(text):
    # Without repair: ftfy may find a second layer of mojibake once the first is gone.
    step = Unicode(repair=False)
    once = step.clean(text)
    assert step.clean(once) == once
    once.encode("utf-8")


def test_long_runs_stay_linear():
    # Quadratic patterns would take minutes: the suite's limit is the assertion.
    for piece in ("\t", " ", "a", "-\n", "é", "\u3000", "a-"):
        CLEAN("x" + piece * 200_000 + "y")
