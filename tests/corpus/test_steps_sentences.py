"""Sentences: long documents become chunks that end at sentences and hold the whole text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.corpus.documents import Document
from medmt5.corpus.steps.sentences import Sentences
from medmt5.formats.text import split_words


def texts(result):
    return [document.text for document in result]


def test_a_short_document_is_the_same_object():
    document = Document("One. Two. Three.", "1", "web")
    # Six words with their full stops.
    assert Sentences(max_words=6)(document) is document


def test_chunks_end_at_sentences_and_are_numbered():
    document = Document("One two. Three four.\nFive six. Seven.", "d", "web", "en", title="T")
    result = Sentences(max_words=6)(document)
    assert texts(result) == ["One two. Three four.", "Five six. Seven."]
    assert [piece.id for piece in result] == ["d#1", "d#2"]
    assert {(piece.title, piece.language) for piece in result} == {("T", "en")}


def test_chinese_and_japanese_are_cut_at_their_full_stops():
    chinese = Document("患者发热。咳嗽三天！入院治疗？", "1", "web", "zh")
    assert texts(Sentences(max_words=10)(chinese)) == ["患者发热。咳嗽三天！", "入院治疗？"]
    japanese = Document("「発熱です。」咳が出る。入院した。", "1", "web", "ja")
    assert texts(Sentences(max_words=7)(japanese)) == ["「発熱です。」", "咳が出る。", "入院した。"]


def test_abbreviations_and_numbers_do_not_end_a_chunk():
    text = "Tomó 3.5 mg, p. ej. dos veces. Mejoró mucho."
    assert texts(Sentences(max_words=13)(Document(text, "1", "web", "es"))) == [
        "Tomó 3.5 mg, p. ej. dos veces.",
        "Mejoró mucho.",
    ]


def test_a_sentence_that_is_too_long_is_cut_between_words():
    text = " ".join(["word"] * 10)
    assert texts(Sentences(max_words=4)(Document(text, "1", "web"))) == [
        "word word word word",
        "word word word word",
        "word word",
    ]


def test_chunks_are_of_about_one_length():
    # 300 words in sentences of three: two halves, not 198 and 102.
    result = Sentences(200)(Document("One two. " * 100, "1", "web"))
    assert [len(split_words(chunk)) for chunk in texts(result)] == [150, 150]


@given(st.text(alphabet="ab .。\n患、\t", max_size=200), st.integers(1, 20))
def test_nothing_is_lost_and_no_chunk_is_too_long(text, max_words):
    result = Sentences(max_words)(Document(text, "1", "web"))
    chunks = texts(result) if isinstance(result, list) else [result.text]
    assert re.sub(r"\s", "", "".join(chunks)) == re.sub(r"\s", "", text)
    assert all(len(split_words(chunk)) <= max_words for chunk in chunks)


def test_a_length_below_one_is_refused():
    with pytest.raises(ValueError, match="max_words is 0"):
        Sentences(max_words=0)
