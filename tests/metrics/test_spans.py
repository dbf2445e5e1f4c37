"""Span scores by hand, against seqeval and against nervaluate."""

import numpy as np
import pytest
from seqeval.metrics import classification_report

from medmt5.formats.spans import spans_of
from medmt5.metrics import METRICS, precision_recall_f1, score, span_f1


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


def record(gold, predicted, words=12):
    return {"words": ["w"] * words, "gold": gold, "predicted": predicted}


def test_near_misses_worked_by_hand():
    gold = [[0, 3, "Disease"], [5, 6, "Chemical"], [8, 10, "Disease"], [11, 12, "Chemical"]]
    # Right; right words, wrong label; one word short; missed; and one where nothing is.
    found = [[0, 3, "Disease"], [5, 6, "Disease"], [8, 9, "Disease"], [7, 8, "Chemical"]]
    scores = score(
        [record(gold, found)], ["f1", "strict_f1", "boundary_f1", "partial_f1", "type_f1"]
    )
    # Four spans on each side, so F1 is the credit / 4.
    assert scores == {
        "f1": 25,
        "strict_f1": 25,
        "boundary_f1": 50,  # the second has the right words
        "partial_f1": 62.5,  # and the third half of a point
        "type_f1": 50,  # the first and the third have the right label
    }


def test_one_prediction_across_two_gold_spans_uses_up_only_one():
    gold, found = [[0, 2, "A"], [2, 4, "A"]], [[0, 4, "A"]]
    # Half a point: precision 1/2, recall 1/4, F1 = 2 * 0.5 / (1 + 2).
    assert score([record(gold, found)], ["partial_f1"])["partial_f1"] == pytest.approx(100 / 3)


def random_records(seed, spans=6, words=30):
    rng = np.random.default_rng(seed)

    def draw():
        cuts = np.sort(rng.choice(words, 2 * spans, replace=False)).reshape(-1, 2).tolist()
        return [[a, b, str(rng.choice(["A", "B", "C"]))] for a, b in cuts]

    made = []
    for _ in range(20):
        gold = draw()
        kept = [span for span in gold if rng.random() < 0.5]
        more = [s for s in draw() if all(s[1] <= a or b <= s[0] for a, b, _ in kept)]
        made.append(record(gold, [*kept, *more], words))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_near_misses_equal_nervaluate(seed):
    nervaluate = pytest.importorskip("nervaluate")

    def entities(spans):
        return [{"label": x, "start": a, "end": b - 1} for a, b, x in sorted(spans)]

    records = random_records(seed)
    theirs = nervaluate.Evaluator(
        [entities(r["gold"]) for r in records],
        [entities(r["predicted"]) for r in records],
        tags=["A", "B", "C"],
        loader="dict",
    ).evaluate()["overall"]
    names = {"strict": "strict", "exact": "boundary", "partial": "partial", "ent_type": "type"}
    for scenario, ours in names.items():
        for part in ("precision", "recall", "f1"):
            want = 100 * getattr(theirs[scenario], part)
            assert 0 < want < 100
            assert METRICS[f"{ours}_{part}"](records) == pytest.approx(want)


def test_strict_equals_exact_match_where_spans_do_not_overlap():
    records = random_records(7)
    assert METRICS["strict_f1"](records) == pytest.approx(METRICS["f1"](records))
    both = span_f1([r["gold"] for r in records], [r["predicted"] for r in records])
    for name in ("precision", "recall", "f1"):
        assert METRICS[name](records) == pytest.approx(both[name])


def test_lengths_are_counted_apart():
    gold = [[0, 1, "A"], [2, 3, "A"], [4, 6, "A"], [7, 12, "A"]]
    found = [[0, 1, "A"], [3, 4, "A"], [4, 6, "A"], [7, 10, "A"]]
    table = score([record(gold, found)], ["per_length"])["per_length"]
    assert list(table) == ["1", "2", "3", "4+"]
    assert (table["1"]["precision"], table["1"]["recall"], table["1"]["support"]) == (50, 50, 2)
    assert table["2"]["f1"] == 100
    # Predicted with three words, there with five: wrong in both rows.
    assert (table["3"]["precision"], table["3"]["support"]) == (0, 0)
    assert (table["4+"]["recall"], table["4+"]["support"]) == (0, 1)


def test_scores_of_labelling_hold_the_table_by_label():
    records = random_records(1)
    scores = score(records)
    golds, found = [r["gold"] for r in records], [r["predicted"] for r in records]
    assert scores["per_label"] == span_f1(golds, found)["per_label"]
    assert scores["support"] == 120
