"""Scores of multiple choice, with one right answer or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmt5.metrics.metric import Metric, Record, mean_of


def choice_counts(records: Sequence[Record]) -> np.ndarray:
    """(all right, unanswered, shared part, 1) of each question."""
    rows = []
    for record in records:
        gold, predicted = set(record["gold"]), set(record["predicted"])
        shared = len(gold & predicted) / len(gold | predicted)
        rows.append((gold == predicted, not predicted, shared, 1))
    return np.array(rows, float).reshape(-1, 4)


METRICS = [
    Metric(
        "accuracy", "choice", choice_counts, mean_of(0),
        "questions whose set of answers is exactly right",
    ),
    Metric(
        "unanswered", "choice", choice_counts, mean_of(1),
        "questions without a readable answer; they count as wrong",
    ),
    Metric(
        "hamming", "choice", choice_counts, mean_of(2),
        "right answers given / answers right or given, mean over questions (FrenchMedMCQA's "
        "Hamming score, a Jaccard index)",
    ),
]  # fmt: skip
