"""BLEU and ROUGE of rationales as MMedBench's released code computes them.

Its tables say BLEU-1 and ROUGE-1, its code returns BLEU-4 and ROUGE-L: both are here, with its
tokenisers (NLTK, jieba, Janome) and the rules of the libraries it calls. An empty prediction, at
which the released ROUGE stops, scores 0.

Source: github.com/MAGIC-AI4Med/MMedLM, metrics/rationale_similarity.py; NLTK's sentence_bleu with
smoothing method1; the package rouge 1.0.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from medmt5.metrics.bleu import ORDER, brevity_penalty, of_sentences, text_statistics
from medmt5.metrics.metric import Metric, Record, mean_of
from medmt5.metrics.tokens import janome, jieba, language_of, nltk

# Both are constants of the libraries.
EPSILON, NO_DIVISION_BY_ZERO = 0.1, 1e-8


def _tokens(text: str, language: str) -> list[str]:
    return {"zh": jieba, "ja": janome}.get(language, nltk)(text.strip(), language)


def _nltk_bleu(order: int):
    """NLTK's sentence BLEU in percent; where no n-gram is right, 0.1 counts as right."""

    def value(rows: Float[np.ndarray, "examples sums"]) -> Float[np.ndarray, " examples"]:
        right, found = rows[:, :order], np.maximum(rows[:, ORDER : ORDER + order], 1)
        logs = np.log(np.where(right == 0, EPSILON, right) / found)
        return 100 * (right[:, 0] > 0) * np.exp(logs.mean(axis=1)) * brevity_penalty(rows)

    return value


def rouge_sentences(text: str, language: str) -> list[list[str]]:
    """As the released code prepares them: zh and ja segmented, then cut at full stops and spaces.

    Punctuation and case stay. A stop between spaces leaves a sentence of one empty word.
    """
    if language in ("zh", "ja"):
        text = " ".join(_tokens(text, language))
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def rouge_counts(records: Sequence[Record]) -> np.ndarray:
    """(ROUGE-1, ROUGE-L, 1) of text records with one reference."""
    rows = []
    for record in records:
        (reference,) = record["references"]
        language = language_of([reference], record.get("lang", ""))
        found = rouge_sentences(record["predicted"].strip(), language)
        wanted = rouge_sentences(reference, language)
        have = {word for sentence in found for word in sentence}
        want = {word for sentence in wanted for word in sentence}
        # Words of each pair of sentences' longest common subsequence, each counted once in all.
        common = {word for a in wanted for b in found for word in common_words(a, b)}
        scores = [_f(len(shared), len(have), len(want)) for shared in (have & want, common)]
        rows.append((*scores, 1))
    return np.array(rows, float).reshape(-1, 3)


def _f(shared: int, found: int, reference: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / found, shared / reference
    return 2 * precision * recall / (precision + recall + NO_DIVISION_BY_ZERO)


def common_words(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """A longest common subsequence; of several, the one that the package rouge finds."""
    table = np.zeros((len(a) + 1, len(b) + 1), int).tolist()
    for i, word in enumerate(a, 1):
        above, row = table[i - 1], table[i]
        for j, other in enumerate(b, 1):
            row[j] = above[j - 1] + 1 if word == other else max(above[j], row[j - 1])
    found, i, j = [], len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            found.append(a[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found[::-1]


_STATISTICS = text_statistics(_tokens)
METRICS = [
    Metric(
        "mmedbench_bleu1", "text", of_sentences(_STATISTICS, _nltk_bleu(1)), mean_of(0),
        "BLEU-1 with MMedBench's tokenisers: what its table says",
    ),
    Metric(
        "mmedbench_bleu", "text", of_sentences(_STATISTICS, _nltk_bleu(ORDER)), mean_of(0),
        "BLEU-4 with MMedBench's tokenisers: what its code computes",
    ),
    Metric(
        "mmedbench_rouge1", "text", rouge_counts, mean_of(0),
        "ROUGE-1 with MMedBench's tokenisers: what its table says",
    ),
    Metric(
        "mmedbench_rouge", "text", rouge_counts, mean_of(1),
        "ROUGE-L with MMedBench's tokenisers: what its code computes",
    ),
]  # fmt: skip
