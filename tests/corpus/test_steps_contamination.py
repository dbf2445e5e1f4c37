"""Decontamination: which n-grams count, which documents go, what a cut leaves."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest

from medmt5.corpus.documents import Document, Removed
from medmt5.corpus.steps.contamination import Contamination, evaluation_texts
from medmt5.corpus.steps.words import hashes, ngrams

# 15 words: three 13-grams.
QUESTION = (
    "A 27-year-old woman has recurrent oral ulcers and anemia. Which test is most appropriate?"
)


@pytest.fixture
def files(tmp_path):
    questions = tmp_path / "exam.jsonl"
    records = [
        {"question": QUESTION, "options": {"A": "Biopsy of the small bowel now", "B": "None"}},
        {"question": "下列关于高血压病患者长期药物治疗原则的叙述中，哪一项是不正确的说法？"},
    ]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    questions.write_text("\n".join(lines), encoding="utf-8")
    words = "El paciente no refiere alergias ni antecedentes médicos de interés .".split()
    sentences = tmp_path / "e3c.tsv"
    sentences.write_text("\n".join(f"{word}\tO" for word in words) + "\n\nFin\tO\n")
    return [str(questions), str(sentences)]


def test_all_texts_of_a_file_are_read(files, tmp_path):
    texts = list(evaluation_texts(files[0]))
    assert texts[:3] == [QUESTION, "Biopsy of the small bowel now", "None"]
    assert list(evaluation_texts(files[1])) == [
        "El paciente no refiere alergias ni antecedentes médicos de interés .",
        "Fin",
    ]
    table = tmp_path / "table.tsv"
    table.write_text("One sentence here\tlabel\nAnother one\tlabel\n")
    assert list(evaluation_texts(str(table))) == [
        *("One sentence here", "label", "Another one", "label")
    ]


def judged(text, files, **settings):
    return Contamination(files=files, **settings)(Document(text, "1", "web"))


def test_thirteen_words_are_enough_whatever_case_and_punctuation(files):
    text = "It said YEAR old woman, has recurrent oral ulcers (and anemia) which test is most here"
    # 13 words from `year` to `most`: one 13-gram, of 16 words here.
    result = judged(text, files)
    assert result == Removed("in an evaluation set", "0.81 of the words; n-grams in exam.jsonl: 1")
    # Twelve words are not.
    assert isinstance(judged(text.replace("YEAR", "days"), files), Document)
    assert isinstance(judged(text, files, max_share=0.82), Document)


def test_a_short_text_counts_whole_and_a_phrase_not_at_all(files):
    # Ten words in the TSV; six in the option.
    text = "Resumen: el paciente no refiere alergias ni antecedentes médicos de interés hoy"
    assert judged(text, files).detail == "0.83 of the words; n-grams in e3c.tsv: 1"
    assert isinstance(judged(text.replace("interés", "otro tipo"), files), Document)
    assert isinstance(judged("We did a biopsy of the small bowel now", files), Document)


def test_a_file_of_which_nothing_would_be_looked_for_is_named(files, tmp_path):
    table = tmp_path / "pos.conll"
    words = "El paciente no refiere alergias ni antecedentes médicos de interés .".split()
    table.write_text("".join(f"{word}\tX\tO\n" for word in words))
    with pytest.raises(ValueError, match=r"no text of .*pos\.conll has 8 words"):
        judged("text", [*files, str(table)])
    assert isinstance(judged("text", [*files, str(table)], min_words=1), Document)


def test_characters_count_in_chinese(files):
    part = "关于高血压病患者长期药物治疗原则的叙述中，哪一项是不正"
    assert len(part) == 27  # with the comma
    assert judged(f"我们{part}好", files).detail.endswith("exam.jsonl: 1")
    assert isinstance(judged(f"我们{part[:-1]}好", files), Document)


def test_a_cut_takes_margins_and_numbers_the_pieces(files):
    before, after = "before " * 10, "after " * 10
    text = f"{before}{QUESTION} {after}"
    settings = {"action": "cut", "margin": 14, "min_piece": 20}
    pieces = judged(text, files, **settings)
    # Two words (14 characters) on each side go with the question.
    assert [piece.text for piece in pieces] == [
        " ".join(["before"] * 8),
        " ".join(["after"] * 8),
    ]
    assert [piece.id for piece in pieces] == ["1#1", "1#2"]
    # One side alone is the document itself; nothing left removes it.
    assert judged(f"{before}{QUESTION}", files, **settings).id == "1"
    assert judged(QUESTION, files, **settings).reason == "in an evaluation set"
    many = judged(text * 3, files, **settings, max_pieces=3)
    assert many == Removed("in many pieces without evaluation sets", "4")


def test_ngrams_are_equal_exactly_where_words_are():
    words = "a b c a b c a b d".split()
    grams = ngrams(hashes(words), 3)
    plain = [tuple(words[i : i + 3]) for i in range(7)]
    for i in range(7):
        for j in range(7):
            assert (grams[i] == grams[j]) == (plain[i] == plain[j])
    assert len(ngrams(hashes(words), 10)) == 0
    # The same on every machine: hashes go to files.
    fever = int.from_bytes(hashlib.blake2b(b"fever", digest_size=8).digest(), "little")
    assert hashes(["Fever", "fever", "ｆｅｖｅｒ"]).tolist() == [fever] * 3
    assert np.unique(ngrams(hashes([str(i) for i in range(10_000)]), 5)).size == 9996


def test_settings_are_checked_and_the_index_is_not_pickled(files, tmp_path):
    step = Contamination(files=files)
    step(Document("x", "1", "web"))
    assert len(pickle.dumps(step)) < 2000
    for settings, message in (
        ({"files": []}, "files is empty"),
        ({"files": ["nowhere.tsv"]}, "no file nowhere.tsv"),
        ({"files": files, "min_words": 14}, "rising order"),
        ({"files": files, "action": "keep"}, "action is 'keep'"),
    ):
        with pytest.raises(ValueError, match=message):
            Contamination(**settings)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"question": \n')
    with pytest.raises(ValueError, match=r"broken.jsonl:1: no JSON"):
        judged("x", [str(broken)])
