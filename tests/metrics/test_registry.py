"""Metrics by name, and averages over languages."""

import subprocess
import sys

import numpy as np
import pytest

from medmt5.metrics import METRICS, Metric, interval, intervals, macro, micro, score
from medmt5.metrics.metric import mean_of

CHOICE = {"gold": ["A"], "predicted": ["A"], "options": 4}
TEXT = {"references": ["pain"], "predicted": "no pain"}
# Accuracies of MMedBench's README, by LANGUAGES, and the average it prints.
PUBLISHED = {
    "MMed-Llama 3": ((66.06, 79.25, 61.81, 55.63, 75.39, 68.38), 67.75),
    "MMedLM 2": ((61.74, 80.01, 61.81, 52.09, 80.47, 67.65), 67.30),
    "BLOOMZ": ((43.28, 58.06, 32.66, 26.37, 62.89, 47.34), 45.10),
}
LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es")


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_macro_average_is_that_of_the_leaderboard(model):
    row, average = PUBLISHED[model]
    # Both are rounded to two digits.
    assert macro(dict(zip(LANGUAGES, row, strict=True))) == pytest.approx(average, abs=0.01)


def test_the_printed_average_of_gpt4_is_not_that_of_its_row():
    row = (78.00, 75.07, 72.91, 56.59, 83.62, 85.67)
    assert macro(dict(zip(LANGUAGES, row, strict=True))) == pytest.approx(75.31, abs=0.005)  # 74.27


def test_micro_counts_each_question_and_macro_each_language():
    wrong = CHOICE | {"predicted": ["B"]}
    records = {"en": [CHOICE] * 9 + [wrong], "ja": [CHOICE, wrong]}
    accuracy = METRICS["accuracy"]
    assert micro(accuracy, records) == pytest.approx(100 * 10 / 12)
    assert macro({lang: accuracy(each) for lang, each in records.items()}) == pytest.approx(70)


def test_an_average_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no scores"):
        macro({})


def test_defaults_are_those_of_the_kind():
    assert list(score([CHOICE])) == ["accuracy", "unanswered", "hamming"]
    assert "rouge1" in score([TEXT]) and "token_f1" in score([TEXT])


def test_intervals_are_those_of_each_metric_that_is_scored():
    records = [CHOICE, CHOICE, CHOICE | {"predicted": ["B"]}, CHOICE | {"predicted": []}]
    found = intervals(records, samples=50, seed=2)
    assert list(found) == ["accuracy", "unanswered", "hamming"]
    for name, bounds in found.items():
        assert bounds == interval(METRICS[name], records, samples=50, seed=2)


def test_a_misspelt_metric_gets_near_names():
    with pytest.raises(ValueError, match="no metric 'acuracy'; did you mean accuracy"):
        score([CHOICE], ["acuracy"])
    with pytest.raises(ValueError, match="no metric 'zzz'; choice: accuracy, "):
        score([CHOICE], ["zzz"])


@pytest.mark.parametrize("name", ["f1", "rouge1", "per_label"])
def test_a_metric_for_other_records_names_those_that_fit(name):
    with pytest.raises(ValueError, match=f"metric {name} is for .* fits: accuracy, hamming"):
        score([CHOICE], [name])


def test_a_metric_of_ones_own_is_scored_beside_the_others():
    def counts(records):
        return np.array([(len(record["predicted"]), 1) for record in records])

    answers = Metric("answers", "choice", counts, mean_of(0), "answers per question")
    assert score([CHOICE], [answers, "accuracy"]) == {"answers": 100, "accuracy": 100}


def test_metrics_that_share_counts_are_counted_once(monkeypatch):
    from medmt5.metrics import registry

    calls = []

    def counts(records):
        calls.append(len(records))
        return np.ones((len(records), 2))

    for name in ("one", "two"):
        made = Metric(name, "text", counts, mean_of(0), "")
        monkeypatch.setitem(registry.METRICS, name, made)
    score([TEXT], ["one", "two"])
    assert calls == [1]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_value_takes_many_sums_at_once_and_stays_within_bounds(metric):
    # Sums as they may be: shares of what was found and what is there.
    rng = np.random.default_rng(0)
    width = {"bleu": 10, "bleu1": 10}.get(metric.name.split("_")[0], 4)
    whole = rng.integers(1, 50, 30)[:, None]
    sums = np.concatenate([rng.integers(0, whole, (30, width - 1)), whole], axis=1).astype(float)
    if width == 10:
        sums[:, 4:8] = sums[:, :4] + rng.integers(0, 9, (30, 4))
    if metric.value in (METRICS[n].value for n in ("precision", "recall", "f1")):
        sums[:, 1:3] += sums[:, :1]
    values = metric.value(sums)
    assert values.shape == (30,)
    assert (values >= 0).all() and (values <= 100 + 1e-9).all()  # rounding of the last digit
    assert np.allclose(values, [metric.value(row) for row in sums])
    assert metric.value(np.zeros(width)) == 0


def test_importing_metrics_brings_nothing_heavy():
    code = (
        "import sys, medmt5.metrics, medmt5.score; heavy = {'jax', 'tensorflow', 'torch', "
        "'transformers', 'nltk', 'jieba', 'janome', 'sacrebleu', 'rouge_score', 'seqio'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
