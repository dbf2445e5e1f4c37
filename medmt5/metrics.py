"""Scores on plain Python values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


def precision_recall_f1(correct: int, predicted: int, gold: int) -> dict[str, float]:
    """Percentages; 0 where nothing was predicted or nothing is there, as in seqeval."""
    precision = 100.0 * correct / predicted if predicted else 0.0
    recall = 100.0 * correct / gold if gold else 0.0
    total = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / total if total else 0.0,
        "support": gold,
    }


def span_f1(
    golds: Sequence[Sequence[tuple[int, int, str]]],
    predictions: Sequence[Sequence[tuple[int, int, str]]],
) -> dict[str, Any]:
    """Entity-level exact-match scores: micro over all labels, and per label.

    Args:
      golds: spans of each sentence.
      predictions: predicted spans of each sentence, in the same order; only start, end and label
        count.

    Returns:
      `precision`, `recall`, `f1` in percent, `support` in spans, and `per_label` with the same.

    Raises:
      ValueError: not as many predictions as golds.

    Source: CoNLL-2003; equal to seqeval's micro average in its default mode.
    """
    if len(golds) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(golds)} sentences")
    correct: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    for expected, found in zip(golds, predictions, strict=True):
        have = {tuple(span[:3]) for span in found}
        want = {tuple(span[:3]) for span in expected}
        correct.update(label for *_, label in want & have)
        predicted.update(label for *_, label in have)
        gold.update(label for *_, label in want)
    scores: dict[str, Any] = precision_recall_f1(correct.total(), predicted.total(), gold.total())
    scores["per_label"] = {
        label: precision_recall_f1(correct[label], predicted[label], gold[label])
        for label in sorted(gold.keys() | predicted.keys())
    }
    return scores
