"""Span corruption, the pre-training task of T5 and mT5.

Chunks of text lose 15 % of their tokens in spans of mean length 3; each span leaves a sentinel in
the inputs, and the targets spell out what each sentinel stands for. Runs in numpy on ids made
once, with a fresh generator per example, so that any example can be made again from its index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from medmt5.formats.text import split_words
from medmt5.vocabulary import Vocabulary

COPY_LENGTHS = (6, 48)  # tokens, log-uniform: short ones are learnt first, long ones must follow


def span_counts(length: int, *, density: float, mean_span: float) -> tuple[int, int]:
    """How many tokens to drop, and in how many spans; at least one of each, never all tokens.

    Source: Raffel et al. 2020, `random_spans_noise_mask`.
    """
    if length < 2:
        raise ValueError(f"a chunk of {length} tokens cannot be corrupted; it needs 2 or more")
    dropped = min(max(round(length * density), 1), length - 1)
    spans = max(round(dropped / mean_span), 1)
    return dropped, min(spans, dropped, length - dropped)


def noise_mask(
    length: int, rng: np.random.Generator, *, density: float = 0.15, mean_span: float = 3.0
) -> np.ndarray:
    """True where a token is dropped: kept and dropped runs alternate, beginning with a kept one.

    Both the dropped and the kept tokens are cut into equally many non-empty runs, uniformly over
    all ways to cut them.

    Args:
      length: tokens in the chunk, two or more.
      rng: numpy generator.
      density: share of tokens to drop.
      mean_span: mean tokens per dropped run.

    Returns:
      Booleans (length,).
    """
    dropped, spans = span_counts(length, density=density, mean_span=mean_span)
    runs = np.empty(2 * spans, np.int64)
    runs[0::2] = _random_cut(length - dropped, spans, rng)
    runs[1::2] = _random_cut(dropped, spans, rng)
    return np.repeat(np.arange(2 * spans) % 2 == 1, runs)


def _random_cut(items: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Lengths of `parts` non-empty runs of `items`, all compositions equally likely."""
    cuts = np.sort(rng.choice(items - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [items]]))


def corrupt(
    tokens: np.ndarray, mask: np.ndarray, *, first_sentinel: int, eos_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs with sentinels for dropped runs, and targets with sentinels for kept ones.

    Args:
      tokens: ids of the chunk.
      mask: from `noise_mask`.
      first_sentinel: id of `<extra_id_0>`; later ones count downwards.
      eos_id: ends both.

    Returns:
      inputs and targets, int32.
    """

    def collapse(where: np.ndarray) -> np.ndarray:
        starts = where & ~np.concatenate([[False], where[:-1]])
        sentinels = first_sentinel + 1 - np.cumsum(starts)
        kept = np.where(starts, sentinels, tokens)[~where | starts]
        return np.append(kept, eos_id).astype(np.int32)

    return collapse(mask), collapse(~mask)


def chunk_length(inputs_length: int, *, density: float = 0.15, mean_span: float = 3.0) -> int:
    """Raw tokens that become exactly, or just under, `inputs_length` inputs (1,024: 1,137)."""

    def encoded(length: int) -> int:
        dropped, spans = span_counts(length, density=density, mean_span=mean_span)
        return length - dropped + spans + 1

    if inputs_length < encoded(2):
        raise ValueError(f"inputs of {inputs_length} tokens are too short for span corruption")
    length = 2  # not inputs_length: short chunks with few dropped tokens grow when encoded
    while encoded(length + 1) <= inputs_length:
        length += 1
    return length


class SpanCorruption:
    """The pre-training format: documents are joined, cut into chunks, and corrupted at load.

    Args:
      vocabulary: encodes documents.
      density: share of tokens dropped.
      mean_span: mean length of a dropped run, in tokens.
      copy_rate: share of examples that are copied instead: windows of a chunk, of COPY_LENGTHS
        tokens. 0 is T5. Labelling is mostly copying; a small model learns it from short texts.
      split_words: encode word by word, as labelling does, so that a small model sees the same
        tokens later. False, as in T5, encodes the text as it is.
    """

    kind = "span_corruption"

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        density: float = 0.15,
        mean_span: float = 3.0,
        copy_rate: float = 0.0,
        split_words: bool = False,
    ):
        self.vocabulary = vocabulary
        self.split_words = split_words
        self.density, self.mean_span, self.copy_rate = density, mean_span, copy_rate

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "density": self.density, "mean_span": self.mean_span}

    def prepare(
        self, raws: Iterable[Mapping[str, Any]], lengths: Mapping[str, int] | None
    ) -> list[dict[str, Any]]:
        """Cut the joined documents into chunks that fill `lengths["inputs"]` once corrupted.

        Raises:
          ValueError: the targets do not fit `lengths["targets"]`, or too many spans.
        """
        if lengths is None:
            raise ValueError("span corruption cuts text by TASK_FEATURE_LENGTHS; give them")
        size = chunk_length(lengths["inputs"], density=self.density, mean_span=self.mean_span)
        if self.copy_rate:
            size = min(size, lengths["inputs"] - 1, lengths["targets"] - 1)
        dropped, spans = span_counts(size, density=self.density, mean_span=self.mean_span)
        if dropped + spans + 1 > lengths["targets"]:
            raise ValueError(
                f"inputs of {lengths['inputs']} tokens come with targets of {dropped + spans + 1}, "
                f"but TASK_FEATURE_LENGTHS allows {lengths['targets']}; raise targets"
            )
        if spans > self.vocabulary.num_sentinels:
            raise ValueError(
                f"chunks of {size} tokens have {spans} spans, but there are "
                f"{self.vocabulary.num_sentinels} sentinels; shorten inputs"
            )
        parts = [np.asarray(self.encode(raw["text"]), np.int32) for raw in raws]
        tokens = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        chunks = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        return [{"tokens": chunk} for chunk in chunks if len(chunk) >= 2]

    def encode(self, text: str) -> list[int]:
        if not self.split_words:
            return self.vocabulary.encode(text)
        return [i for a, b in split_words(text) for i in self.vocabulary.encode_word(text[a:b])]

    def example(self, raw: Mapping[str, Any], rng: np.random.Generator | None) -> dict[str, Any]:
        rng = np.random.default_rng(0) if rng is None else rng
        tokens = raw["tokens"]
        if self.copy_rate and rng.random() < self.copy_rate:
            low, high = (np.log(min(n, len(tokens))) for n in COPY_LENGTHS)
            size = round(np.exp(rng.uniform(low, high)))
            start = rng.integers(len(tokens) - size + 1)
            window = np.append(tokens[start : start + size], self.vocabulary.eos_id)
            return {"inputs": window.astype(np.int32), "targets": window.astype(np.int32)}
        mask = noise_mask(len(tokens), rng, density=self.density, mean_span=self.mean_span)
        inputs, targets = corrupt(
            tokens,
            mask,
            first_sentinel=self.vocabulary.sentinel(0),
            eos_id=self.vocabulary.eos_id,
        )
        return {"inputs": inputs, "targets": targets}
