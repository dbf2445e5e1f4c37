"""Scores of labelled spans: exact, by label, by length, and with credit for near misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medmt5.metrics.metric import Metric, Record, f1, precision, recall

Spans = Sequence[tuple[int, int, str]]
# From this many words on, spans are of one length in `per_length`.
LONGEST = 4


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


def span_f1(golds: Sequence[Spans], predictions: Sequence[Spans]) -> dict[str, Any]:
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
    everything = _by_group(golds, predictions, lambda span: "all")
    scores: dict[str, Any] = everything.get("all") or precision_recall_f1(0, 0, 0)
    return scores | {"per_label": _by_group(golds, predictions, lambda span: span[2])}


def per_label(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Exact-match scores of each label, as in `span_f1`."""
    return _by_group(*_columns(records), lambda span: span[2])


def per_length(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Exact-match scores of spans of 1, 2, 3 and 4 or more words.

    Recall is of gold spans of that length, precision of predicted ones.
    """

    def length(span) -> str:
        words = span[1] - span[0]
        return str(words) if words < LONGEST else f"{LONGEST}+"

    return _by_group(*_columns(records), length)


def support(records: Sequence[Record]) -> int:
    """Gold spans."""
    return sum(len(_distinct(record["gold"])) for record in records)


def _by_group(
    golds: Sequence[Spans], predictions: Sequence[Spans], group: Callable[[Any], str]
) -> dict[str, dict[str, float]]:
    if len(golds) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(golds)} sentences")
    correct: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    for expected, found in zip(golds, predictions, strict=True):
        want, have = set(_distinct(expected)), set(_distinct(found))
        correct.update(map(group, want & have))
        predicted.update(map(group, have))
        gold.update(map(group, want))
    return {
        name: precision_recall_f1(correct[name], predicted[name], gold[name])
        for name in sorted(gold.keys() | predicted.keys())
    }


def _columns(records: Sequence[Record]) -> tuple[list[Spans], list[Spans]]:
    return [record["gold"] for record in records], [record["predicted"] for record in records]


def _distinct(spans: Spans) -> list[tuple[int, int, str]]:
    """Without scores and repetitions, in order of the text."""
    return sorted({(start, end, label) for start, end, label, *_ in spans})


def exact_counts(records: Sequence[Record]) -> np.ndarray:
    """(right, predicted, gold) spans of each sentence."""
    rows = []
    for record in records:
        want, have = _distinct(record["gold"]), _distinct(record["predicted"])
        rows.append((len(set(want) & set(have)), len(have), len(want)))
    return np.array(rows, float).reshape(-1, 3)


def _near_counts(same: Callable[[Any, Any], bool], near: float = 0.0):
    """Counts where each predicted span takes at most one gold span that it overlaps.

    A gold span that is the `same` gives 1, the one with the nearest boundaries first; any other
    gives `near`. Taken from left to right, each gold span once: nervaluate's rule.
    """

    def credit(gold: Spans, found: Spans) -> float:
        free, total = list(gold), 0.0
        for span in found:
            touched = [other for other in free if other[0] < span[1] and span[0] < other[1]]
            right = [other for other in touched if same(other, span)]
            if right:
                total += 1
                free.remove(min(right, key=lambda o: abs(o[0] - span[0]) + abs(o[1] - span[1])))
            elif touched:
                # Used up too: a wrong label is one error, not one missed and one too many.
                total += near
                free.remove(touched[0])
        return total

    def counts(records: Sequence[Record]) -> np.ndarray:
        rows = []
        for record in records:
            want, have = _distinct(record["gold"]), _distinct(record["predicted"])
            rows.append((credit(want, have), len(have), len(want)))
        return np.array(rows, float).reshape(-1, 3)

    return counts


def _family(prefix: str, counts, about: str) -> list[Metric]:
    parts = (("precision", precision), ("recall", recall), ("f1", f1))
    return [
        Metric(prefix + name, "labelling", counts, value, f"{name} of spans: {about}")
        for name, value in parts
    ]


METRICS = [
    *_family("", exact_counts, "words and label right, as seqeval"),
    *_family(
        "strict_",
        _near_counts(lambda a, b: a == b),
        "words and label right, by nervaluate's strict; differs from f1 only where spans overlap",
    ),
    *_family(
        "boundary_",
        _near_counts(lambda a, b: a[:2] == b[:2]),
        "words right, label ignored (nervaluate's exact)",
    ),
    *_family(
        "partial_",
        _near_counts(lambda a, b: a[:2] == b[:2], near=0.5),
        "words right 1, words shared 0.5, label ignored (nervaluate's partial)",
    ),
    *_family(
        "type_",
        _near_counts(lambda a, b: a[2] == b[2]),
        "label right and words shared (nervaluate's ent_type)",
    ),
]
TABLES = {"support": support, "per_label": per_label, "per_length": per_length}
