"""Exact match, token F1 and containment of short answers."""

import re
import string
from collections import Counter

import pytest

from medmt5.metrics import METRICS, score

NAMES = ["exact_match", "token_f1", "contains"]


def answer(predicted, *references, lang="en"):
    return {"references": list(references), "predicted": predicted, "lang": lang}


def test_scores_worked_by_hand():
    assert score([answer("The aspirin.", "aspirin")], NAMES) == dict.fromkeys(NAMES, 100)
    # "low dose aspirin" and "aspirin therapy" share one word of three and two.
    scores = score([answer("low dose aspirin", "aspirin therapy")], NAMES)
    assert scores == {"exact_match": 0, "token_f1": pytest.approx(40), "contains": 0}


def test_the_reference_that_suits_best_counts():
    assert METRICS["exact_match"]([answer("ASA", "aspirin", "ASA")]) == 100


def test_an_answer_is_contained_by_words_not_by_letters():
    assert METRICS["contains"]([answer("it is the renal artery", "renal artery")]) == 100
    assert METRICS["contains"]([answer("adrenal artery", "renal artery")]) == 0


@pytest.mark.parametrize(
    "lang, predicted, reference",
    [
        ("fr", "L'insuffisance cardiaque", "insuffisance cardiaque"),
        ("es", "la insuficiencia cardíaca", "Insuficiencia cardíaca."),
        ("it", "L’infarto", "infarto"),
        ("ru", "«Инфаркт миокарда»", "инфаркт миокарда"),
        ("zh", "心 肌梗死。", "心肌梗死"),
        ("ja", "心筋梗塞、", "心筋梗塞"),
    ],
)
def test_answers_in_other_languages_agree_but_for_articles_and_punctuation(
    lang, predicted, reference
):
    assert score([answer(predicted, reference, lang=lang)], NAMES) == dict.fromkeys(NAMES, 100)


def test_part_of_a_chinese_answer_scores_by_character():
    # Three characters of three and five.
    assert METRICS["token_f1"]([answer("肺栓塞", "急性肺栓塞", lang="zh")]) == pytest.approx(75)


def test_blood_group_a_is_not_the_article():
    assert METRICS["exact_match"]([answer("A", "the")]) == 0
    assert METRICS["exact_match"]([answer("A", "a")]) == 100


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_answer_is_right_only_where_nothing_is_asked(name):
    assert METRICS[name]([answer("", "aspirin")]) == 0
    assert METRICS[name]([answer("", "")]) == 100


def squad_words(text):
    """The published normalisation: lower, no ASCII punctuation, no articles."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


@pytest.mark.parametrize(
    "predicted, reference",
    [
        ("The left-sided heart failure", "a left sided failure of the heart"),
        ("5-HT3 (serotonin) antagonist", "serotonin antagonist, an antiemetic"),
        ("pH < 7.35 & pCO2 > 45", "a pH of 7.35"),
        ("Crohn's disease", "the crohns disease"),
        ("it is it", "it it it"),
    ],
)
def test_english_equals_the_published_scores_of_squad(predicted, reference):
    found, wanted = squad_words(predicted), squad_words(reference)
    shared = (Counter(found) & Counter(wanted)).total()
    f1 = 100 * 2 * shared / (len(found) + len(wanted))
    record = answer(predicted, reference)
    assert METRICS["token_f1"]([record]) == pytest.approx(f1)
    assert METRICS["exact_match"]([record]) == 100 * (found == wanted)
