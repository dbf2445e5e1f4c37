"""Exact and near duplicates: keys and MinHash signatures of texts, and which of them to remove.

Signatures are cut into bands; documents with a band in common are candidates and meet in one
bucket. A document is removed if the bucket holds a similar enough one that comes before it in a
fixed order, removed itself or not. So each bucket is decided alone, and what is removed does not
depend on workers, files or their order.

Jaccard similarity of sets of n-grams, MinHash by 128 hash functions: Broder 1997; for corpora Lee
et al. 2022, "Deduplicating training data makes language models better".
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt64

from medmt5.corpus.steps.words import UNSPACED_LANGUAGES, WORD, hashes, ngrams

PERMUTATIONS = 128
# 16 bands of 8: of pairs with similarity 0.8 (0.9) 94.7 % (99.99 %) share a band, of pairs with
# 0.5 6 %. What shares one is then compared by its whole signature, so more bands cost only time.
BANDS = 16
THRESHOLD = 0.8
# A shingle: five words as in Lee et al.; eight characters of Chinese and Japanese are as much.
WORDS, CHARACTERS = 5, 8
# Shingles hashed at once: 128 of 8 bytes for each, so 4 MB.
_BLOCK = 4096


def exact_key(text: str) -> bytes:
    """16 bytes that are equal for texts of the same words, whatever their case and punctuation."""
    words = unicodedata.normalize("NFKC", text).lower()
    joined = " ".join(WORD.findall(words)) or words
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@functools.cache
def _functions() -> tuple[np.ndarray, np.ndarray]:
    # Odd factors: then x -> a x + b is a permutation of the 64-bit numbers.
    random = np.random.Generator(np.random.Philox(key=20241))
    factors, shifts = random.integers(2**64, size=(2, PERMUTATIONS, 1), dtype=np.uint64)
    return factors | np.uint64(1), shifts


def signature(text: str, language: str) -> UInt64[np.ndarray, " permutations"]:
    """The least hash of the text's shingles under each of a fixed set of hash functions.

    A text shorter than a shingle is one; a text without words has the largest numbers.
    """
    words = hashes(WORD.findall(text))
    n = CHARACTERS if language in UNSPACED_LANGUAGES else WORDS
    shingles = np.unique(ngrams(words, min(n, max(len(words), 1))))
    factors, shifts = _functions()
    least = np.full(PERMUTATIONS, 2**64 - 1, dtype=np.uint64)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK] * factors
        np.minimum(least, (block + shifts).min(axis=1), out=least)
    return least


def bands(signature: UInt64[np.ndarray, " permutations"]) -> list[bytes]:
    """Keys of the buckets that a signature falls into: 8 bytes, different for each band."""
    rows = np.ascontiguousarray(signature, dtype="<u8").reshape(BANDS, -1)
    return [
        hashlib.blake2b(row.tobytes(), digest_size=8, salt=number.to_bytes(8, "little")).digest()
        for number, row in enumerate(rows)
    ]


def order_key(priority: int, source: str, id: str) -> bytes:
    """What decides which of two duplicates stays: the smaller key.

    Args:
      priority: of the source; the higher one's document stays. From -2**31 to 2**31 - 1.
    """
    digest = hashlib.blake2b(f"{source}\0{id}".encode("utf-8", "surrogatepass"), digest_size=16)
    return (2**31 - 1 - priority).to_bytes(4, "big") + digest.digest()


def removals(
    keys: Sequence[bytes],
    signatures: UInt64[np.ndarray, "documents permutations"],
    *,
    threshold: float,
) -> list[tuple[int, int]]:
    """Which documents of one bucket go: those similar to one with a smaller key.

    Args:
      keys: of `order_key`, all different.
      threshold: least estimated similarity (of 128 numbers its standard error is at most 0.044);
        with one of 0 the bucket keeps a single document, as buckets of exact duplicates do.

    Returns:
      Pairs of a document that goes and the one with the smallest key that it is similar to.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranked = np.asarray(signatures)[order]
    # Those still to be decided. A document that has gone takes others with it all the same.
    left = np.arange(1, len(keys))
    pairs: list[tuple[int, int]] = []
    for first in range(len(keys)):
        left = left[left > first]
        if not len(left):
            break
        same = (ranked[left] == ranked[first]).mean(axis=1) >= threshold
        pairs += [(order[other], order[first]) for other in left[same].tolist()]
        left = left[~same]
    return sorted(pairs)
