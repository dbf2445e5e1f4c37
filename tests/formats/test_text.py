"""Words, sentences and windows of raw text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.formats.text import sentence_ends, split_words, windows


def words(text):
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Acute pain, 3.5 mg/day.", ["Acute", "pain", ",", "3", ".", "5", "mg", "/", "day", "."]),
        ("  \t\n", []),
        ("", []),
        ("l'œdème aigu", ["l", "'", "œdème", "aigu"]),
        ("¿Fiebre?", ["¿", "Fiebre", "?"]),
        ("β-blocker", ["β", "-", "blocker"]),
        ("患者有糖尿病。", ["患", "者", "有", "糖", "尿", "病", "。"]),
        ("IL6阳性", ["IL6", "阳", "性"]),
        ("कमज़ोरी है", ["कमज़ोरी", "है"]),
        ("ไข้", ["ไ", "ข้"]),  # a tone mark stays with its consonant
        ("a_b", ["a_b"]),
        ("\U0001f9ec5", ["\U0001f9ec", "5"]),
    ],
)
def test_words_are_runs_of_letters_single_symbols_and_single_unspaced_characters(text, expected):
    assert words(text) == expected


def test_a_decomposed_accent_does_not_cut_a_word():
    decomposed = unicodedata.normalize("NFD", "fièvre élevée")
    assert words(decomposed) == decomposed.split(" ")


@given(st.text())
def test_words_are_in_order_and_hold_every_character_but_white_space(text):
    at = 0
    for start, end in split_words(text):
        assert at <= start < end
        assert not text[at:start].strip()  # nothing but white space is left out
        assert not any(char.isspace() for char in text[start:end])
        at = end
    assert not text[at:].strip()


def sentences(text):
    spans = split_words(text)
    out, start = [], 0
    for end in sentence_ends(text, spans):
        out.append(text[spans[start][0] : spans[end][1]])
        start = end + 1
    return out


@pytest.mark.parametrize(
    "expected",
    [
        ["No fever.", "Dose 3.5 mg, e.g. at night.", "Seen by J. Smith!"],
        ["El paciente mejoró.", "¿Tiene fiebre?", "¡No!", "Alta en 2 días."],
        ["Douleur à 37.5 °C (cf. supra).", "« Aucune fièvre. »", "Sortie à 8 h."],
        ["Il paziente sta bene.", "È stato dimesso il 3 maggio.", 'Disse: "No."', "Poi uscì."],
        ["He said (no pain.)", "Then left..."],
        ["1. Rest.", "2. Water."],
    ],
)
def test_sentences_of_spaced_languages_end_at_a_mark_before_a_new_beginning(expected):
    if expected[0].startswith("1."):
        # A number and its full stop are a sentence of their own: nothing says otherwise.
        expected = ["1.", "Rest.", "2.", "Water."]
    assert sentences(" ".join(expected)) == expected


def test_chinese_sentences_need_no_space():
    assert sentences("患者发热。体温39.5度！用药？出院。") == [
        "患者发热。",
        "体温39.5度！",
        "用药？",
        "出院。",
    ]


def test_a_line_break_ends_a_sentence_without_a_mark():
    assert sentences("DIAGNOSIS\nacute pain\r\nnone") == ["DIAGNOSIS", "acute pain", "none"]


@given(st.text(alphabet=st.sampled_from("aB1 .!?。\n\"')(é患")))
def test_sentence_ends_are_increasing_and_the_last_word_is_one(text):
    spans = split_words(text)
    ends = sentence_ends(text, spans)
    assert ends == sorted(set(ends))
    assert ends[-1:] == ([len(spans) - 1] if spans else [])


def test_a_sentence_that_is_too_long_is_cut_and_the_cut_is_reported():
    text = "a b c d. E f."
    spans = split_words(text)  # a b c d . E f .
    parts, cuts = windows(spans, sentence_ends(text, spans), lambda i: 1, limit=3)
    assert parts == [(0, 3), (3, 5), (5, 8)]
    assert cuts == [6]  # the offset of d


def test_short_sentences_are_windows_of_their_own_and_nothing_is_cut():
    text = "A b. C."
    spans = split_words(text)
    assert windows(spans, sentence_ends(text, spans), lambda i: 2, limit=10) == (
        [(0, 3), (3, 5)],
        [],
    )


@given(st.data())
def test_windows_hold_every_word_once_and_respect_the_limit(data):
    limit = data.draw(st.integers(1, 12))
    sizes = data.draw(st.lists(st.integers(1, limit), max_size=40))
    inner = data.draw(st.sets(st.integers(0, max(0, len(sizes) - 1))))
    ends = sorted(inner | {len(sizes) - 1}) if sizes else []
    spans = [(2 * i, 2 * i + 1) for i in range(len(sizes))]
    parts, cuts = windows(spans, ends, sizes.__getitem__, limit)
    assert [i for start, end in parts for i in range(start, end)] == list(range(len(sizes)))
    assert all(start < end and sum(sizes[start:end]) <= limit for start, end in parts)
    # A window ends with its sentence, or where a cut is reported.
    assert cuts == [spans[end][0] for _, end in parts if end - 1 not in ends]
