"""ROUGE by hand, against rouge-score, and where rouge-score knows no letters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.metrics import METRICS, score
from medmt5.metrics.rouge import longest_common

NAMES = ["rouge1", "rouge2", "rougeL"]


def test_scores_worked_by_hand():
    record = {"references": ["the heart fails with age"], "predicted": "With age the heart stops"}
    scores = score([record], NAMES)
    assert scores["rouge1"] == pytest.approx(80)  # the, heart, with, age of five and five
    assert scores["rouge2"] == pytest.approx(50)  # "the heart", "with age" of four and four
    assert scores["rougeL"] == pytest.approx(40)  # either pair in order


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_rouge_score(seed):
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    rng = np.random.default_rng(seed)
    words = "The heart, LUNG-pain fever (no) of acute. chronic patient with 3.5 mg".split()
    records = [
        {
            "references": [" ".join(rng.choice(words, rng.integers(1, 25))) for _ in range(2)],
            "predicted": " ".join(rng.choice(words, rng.integers(1, 25))),
        }
        for _ in range(20)
    ]
    scorer = rouge_scorer.RougeScorer(NAMES)
    theirs = [scorer.score_multi(r["references"], r["predicted"]) for r in records]
    for name in NAMES:
        want = 100 * np.mean([scores[name].fmeasure for scores in theirs])
        assert 0 < want < 100
        assert METRICS[name](records) == pytest.approx(want)


@pytest.mark.parametrize(
    "text",
    ["Острая боль в груди", "急性肺栓塞", "急性の胸の痛み", "Οξεία στεφανιαία νόσος"],
)
def test_a_text_agrees_with_itself_in_any_script(text):
    record = {"references": [text], "predicted": text}
    assert score([record], NAMES) == dict.fromkeys(NAMES, pytest.approx(100))
    # rouge-score finds no token in it.
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    assert rouge_scorer.RougeScorer(["rouge1"]).score(text, text)["rouge1"].fmeasure == 0


def test_a_wrong_chinese_text_does_not_score_full():
    record = {"references": ["急性肺栓塞"], "predicted": "急性胃炎", "lang": "zh"}
    # Two of four and five characters.
    assert METRICS["rouge1"]([record]) == pytest.approx(100 * 4 / 9)


def test_empty_texts_score_zero():
    for found, wanted in (("", "pain"), ("pain", ""), ("", "")):
        assert METRICS["rougeL"]([{"references": [wanted], "predicted": found}]) == 0


@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_the_longest_common_subsequence_equals_the_usual_table(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i in range(len(a)):
        for j in range(len(b)):
            longer = max(table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else longer
    assert longest_common(a, b) == table[-1, -1]
