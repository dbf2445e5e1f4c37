"""Span scores by hand and against seqeval."""

import numpy as np
import pytest
from seqeval.metrics import classification_report

from medmt5.formats.spans import spans_of
from medmt5.metrics import precision_recall_f1, span_f1


def test_scores_of_a_sentence_worked_by_hand():
    gold = [[(0, 2, "Disease"), (3, 4, "Chemical"), (5, 6, "Chemical")]]
    # One right, one with the wrong label, one too long, one more.
    found = [[(0, 2, "Disease"), (3, 4, "Disease"), (5, 7, "Chemical"), (8, 9, "Chemical")]]
    scores = span_f1(gold, found)
    # 1 of 4 found, 1 of 3 there: F1 = 2 / (4 + 3).
    assert scores["precision"] == 25
    assert scores["recall"] == pytest.approx(100 / 3)
    assert scores["f1"] == pytest.approx(200 / 7)
    assert scores["support"] == 3
    assert scores["per_label"]["Disease"]["precision"] == 50
    assert scores["per_label"]["Disease"]["recall"] == 100
    assert scores["per_label"]["Chemical"]["f1"] == 0


def test_nothing_predicted_and_nothing_there_scores_zero():
    assert precision_recall_f1(0, 0, 0) == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert span_f1([[]], [[]])["f1"] == 0


def test_the_same_span_in_another_sentence_does_not_count():
    assert span_f1([[(0, 1, "A")], []], [[], [(0, 1, "A")]])["f1"] == 0


def test_scores_of_spans_are_ignored():
    assert span_f1([[(0, 1, "A")]], [[(0, 1, "A", 0.3)]])["f1"] == 100


def test_a_missing_prediction_is_an_error():
    with pytest.raises(ValueError, match="1 predictions for 2 sentences"):
        span_f1([[], []], [[]])


@pytest.mark.filterwarnings("ignore::UserWarning")  # seqeval's, about labels nobody predicted
@pytest.mark.parametrize("seed", range(10))
def test_scores_equal_seqeval_on_random_tags(seed):
    rng = np.random.default_rng(seed)
    kinds = ["O", "B-A", "I-A", "B-B", "I-B", "B-C", "I-C"][: 3 + 2 * (seed % 3)]
    lengths = rng.integers(1, 20, 12)
    gold = [rng.choice(kinds, n).tolist() for n in lengths]
    # Two thirds of the tags are right, so that whole spans are too.
    found = [[t if rng.random() < 0.67 else str(rng.choice(kinds)) for t in tags] for tags in gold]
    scores = span_f1([spans_of(tags) for tags in gold], [spans_of(tags) for tags in found])
    report = classification_report(gold, found, output_dict=True, zero_division=0)
    assert 0 < scores["f1"] < 100

    def assert_equal(ours, theirs):
        for key in ("precision", "recall"):
            assert ours[key] == pytest.approx(100 * theirs[key])
        assert ours["f1"] == pytest.approx(100 * theirs["f1-score"])
        assert ours["support"] == theirs["support"]

    assert_equal(scores, report["micro avg"])
    assert scores["per_label"].keys() == report.keys() - {"micro avg", "macro avg", "weighted avg"}
    for label, values in scores["per_label"].items():
        assert_equal(values, report[label])
