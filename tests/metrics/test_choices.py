"""Multiple choice with one right answer or several."""

import pytest

from medmt5.metrics import score


def choice(gold, predicted, **more):
    return {"gold": list(gold), "predicted": list(predicted), "options": 5, **more}


def test_only_the_whole_set_of_answers_counts():
    records = [choice("B", "B"), choice("AC", "CA"), choice("AC", "A"), choice("AC", "ACD")]
    assert score(records, ["accuracy"]) == {"accuracy": 50}


def test_part_of_the_answers_counts_in_the_hamming_score():
    # 2 of 2; 1 of {A, C}; 2 of {A, C, D}; none of {A, B}; no answer.
    records = [choice("AC", p) for p in ("AC", "A", "ACD")] + [choice("A", "B"), choice("A", "")]
    scores = score(records)
    assert scores["hamming"] == pytest.approx(100 * (1 + 1 / 2 + 2 / 3) / 5)
    assert scores["unanswered"] == 20
    assert scores["accuracy"] == 20


def test_an_answer_given_twice_counts_once():
    assert score([choice("A", "AA")])["accuracy"] == 100


def test_rationales_are_scored_where_they_are():
    records = [
        choice("A", "A", rationale="the heart fails", predicted_rationale="the heart fails"),
        choice("A", "B", rationale="no fever", predicted_rationale="high fever"),
        choice("A", "A", rationale="", predicted_rationale="said for nothing"),
        choice("A", "A"),
    ]
    scores = score(records)
    assert scores["accuracy"] == 75
    # The means are over the two that have a reference: 1 and 1 of 2 words.
    assert scores["rationale_rouge1"] == scores["rationale_bleu1"] == pytest.approx(75)


def test_scores_of_rationales_that_nobody_gave_are_an_error():
    with pytest.raises(ValueError, match="no record has a rationale"):
        score([choice("A", "A")], ["rationale_rouge1"])
