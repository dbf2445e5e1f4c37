"""ROUGE-1, ROUGE-2 and ROUGE-L (F), as rouge-score without stemming, in any script."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from medmt5.metrics.bleu import ngrams
from medmt5.metrics.metric import Counts, Metric, Record, mean_of
from medmt5.metrics.tokens import SEGMENTERS, Tokenizer, language_of, segmented, words

NAMES = ("rouge1", "rouge2", "rougeL")


def rouge(found: Sequence[str], reference: Sequence[str]) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of one text in tokens, as F in [0, 1]."""
    scores = []
    for n in (1, 2):
        have, want = ngrams(found, n), ngrams(reference, n)
        scores.append(_f((have & want).total(), have.total(), want.total()))
    common = longest_common(found, reference)
    return scores[0], scores[1], _f(common, len(found), len(reference))


def _f(shared: int, found: int, reference: int) -> float:
    return 2 * shared / (found + reference) if shared else 0.0


def longest_common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence.

    Bit i of `row` is 0 where a's first i + 1 tokens have one more in common with b's so far than
    its first i, so one addition of long integers does a row of the usual table.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    places: dict[Hashable, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full
    for token in b:
        met = row & places.get(token, 0)
        row = ((row + met) | (row - met)) & full
    return len(a) - row.bit_count()


def counts_with(tokenize: Tokenizer) -> Counts:
    """(ROUGE-1, ROUGE-2, ROUGE-L, 1) of text records, each with the reference that suits best."""

    def counts(records: Sequence[Record]) -> np.ndarray:
        rows = []
        for record in records:
            language = language_of(record["references"], record.get("lang", ""))
            found = tokenize(record["predicted"], language)
            scores = [rouge(found, tokenize(text, language)) for text in record["references"]]
            rows.append((*np.max(scores, axis=0), 1))
        return np.array(rows, float).reshape(-1, len(NAMES) + 1)

    return counts


def metrics(suffix: str = "", tokenize: Tokenizer = words, about: str = "") -> list[Metric]:
    """The family of ROUGE scores with a tokeniser."""
    counts = counts_with(tokenize)
    return [
        Metric(
            name + suffix, "text", counts, mean_of(i), f"mean of ROUGE-{name[5:]} (F){about}"
        )
        for i, name in enumerate(NAMES)
    ]  # fmt: skip


METRICS = metrics()
for _name, (_language, _) in SEGMENTERS.items():
    METRICS += metrics(f"_{_name}", segmented(_name, words), f", {_language} by {_name}")
