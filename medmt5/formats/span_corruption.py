"""Span corruption, the pre-training task of T5 and mT5.

Chunks of text lose 15 % of their tokens in spans of mean length 3; each span leaves a sentinel in
the inputs, and the targets spell out what each sentinel stands for. Runs in numpy on ids made once,
over many chunks at a time; every choice is a function of the chunk's key, so any example can be
made again alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Int, UInt64

from medmt5.formats.text import split_words
from medmt5.shuffling import hashes, uniforms
from medmt5.vocabulary import Vocabulary

COPY_LENGTHS = (6, 48)  # tokens, log-uniform: short ones are learnt first, long ones must follow
_CHOICES = 3  # numbers of a key that decide on copying; those that cut spans come after them
_PART = 2**16  # tokens corrupted at once


def span_counts(length: int, *, density: float, mean_span: float) -> tuple[int, int]:
    """How many tokens to drop, and in how many spans; at least one of each, never all tokens.

    Source: Raffel et al. 2020, `random_spans_noise_mask`.
    """
    if length < 2:
        raise ValueError(f"a chunk of {length} tokens cannot be corrupted; it needs 2 or more")
    dropped = min(max(round(length * density), 1), length - 1)
    spans = max(round(dropped / mean_span), 1)
    return dropped, min(spans, dropped, length - dropped)


def noise_masks(
    keys: UInt64[np.ndarray, " rows"],
    length: int,
    *,
    density: float = 0.15,
    mean_span: float = 3.0,
) -> Bool[np.ndarray, "rows length"]:
    """True where a token is dropped: kept and dropped runs alternate, beginning with a kept one.

    Both the dropped and the kept tokens are cut into equally many non-empty runs, uniformly over
    all ways to cut them.

    Args:
      keys: one per chunk; a chunk's mask is a function of its key.
      length: tokens in each chunk, two or more.
      density: share of tokens to drop.
      mean_span: mean tokens per dropped run.
    """
    dropped, spans = span_counts(length, density=density, mean_span=mean_span)
    numbers = hashes(keys, length - 2, first=_CHOICES)
    runs = np.empty((len(keys), 2 * spans), np.int64)
    runs[:, 0::2] = _random_cuts(numbers[:, dropped - 1 :], spans)
    runs[:, 1::2] = _random_cuts(numbers[:, : dropped - 1], spans)
    kinds = np.tile([False, True], len(keys) * spans)
    return np.repeat(kinds, runs.ravel()).reshape(len(keys), length)


def _random_cuts(
    numbers: UInt64[np.ndarray, "rows places"], parts: int
) -> Int[np.ndarray, "rows parts"]:
    """Lengths of `parts` non-empty runs of `places` + 1 items, all compositions equally likely.

    The places to cut are those of the smallest of the random `numbers`.
    """
    rows, places = numbers.shape
    ends = np.full((rows, parts + 1), places + 1)
    ends[:, 0] = 0
    if parts > 1:
        cuts = np.argpartition(numbers, parts - 2, axis=1)[:, : parts - 1]
        ends[:, 1:parts] = np.sort(cuts, axis=1) + 1
    return np.diff(ends, axis=1)


def corrupt(
    tokens: Int[np.ndarray, "rows length"],
    masks: Bool[np.ndarray, "rows length"],
    *,
    first_sentinel: int,
    eos_id: int,
) -> tuple[Int[np.ndarray, "rows source"], Int[np.ndarray, "rows target"]]:
    """Inputs with sentinels for dropped runs, and targets with sentinels for kept ones.

    Args:
      tokens: ids of the chunks.
      masks: from `noise_masks`: all drop equally many tokens in equally many runs.
      first_sentinel: id of `<extra_id_0>`; later ones count downwards.
      eos_id: ends both.

    Returns:
      inputs and targets, int32.
    """

    def collapse(where: np.ndarray) -> np.ndarray:
        starts = where.copy()
        starts[:, 1:] &= ~where[:, :-1]
        spans = np.count_nonzero(starts[0])
        kept = tokens.astype(np.int32)
        kept[starts] = np.tile(first_sentinel - np.arange(spans), len(tokens))
        out = kept[~where | starts].reshape(len(tokens), -1)
        return np.pad(out, ((0, 0), (0, 1)), constant_values=eos_id)

    return collapse(masks), collapse(~masks)


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


class Tokens(Protocol):
    """Ids of joined documents, in memory or on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


class Chunks(Sequence[Mapping[str, Any]]):
    """Joined documents seen as chunks of `size` tokens; a last one of a single token is left out.

    Args:
      tokens: of all documents.
      size: of a chunk.
    """

    def __init__(self, tokens: Tokens, size: int):
        self.tokens, self.size = tokens, size
        self._total = len(tokens) - (len(tokens) % size == 1)

    def __len__(self) -> int:
        return -(-self._total // self.size)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not 0 <= i < len(self):
            raise IndexError(f"chunk {i} of {len(self)}")
        return {"tokens": self.tokens[i * self.size : min((i + 1) * self.size, self._total)]}

    def lengths(self, indices: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        """Tokens of each chunk."""
        return np.minimum(self.size, self._total - indices * self.size)


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
    ) -> Chunks:
        """Join the documents and cut them; see `chunks`."""
        parts = [self.tokens(raw) for raw in raws]
        return self.chunks(np.concatenate(parts) if parts else np.zeros(0, np.int32), lengths)

    def tokens(self, raw: Mapping[str, Any]) -> Int[np.ndarray, " tokens"]:
        """Ids of a document."""
        return np.asarray(self.encode(raw["text"]), np.int32)

    def chunks(self, tokens: Tokens, lengths: Mapping[str, int] | None) -> Chunks:
        """Chunks of joined documents that fill `lengths["inputs"]` once corrupted.

        Args:
          tokens: of all documents: an array, or what a cache keeps on disk.
          lengths: row lengths in tokens.

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
        return Chunks(tokens, size)

    def encode(self, text: str) -> list[int]:
        if not self.split_words:
            return self.vocabulary.encode(text)
        return [i for a, b in split_words(text) for i in self.vocabulary.encode_word(text[a:b])]

    def example_sizes(
        self, chunks: Chunks, indices: Int[np.ndarray, " rows"], keys: UInt64[np.ndarray, " rows"]
    ) -> Int[np.ndarray, "rows 2"]:
        """Tokens of inputs and targets that `examples` would make, without reading any."""
        lengths = chunks.lengths(indices)
        sizes = np.empty((len(indices), 2), np.int64)
        for length in np.unique(lengths):
            dropped, spans = span_counts(length, density=self.density, mean_span=self.mean_span)
            sizes[lengths == length] = length - dropped + spans + 1, dropped + spans + 1
        copied, _, windows = self._copies(lengths, keys)
        sizes[copied] = windows[copied, None] + 1
        return sizes

    def examples(
        self, chunks: Chunks, indices: Int[np.ndarray, " rows"], keys: UInt64[np.ndarray, " rows"]
    ) -> list[dict[str, Any]]:
        """Examples of chunks: corrupted or copied as their keys say."""
        made: list[dict[str, Any]] = [{}] * len(indices)
        lengths = chunks.lengths(indices)
        copied, starts, windows = self._copies(lengths, keys)
        for i in np.flatnonzero(copied):
            begin = int(indices[i]) * chunks.size + starts[i]
            window = np.append(chunks.tokens[begin : begin + windows[i]], self.vocabulary.eos_id)
            made[i] = dict.fromkeys(("inputs", "targets"), window.astype(np.int32))
        for length in np.unique(lengths):
            # In parts: temporary arrays of all chunks would be large.
            rows = np.flatnonzero(~copied & (lengths == length))
            for part in np.array_split(rows, max(1, len(rows) * length // _PART)):
                tokens = [chunks[int(i)]["tokens"] for i in indices[part]]
                for i, example in zip(part, self._corrupted(tokens, keys[part]), strict=True):
                    made[i] = example
        return made

    def _corrupted(
        self, tokens: Sequence[np.ndarray], keys: UInt64[np.ndarray, " rows"]
    ) -> list[dict[str, Any]]:
        """Examples of chunks of one length."""
        if not tokens:
            return []
        options = dict(density=self.density, mean_span=self.mean_span)
        inputs, targets = corrupt(
            np.stack(tokens),
            noise_masks(keys, len(tokens[0]), **options),
            first_sentinel=self.vocabulary.sentinel(0),
            eos_id=self.vocabulary.eos_id,
        )
        return [{"inputs": i, "targets": t} for i, t in zip(inputs, targets, strict=True)]

    def _copies(
        self, lengths: Int[np.ndarray, " rows"], keys: UInt64[np.ndarray, " rows"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which chunks are copied, from which token on, and how many tokens."""
        coin, size, place = uniforms(keys, _CHOICES).T
        low, high = (np.log(np.minimum(n, lengths)) for n in COPY_LENGTHS)
        windows = np.rint(np.exp(low + size * (high - low))).astype(np.int64)
        starts = (place * (lengths - windows + 1)).astype(np.int64)
        return coin < self.copy_rate, starts, windows

    def example(self, raw: Mapping[str, Any], rng: np.random.Generator | None) -> dict[str, Any]:
        """One example of one chunk."""
        rng = np.random.default_rng(0) if rng is None else rng
        tokens = np.asarray(raw["tokens"])
        keys = rng.integers(0, 2**64, 1, np.uint64)
        return self.examples(Chunks(tokens, len(tokens)), np.zeros(1, np.int64), keys)[0]
