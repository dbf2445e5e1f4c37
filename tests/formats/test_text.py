"""Words and sentences of raw text."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.formats.text import sentence_ends, split_words


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


@pytest.mark.parametrize(
    "text, expected",
    [
        ("نمی\u200cخواهم بروم", ["نمی\u200cخواهم", "بروم"]),  # Persian: "I do not want to go"
        ("۵۰\u200cساله", ["۵۰\u200cساله"]),  # "50 years old"
        ("क्\u200dष", ["क्\u200dष"]),  # a joiner after the mark that takes the vowel away
        ("a\u200cb\u200dc", ["a\u200cb\u200dc"]),
        ("a\u200c b", ["a", "\u200c", "b"]),
        ("\u200ca", ["\u200c", "a"]),
        ("a\u200c\u200cb", ["a", "\u200c", "\u200c", "b"]),
        ("a\u200c.b", ["a", "\u200c", ".", "b"]),
        ("患\u200d者", ["患", "\u200d", "者"]),
        ("fe\u200bver\ufeff", ["fe", "\u200b", "ver", "\ufeff"]),
    ],
)
def test_a_joiner_or_non_joiner_belongs_to_a_word_only_between_two_of_its_letters(text, expected):
    assert words(text) == expected


# Any characters, and often those that stand out: `st.text` alone seldom draws them.
SINGLE = (
    "aB1_é .!?。…\n\t\"')]»患ไข้क्یم☤ﬁ²\x00\x85\xa0\xad\u0301\u20dd"
    "\u200b\u200c\u200d\u2028\u3000\ufeff\ud83d\U000e0100"
)
ODD = st.sampled_from([*SINGLE, "\r\n", "e\u0301", "👩🏽\u200d⚕️", "🇪🇸"])
TEXTS = st.lists(st.one_of(ODD, st.characters()), max_size=40).map("".join)


@given(TEXTS)
def test_words_are_in_order_and_hold_every_character_but_white_space(text):
    at = 0
    for start, end in split_words(text):
        assert at <= start < end
        assert not text[at:start].strip()  # nothing but white space is left out
        assert not any(char.isspace() for char in text[start:end])
        at = end
    assert not text[at:].strip()


@given(TEXTS)
def test_neighbouring_characters_share_a_word_when_both_are_letters_or_the_second_is_a_mark(text):
    word_of = {i: n for n, (a, b) in enumerate(split_words(text)) for i in range(a, b)}
    for i, (a, b) in enumerate(itertools.pairwise(text)):
        if a.isspace() or b.isspace():
            continue
        together = word_of[i] == word_of[i + 1]
        if unicodedata.category(b).startswith("M"):
            assert together
        elif b in "\u200c\u200d":
            pass  # by what follows
        elif not b.isalnum() and b != "_":
            assert not together
        elif max(a, b) < "\u0e00":  # before the first script that is written without spaces
            assert together or not (a.isalnum() or a == "_")


@given(TEXTS, TEXTS, st.sampled_from([" ", "\t", "\r\n", "\u3000"]))
def test_words_do_not_depend_on_what_lies_beyond_white_space(before, after, space):
    at = len(before) + len(space)
    moved = [(start + at, end + at) for start, end in split_words(after)]
    assert split_words(before + space + after) == split_words(before) + moved


@pytest.mark.parametrize("repeated", ["a", "e\u0301", "\u0301", "a\u200c", "\u200c", "患", " "])
def test_a_million_of_anything_takes_linear_time(repeated):
    text = repeated * 1_000_000
    spans = split_words(text)
    assert sum(end - start for start, end in spans) == len(text.replace(" ", ""))
    assert sentence_ends(text, spans) == ([len(spans) - 1] if spans else [])


@pytest.mark.parametrize("mark", [")", ".)", "”"])
def test_a_million_closing_brackets_take_linear_time(mark):
    text = "No" + mark * 1_000_000 + " Yes"
    spans = split_words(text)
    stop = [len(spans) - 2] if "." in mark else []
    assert sentence_ends(text, spans) == [*stop, len(spans) - 1]


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


@given(st.one_of(TEXTS, st.text(alphabet=st.sampled_from("aB1 .!?。\n\"')(é患"))))
def test_sentence_ends_are_increasing_and_the_last_word_is_one(text):
    spans = split_words(text)
    ends = sentence_ends(text, spans)
    assert ends == sorted(set(ends))
    assert ends[-1:] == ([len(spans) - 1] if spans else [])
