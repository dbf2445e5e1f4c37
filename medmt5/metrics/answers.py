"""Short answers against references: exact match, token F1, and whether the answer is in there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medmt5.metrics.metric import Metric, Record, mean_of
from medmt5.metrics.tokens import answer_words, language_of


def token_f1(found: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the tokens that both have, in [0, 1]; two empty texts agree (as in SQuAD 2)."""
    if not found or not reference:
        return float(found == reference)
    shared = (Counter(found) & Counter(reference)).total()
    return 2 * shared / (len(found) + len(reference))


def _within(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether the tokens are there in a row; no tokens are only in no tokens."""
    if not part:
        return not whole
    return any(
        whole[i : i + len(part)] == part
        for i in range(len(whole) - len(part) + 1)
        if whole[i] == part[0]
    )


def answer_counts(records: Sequence[Record]) -> np.ndarray:
    """(exact, token F1, contained, 1) of text records, each with the reference that suits best."""
    rows = []
    for record in records:
        language = language_of(record["references"], record.get("lang", ""))
        found = answer_words(record["predicted"], language)
        scores = []
        for text in record["references"]:
            reference = answer_words(text, language)
            scores.append(
                (found == reference, token_f1(found, reference), _within(reference, found))
            )
        rows.append((*np.max(scores, axis=0), 1))
    return np.array(rows, float).reshape(-1, 4)


METRICS = [
    Metric(
        "exact_match", "text", answer_counts, mean_of(0),
        "answers equal to a reference but for case, punctuation and articles, as SQuAD",
    ),
    Metric("token_f1", "text", answer_counts, mean_of(1), "mean F1 of tokens, as SQuAD"),
    Metric(
        "contains", "text", answer_counts, mean_of(2),
        "answers in which a reference stands, word for word",
    ),
]  # fmt: skip
