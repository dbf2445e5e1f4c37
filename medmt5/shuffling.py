"""Random numbers and permutations as functions of a key and a place: nothing is kept or skipped.

A generator has a state, so what it gives depends on what it gave before. Here number i of a key is
a hash of both, and an epoch's order is a permutation that any index can be sent through alone: a
stream can start anywhere, on any number of hosts, at the cost of a few integers. All functions take
arrays, and thousands of keys cost little more than one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt64

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: consecutive inputs land far apart
_ROUNDS = 8  # of the Feistel network; four are pseudorandom in theory, more serve its small halves


def mix(x: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """A bijection of 64 bits in which each input bit flips half of the output's.

    Source: the finaliser of splitmix64, Steele et al. 2014, "Fast splittable pseudorandom number
    generators"; constants of Stafford's variant 13.
    """
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def key(*parts: int | Int[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """One key for several numbers, or an array of keys where a part is an array."""
    state = np.zeros((1,) * max(np.ndim(part) for part in parts), np.uint64)
    for part in parts:
        number = np.asarray(part).astype(np.int64).view(np.uint64)
        state = mix(state + np.uint64(_GOLDEN) + mix(np.atleast_1d(number)))
    return state if any(np.ndim(part) for part in parts) else state.reshape(())


def hashes(
    keys: UInt64[np.ndarray, " keys"], count: int, *, first: int = 0
) -> UInt64[np.ndarray, "keys count"]:
    """Numbers `first`, `first` + 1, ... of each key: uniform in [0, 2^64)."""
    places = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return mix(keys[:, None] + places)


def uniforms(
    keys: UInt64[np.ndarray, " keys"], count: int, *, first: int = 0
) -> Float[np.ndarray, "keys count"]:
    """As `hashes`, uniform in [0, 1)."""
    return (hashes(keys, count, first=first) >> np.uint64(11)) * 2.0**-53


def permuted(
    indices: Int[np.ndarray, " indices"], size: int, permutation: UInt64[np.ndarray, ""]
) -> Int[np.ndarray, " indices"]:
    """Where a permutation of [0, size) sends each index. Needs no memory, whatever the size.

    Args:
      indices: in [0, size).
      size: of the set.
      permutation: its key.

    Source: a Feistel network over the next even number of bits; what leaves [0, size) is sent
    through again until it is back (Black and Rogaway 2002, "Ciphers with arbitrary finite
    domains").
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    rounds = hashes(permutation[None], _ROUNDS)[0]
    out = indices.astype(np.uint64)
    outside = np.arange(len(out))
    while len(outside):
        x = out[outside]
        left, right = x >> half, x & mask
        for salt in rounds:
            left, right = right, left ^ (mix(right ^ salt) & mask)
        x = left << half | right
        out[outside] = x
        outside = outside[x >= size]
    return out.astype(np.int64)
