"""Boilerplate: what goes, with an example for each kind of pattern, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.boilerplate import Boilerplate

CLEAN = Boilerplate().clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>First.</p><p>Second&nbsp;one.</p>", "First.\n\nSecond one."),
        # A raised nine is no nine.
        ("10<sup>9</sup>/L, CO<sub>2</sub>, Na<sup>+</sup>, H<sup>a</sup>", "10⁹/L, CO₂, Na⁺, Ha"),
        ("p &lt; 0.05 &amp;amp; q", "p < 0.05 & q"),
        ("&lt;i&gt;E. coli&lt;/i&gt;", "E. coli"),
        ("a<!-- x -->b<script>var a = '<b>';</script>c", "a b c"),
        ("<td>Hb</td><td>12</td>", "Hb\t\t12"),
        # The font Symbol again: the entity is a β.
        ("la &#61538;-HCG", "la β-HCG"),
    ],
)
def test_markup_goes_and_meaning_stays(text, expected):
    assert CLEAN(text) == expected


@pytest.mark.parametrize(
    "text", ["p < 0.05 and q > 3", "if a <b and c> d", "<Disease> flu </Disease>", "x <5 mg> y"]
)
def test_what_is_no_tag_of_html_stays(text):
    assert CLEAN(text) == text


@pytest.mark.parametrize(
    "line",
    [
        "This site uses cookies to improve your experience. Read on.",
        "Accept all cookies",
        "Skip to main content",
        "Share on Facebook",
        "Read more »",
        "Page 3 of 12",
        "- 12 -",
        "Utilizamos cookies propias y de terceros",
        "Leer más...",
        "Ce site utilise des cookies.",
        "Lire la suite",
        "Questo sito utilizza i cookie per funzionare.",
        "Vai al contenuto",
        "Diese Webseite verwendet Cookies.",
        "Este site utiliza cookies",
        "Webgune honek cookieak erabiltzen ditu",
        "Этот сайт использует файлы cookie",
        "Читать далее",
        "返回顶部",
        "第3页 共12页",
        "続きを読む",
        "無断転載を禁ず",
        "GNS10 =.",
        "irudia = X ray.jpg.",
    ],
)
def test_lines_of_pages_go_in_each_language(line):
    assert CLEAN(f"Before.\n{line}\nAfter.") == "Before.\nAfter."


@pytest.mark.parametrize(
    "text",
    [
        "Inicio: cefalea súbita.\nInicio:\nhace 3 días",
        "Read more slowly, said the nurse.",
        "We use cookies" + " in the test of smell and taste" * 8,
        "Home oxygen was started.",
        "pH = 7.2",
        "Page 3 of the record shows a rash.",
    ],
)
def test_prose_that_begins_alike_stays(text):
    assert CLEAN(text) == text


@pytest.mark.parametrize(
    "notice",
    [
        "Copyright © 2014 Elsevier Inc. All rights reserved.",
        "© 2015 The Authors. Published by Wiley.",
        "(c) 2003 Wiley-Liss, Inc.",
        "This article is protected by copyright. All rights reserved.",
        "Publicado por Elsevier España, S.L.U. Todos los derechos reservados.",
        "Publié par Elsevier Masson SAS. Tous droits réservés.",
        "Tutti i diritti riservati.",
        "Все права защищены.",
    ],
)
def test_copyright_at_the_end_of_an_abstract_goes(notice):
    assert CLEAN(f"Mortality fell (p = 0.01). {notice}") == "Mortality fell (p = 0.01)."
    # Further back than notices are long, it is a part of the text.
    text = f"It said: {notice}{' More follows.' * 40}"
    assert CLEAN(text) == text


def test_reference_lists_go_and_what_follows_stays():
    references = "1. Smith J, et al. Lancet 2003;12:3-9.\n[2] Title without a year"
    text = (
        f"We conclude.\n\nReferences\n{references}\n\nAcknowledgements\nWe thank all.\nAnd you.\nX."
    )
    assert CLEAN(text) == "We conclude.\n\n\nAcknowledgements\nWe thank all.\nAnd you.\nX.".replace(
        "\n\n\n", "\n\n"
    )
    # A heading alone is no list.
    assert CLEAN("Referencias\nEl paciente refiere dolor.") == (
        "Referencias\nEl paciente refiere dolor."
    )


def test_a_long_line_that_repeats_is_kept_once_and_a_short_one_always():
    header = "Hospital General, Service of Cardiology"
    text = f"{header}\nNormal.\nA\n{header}\nNormal.\nB\n{header}\nNormal."
    assert CLEAN(text) == f"{header}\nNormal.\nA\nNormal.\nB\nNormal."
    assert Boilerplate(min_repeats=4).clean(text) == text


def test_nothing_but_boilerplate_is_removed():
    assert Boilerplate()(Document("Read more\n<br>", "1", "web")) == Removed("only boilerplate")


# Pieces that make markup when they meet.
PIECES = ("<", ">", "&", "lt;", "amp;", "b", "<sup>", "</sup>", "9", "\n", "References", "©", " ")
TEXT = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@given(TEXT)
def test_cleaning_again_changes_nothing(text):
    once = CLEAN(text)
    assert CLEAN(once) == once


def test_hostile_nesting_stays_linear():
    for piece in ("<", "<!--", "<script>", "<b ", "&amp;", "<<b>b>", "=", "©", "|"):
        CLEAN(piece * 20_000)
