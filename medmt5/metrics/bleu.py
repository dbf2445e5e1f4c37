"""BLEU of a corpus and of sentences, as sacrebleu computes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from medmt5.metrics.metric import Counts, Metric, Record, mean_of
from medmt5.metrics.tokens import SEGMENTERS, Tokenizer, bleu_words, language_of, segmented

ORDER = 4


def statistics(found: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """What BLEU needs of one sentence, in tokens.

    Returns:
      n-grams found and right for n = 1 to 4, n-grams found, the length of what was found, and that
      of the reference nearest to it (the shorter of two).
    """
    right, found_ngrams = [], []
    for n in range(1, ORDER + 1):
        have = ngrams(found, n)
        # Each n-gram counts as often as in the reference that has it most often.
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= ngrams(reference, n)
        right.append((have & allowed).total())
        found_ngrams.append(have.total())
    nearest = min((abs(len(r) - len(found)), len(r)) for r in references)[1]
    return [*right, *found_ngrams, len(found), nearest]


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def bleu(
    sums: Float[np.ndarray, "*samples sums"], *, order: int = ORDER, sentence: bool = False
) -> Float[np.ndarray, "*samples"]:
    """BLEU in percent of the sums of `statistics`.

    Args:
      sums: of one or more sentences.
      order: longest n-grams.
      sentence: leave out n-grams longer than what was found; in a corpus they make it 0.

    Source: Papineni et al. 2002; no n-gram of a length right counts as 1/2, 1/4, ... (mteval-v13a,
    sacrebleu's "exp").
    """
    right, found = sums[..., :order], sums[..., ORDER : ORDER + order]
    none = (right == 0) & (found > 0)
    right = np.where(none, 0.5 ** np.cumsum(none, axis=-1), right)
    logs = np.log(right / np.maximum(found, 1), where=right > 0, out=np.zeros(right.shape))
    lengths = (found > 0).sum(axis=-1)
    mean = logs.sum(axis=-1) / np.maximum(lengths, 1)
    something = (sums[..., :order] > 0).any(axis=-1) & ((lengths == order) | sentence)
    return 100 * something * np.exp(mean) * brevity_penalty(sums)


def brevity_penalty(sums: Float[np.ndarray, "*samples sums"]) -> Float[np.ndarray, "*samples"]:
    found, reference = sums[..., -2], sums[..., -1]
    return np.exp(np.minimum(0, 1 - reference / np.maximum(found, 1)))


def text_statistics(tokenize: Tokenizer) -> Counts:
    """`statistics` of text records."""

    def counts(records: Sequence[Record]) -> np.ndarray:
        rows = []
        for record in records:
            language = language_of(record["references"], record.get("lang", ""))
            references = [tokenize(text, language) for text in record["references"]]
            rows.append(statistics(tokenize(record["predicted"], language), references))
        return np.array(rows, float).reshape(-1, 2 * ORDER + 2)

    return counts


def of_sentences(counts: Counts, value: Callable[[np.ndarray], np.ndarray]) -> Counts:
    """(value of each example, 1), whose `mean_of(0)` is the mean over examples.

    Args:
      counts: of each example.
      value: in percent.
    """

    def sentences(records: Sequence[Record]) -> np.ndarray:
        values = value(counts(records)) / 100
        return np.stack([values, np.ones(len(values))], axis=1)

    return sentences


def _unigrams(sums: np.ndarray) -> np.ndarray:
    return bleu(sums, order=1)


def sentence_bleu(sums: np.ndarray) -> np.ndarray:
    return bleu(sums, sentence=True)


def metrics(suffix: str = "", tokenize: Tokenizer = bleu_words, about: str = "") -> list[Metric]:
    """The family of BLEU scores with a tokeniser."""
    corpus = text_statistics(tokenize)
    one, four = of_sentences(corpus, _unigrams), of_sentences(corpus, sentence_bleu)
    return [
        Metric(f"bleu1{suffix}", "text", corpus, _unigrams, f"BLEU-1 of the corpus{about}"),
        Metric(f"bleu{suffix}", "text", corpus, bleu, f"BLEU-4 of the corpus, as sacrebleu{about}"),
        Metric(f"sentence_bleu1{suffix}", "text", one, mean_of(0), f"mean of BLEU-1{about}"),
        Metric(
            f"sentence_bleu{suffix}", "text", four, mean_of(0),
            f"mean of sacrebleu's sentence BLEU-4{about}",
        ),
    ]  # fmt: skip


METRICS = metrics()
for _name, (_language, _) in SEGMENTERS.items():
    METRICS += metrics(f"_{_name}", segmented(_name, bleu_words), f", {_language} by {_name}")
