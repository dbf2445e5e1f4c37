"""Calibration figures of predicted spans: by hand, by simulation, and what is refused."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from medmt5.calibration import Correction
from medmt5.metrics import span_f1

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reliability as tool  # noqa: E402 (the tools folder is no package)


def spans(*scored, gold=5):
    scores, correct = zip(*scored, strict=True)
    return tool.Spans(np.array(scores), np.array(correct, bool), gold)


SIX = spans((0.1, 0), (0.9, 1), (0.2, 1), (0.7, 0), (0.6, 1), (0.8, 1))


def drawn(scores, probabilities, seed=0):
    """Spans that are right with the given probabilities."""
    draws = np.random.default_rng(seed).random(len(scores))
    return tool.Spans(scores, draws < probabilities, len(scores))


def write(path, sentences):
    """A prediction file; sentences are pairs of gold and predicted spans."""
    lines = [
        json.dumps({"words": ["w"] * 9, "gold": gold, "predicted": predicted}) + "\n"
        for gold, predicted in sentences
    ]
    path.write_text("".join(lines))
    return str(path)


def test_six_spans_by_hand():
    found = tool.measure(SIX, 2)
    assert found["mean_score"] == pytest.approx(3.3 / 6)
    assert found["precision"] == pytest.approx(4 / 6)
    # (0.1^2 + 0.1^2 + 0.8^2 + 0.7^2 + 0.4^2 + 0.2^2) / 6, and 2/3 * 1/3
    assert found["brier"] == pytest.approx(1.35 / 6)
    assert found["brier_constant"] == pytest.approx(2 / 9)

    low, high = found["equal_mass"]["bins"]  # 0.1 0.2 0.6 and 0.7 0.8 0.9
    assert (low["spans"], low["correct"], low["lowest_score"], low["highest_score"]) == (
        (3, 2, 0.1, 0.6)
    )
    assert (low["mean_score"], low["precision"]) == pytest.approx((0.3, 2 / 3))
    assert (high["mean_score"], high["precision"]) == pytest.approx((0.8, 2 / 3))
    assert found["equal_mass"]["ece"] == pytest.approx((2 / 3 - 0.3) / 2 + (0.8 - 2 / 3) / 2)

    low, high = found["equal_width"]["bins"]  # 0.1 0.2 and 0.6 0.7 0.8 0.9
    assert (low["spans"], low["mean_score"], low["precision"]) == pytest.approx((2, 0.15, 0.5))
    assert (high["spans"], high["mean_score"], high["precision"]) == pytest.approx((4, 0.75, 0.75))
    assert found["equal_width"]["ece"] == pytest.approx(2 / 6 * 0.35)

    rows = {row["threshold"]: row for row in found["thresholds"]}
    assert max(rows) == 0.9  # nothing is left above
    # 0.7, 0.8 and 0.9 are left: 2 of 3 right, 2 of 5 found.
    kept = [rows[0.7][name] for name in ("kept", "precision", "recall", "f1")]
    assert kept == pytest.approx([3, 200 / 3, 40, 50])


def test_a_score_on_an_edge_is_above_it_and_equal_scores_share_a_bin():
    found = tool.measure(spans((0.5, 0), (0.5, 1), (0.5, 1), (0.9, 1), (0.3, 0)), 5)
    assert [b["spans"] for b in found["equal_mass"]["bins"]] == [1, 3, 1]
    tenths = tool.bin_spans(spans((0.3, 0), (1.0, 1)), tool.equal_width(10))
    assert [b["bin"] for b in tenths] == [3, 9]


@pytest.mark.parametrize(
    "correct, count, interval",
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_intervals_are_those_of_newcombe_1998_table_1(correct, count, interval):
    assert tool.wilson(correct, count) == pytest.approx(interval, abs=5e-5)


def test_all_right_and_all_wrong_stay_within_0_and_1():
    for count in range(1, 500):
        assert 0 <= tool.wilson(0, count)[0] < tool.wilson(0, count)[1] < 1
        assert 0 < tool.wilson(count, count)[0] < tool.wilson(count, count)[1] <= 1


def test_the_error_by_chance_is_that_of_simulated_true_scores():
    scores = np.random.default_rng(1).beta(4, 1, 400)
    errors = [tool.measure(drawn(scores, scores, seed), 10) for seed in range(400)]
    mean = np.mean([found["equal_mass"]["ece"] for found in errors])
    # The mean of 400 draws has a standard error of about 1 %; the rest is the normal approximation.
    assert mean == pytest.approx(errors[0]["equal_mass"]["ece_by_chance"], rel=0.05)


def test_true_scores_have_an_error_near_chance_and_false_ones_are_corrected():
    rng = np.random.default_rng(2)
    scores = 1 / (1 + np.exp(-rng.normal(5, 3, 20_000)))
    true = tool.measure(drawn(scores, scores), 10)["equal_mass"]
    assert true["ece"] < 2 * true["ece_by_chance"]

    worth = Correction(0.35, -1.0).apply(scores)
    development, test = drawn(scores, worth, 3), drawn(scores, worth, 4)
    correction = tool.fit(development.scores, development.correct)
    # 3 standard errors, as the curvature of the likelihood has them: 0.006 and 0.03.
    assert correction.slope == pytest.approx(0.35, abs=0.02)
    assert correction.intercept == pytest.approx(-1.0, abs=0.1)
    before = tool.measure(test, 10)
    after = tool.measure(test._replace(scores=correction.apply(scores)), 10)
    assert before["equal_mass"]["ece"] > 0.1
    assert after["equal_mass"]["ece"] < 2 * after["equal_mass"]["ece_by_chance"]
    assert after["brier"] < before["brier"]


def test_the_fit_is_the_maximum_of_the_likelihood():
    found = tool.fit(SIX.scores, SIX.correct)
    p = found.apply(SIX.scores)
    logits = np.log(SIX.scores / (1 - SIX.scores))
    # The likelihood is concave, so where both derivatives are 0 is its only maximum.
    assert np.sum(p - SIX.correct) == pytest.approx(0, abs=1e-6)
    assert np.sum((p - SIX.correct) * logits) == pytest.approx(0, abs=1e-6)


def test_scores_of_0_and_1_can_be_corrected_and_a_correction_undone():
    correction = Correction(0.3, -1.0)
    low, high = correction.apply(np.array([0.0, 1.0]))
    assert 0 < low < high < 1
    middle = float(correction.apply(np.array(0.97)))
    assert correction.undo(middle) == pytest.approx(0.97)


@pytest.mark.parametrize(
    "development, message",
    [
        (spans((0.2, 0), (0.4, 0), (0.7, 0)), "0 of 3 development spans are right"),
        (
            spans((0.2, 0), (0.4, 0), (0.7, 1)),
            "1 of 3 development spans are right",
        ),  # told apart at 0.5
        (spans((0.2, 1), (0.4, 0), (0.7, 1), (0.9, 0)), "not more often right"),
    ],
)
def test_what_cannot_be_fitted_is_said(development, message):
    with pytest.raises(ValueError, match=message):
        tool.fit(development.scores, development.correct)


SENTENCES = [
    ([[0, 2, "A"], [3, 4, "A"]], [[0, 2, "A", 0.95], [3, 4, "B", 0.55]]),
    ([], [[5, 6, "A", 0.62]]),
    ([[1, 2, "B"], [7, 9, "A"]], [[1, 2, "B", 0.81], [7, 9, "A", 0.58], [3, 4, "A", 0.9]]),
]


def test_files_to_figures_table_and_plot(tmp_path, capsys):
    test = write(tmp_path / "test.jsonl", SENTENCES)
    more = write(tmp_path / "more.jsonl", [([[0, 1, "A"]], [])])
    dev = write(tmp_path / "dev.jsonl", SENTENCES)
    figures, svg = tmp_path / "out" / "figures.json", tmp_path / "out" / "plot.svg"
    tool.main([test, more, "--fit", dev, "--bins", "3", "--json", str(figures), "--svg", str(svg)])
    found = json.loads(figures.read_text())
    assert (found["predictions"], found["fit"]["files"]) == ([test, more], [dev])

    # Nothing is dropped at 0: the scores that `medmt5 eval` prints for both files together.
    everything = span_f1(
        [[tuple(span) for span in gold] for gold, _ in SENTENCES] + [[(0, 1, "A")]],
        [[tuple(span) for span in predicted] for _, predicted in SENTENCES] + [[]],
    )
    row = found["predicted"]["thresholds"][0]
    assert row["threshold"] == 0 and row["kept"] == 6
    assert {name: row[name] for name in ("precision", "recall", "f1")} == {
        name: everything[name] for name in ("precision", "recall", "f1")
    }
    # A corrected threshold is another one on the scores as they are.
    scores = np.array([span[3] for _, predicted in SENTENCES for span in predicted])
    for row in found["corrected"]["thresholds"]:
        assert (scores >= row["min_score"]).sum() == row["kept"]

    printed = capsys.readouterr().out
    for title in ("predicted", "corrected"):
        ece = found[title]["equal_mass"]["ece"]
        assert f"{title} scores: 6 spans" in printed
        assert f"expected calibration error {ece:.4f} in 3 equal-mass bins" in printed
        assert f"{title}: calibration error {ece:.3f}" in svg.read_text()


def test_the_plot_has_each_bin_where_it_belongs():
    root = ElementTree.fromstring(tool.plot({"predicted": tool.measure(SIX, 2)}, 2))
    name = "{http://www.w3.org/2000/svg}"
    dots = [(float(e.get("cx")), float(e.get("cy"))) for e in root.iter(f"{name}circle")]
    floor = tool.TOP + tool.SIDE
    assert dots == [  # to the digit that is written
        pytest.approx((tool.LEFT + x * tool.SIDE, floor - y * tool.SIDE), abs=0.05)
        for x, y in ((0.15, 0.5), (0.75, 0.75))
    ]
    bars = [e for e in root.iter(f"{name}rect") if e.get("class") == "bar"]
    heights = [float(bar.get("height")) for bar in bars]
    assert heights == pytest.approx([(tool.BAND - 12) / 2, tool.BAND - 12])
    counts = [e.text for e in root.iter(f"{name}text") if e.get("class") == "count"]
    assert counts == ["2", "4"]
    texts = {e.text for e in root.iter(f"{name}text")}
    assert {"observed precision", "predicted probability", "spans"} <= texts


GOOD = '{"words": ["a"], "gold": [], "predicted": [[0, 1, "A", 0.5]]}\n'


@pytest.mark.parametrize(
    "line, message",
    [
        ("words", "p.jsonl:2: 'words' is not JSON"),
        ("", "p.jsonl:2: '' is not JSON"),
        ("[1]", "p.jsonl:2: '[1]' is not as `medmt5 eval` writes"),
        ('{"text": "a", "entities": []}', "is not as `medmt5 eval` writes"),
        ('{"gold": [], "predicted": [[0, 1]]}', "is not as `medmt5 eval` writes"),
        ('{"gold": [[0, "A", 1]], "predicted": []}', "is not as `medmt5 eval` writes"),
        ('{"gold": [], "predicted": [[0, 1, "A"]]}', "p.jsonl:2: predicted span [0, 1, 'A'] has"),
        ('{"gold": [], "predicted": [[0, 1, "A", 1.2]]}', "p.jsonl:2: score 1.2 is not"),
        ('{"gold": [], "predicted": [[0, 1, "A", NaN]]}', "p.jsonl:2: score nan is not"),
        ('{"gold": [], "predicted": [[0, 1, "A", "1"]]}', "p.jsonl:2: score '1' is not"),
    ],
)
def test_a_wrong_line_is_named(line, message, tmp_path, capsys):
    path = tmp_path / "p.jsonl"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(SystemExit) as exit_:
        tool.main([str(path)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_empty_and_too_few_are_said(tmp_path, capsys):
    empty, good = tmp_path / "empty.jsonl", tmp_path / "good.jsonl"
    empty.write_text("")
    good.write_text(GOOD)
    for arguments, message in (
        ([str(tmp_path / "none.jsonl")], "none.jsonl cannot be read: No such file"),
        ([str(empty)], "empty.jsonl: no predicted spans"),
        ([str(good), "--bins", "0"], "--bins 0 is too few"),
        ([str(good), "--fit", str(good)], "0 of 1 development spans are right"),
    ):
        with pytest.raises(SystemExit):
            tool.main(arguments)
        assert message in capsys.readouterr().err


def test_help_answers(capsys):
    with pytest.raises(SystemExit) as exit_:
        tool.main(["--help"])
    assert exit_.value.code == 0
    assert "--fit" in capsys.readouterr().out
