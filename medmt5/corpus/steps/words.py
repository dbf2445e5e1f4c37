"""What steps count and compare: words of a text, their hashes and those of their n-grams.

A word is a run of letters and digits, or one character of a script written without spaces, so
the same code serves all languages. Punctuation is no word. The numbers of these units that mean
the same amount of text differ, so `wide` tells which of the two a text is made of.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt64

# Han, kana, Thai, Lao, Burmese and Khmer: the scripts that `formats.text` cuts at each character.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
UNSPACED_LANGUAGES = frozenset({"zh", "ja"})
WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_UNSPACED_WORD = re.compile(f"[{UNSPACED}]")

# Odd, so that it has an inverse modulo 2**64: the 64-bit golden ratio of splitmix64.
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


def has_unspaced(text: str) -> bool:
    """Whether any character is of a script without spaces."""
    return not text.isascii() and _UNSPACED_WORD.search(text) is not None


def wide(words: Sequence[str]) -> bool:
    """Whether most words are single characters of a script without spaces."""
    return 2 * sum(1 for word in words if _UNSPACED_WORD.match(word)) > len(words)


@functools.lru_cache(maxsize=1 << 17)
def _hash(word: str) -> int:
    # NFKC, so that a full-width `Ａ` and both micro signs are what they look like.
    normal = unicodedata.normalize("NFKC", word).lower()
    digest = hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def hashes(words: Sequence[str]) -> UInt64[np.ndarray, " words"]:
    """A hash of each word without regard to case, the same on every machine."""
    return np.fromiter(map(_hash, words), dtype=np.uint64, count=len(words))


@functools.lru_cache(maxsize=8)
def _powers(base: int, count: int) -> UInt64[np.ndarray, " count"]:
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def ngrams(words: UInt64[np.ndarray, " words"], n: int) -> UInt64[np.ndarray, " ngrams"]:
    """Hashes of the runs of n words, in order; none if there are fewer words.

    A polynomial in word hashes modulo 2**64, by differences of prefix sums: its cost does not
    depend on n. The word hashes are random bits, so its collisions are those of random numbers.
    """
    if len(words) < n:
        return np.empty(0, dtype=np.uint64)
    # Rounded up, so that documents of all lengths share a few tables.
    count = 1 << (len(words)).bit_length()
    sums = np.zeros(len(words) + 1, dtype=np.uint64)
    np.cumsum(words * _powers(_BASE, count)[: len(words)], out=sums[1:])
    grams = (sums[n:] - sums[:-n]) * _powers(_INVERSE, count)[: len(words) - n + 1]
    return grams ^ (grams >> np.uint64(32))
