"""Attention on a CPU, one row of the batch at a time: its scores stay in the cache.

Plain operations in a loop; what arrays mean, padding and meshes are left to `fused_attention`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from medmt5.models.attention import MASKED, toeplitz
from medmt5.models.fused_attention import LEAST

# Scores of a row from which on a loop is faster than one large product: results/attention.md.
FEW_SCORES = 2**14


def block_size(
    query_length: int, key_length: int, heads: int, kv: int, itemsize: int
) -> int | None:
    """1, since lengths need no padding; None where the plain path is faster."""
    del kv, itemsize
    return 1 if heads * query_length * key_length >= FEW_SCORES else None


def forward(
    query: Float[Array, "batch query heads kv"],
    key: Float[Array, "batch key heads kv"],
    value: Float[Array, "batch key heads kv"],
    bias: Float[Array, "heads distances"] | None,
    query_segments: Int[Array, "batch query"],
    key_segments: Int[Array, "batch key"],
    *,
    causal: bool,
    block: int,
    interpret: bool,
) -> tuple[Float[Array, "batch query heads kv"], Float[Array, "batch heads query"]]:
    """Attended values, and the logarithm of the softmax's sum."""
    del block, interpret
    table = None if bias is None else _table(bias, query.shape[1])

    def one(_: None, row: tuple[Array, ...]) -> tuple[None, tuple[Array, Array]]:
        query, key, value, *segments = row
        scores = _scores(query, key, table, *segments, causal)
        largest = jnp.maximum(scores.max(-1), LEAST)
        weights = jnp.exp(scores - largest[..., None])
        total = jnp.maximum(weights.sum(-1), 1e-30)
        out = jnp.einsum("hqk,khd->qhd", weights.astype(value.dtype), value)
        out = (out / total.T[..., None]).astype(value.dtype)
        return None, (out, largest + jnp.log(total))

    arrays = (query, key, value, query_segments, key_segments)
    return jax.lax.scan(one, None, arrays)[1]


def backward(
    query: Float[Array, "batch query heads kv"],
    key: Float[Array, "batch key heads kv"],
    value: Float[Array, "batch key heads kv"],
    bias: Float[Array, "heads distances"] | None,
    query_segments: Int[Array, "batch query"],
    key_segments: Int[Array, "batch key"],
    log_sum: Float[Array, "batch heads query"],
    of_out: Float[Array, "batch query heads kv"],
    expected: Float[Array, "batch heads query"],
    *,
    causal: bool,
    block: int,
    interpret: bool,
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of query, key, value and bias; `expected` is the sum of `out * of_out`."""
    del block, interpret
    table = None if bias is None else _table(bias, query.shape[1])

    def one(of_table: Array | None, row: tuple[Array, ...]):
        query, key, value, *segments, log_sum, of_out, expected = row
        scores = _scores(query, key, table, *segments, causal)
        weights = jnp.exp(scores - log_sum[..., None])
        of_weights = jnp.einsum("qhd,khd->hqk", of_out, value, preferred_element_type=jnp.float32)
        of_scores = weights * (of_weights - expected[..., None])
        if of_table is not None:
            of_table += of_scores
        rounded = of_scores.astype(query.dtype)
        return of_table, (
            jnp.einsum("hqk,khd->qhd", rounded, key),
            jnp.einsum("hqk,qhd->khd", rounded, query),
            jnp.einsum("hqk,qhd->khd", weights.astype(query.dtype), of_out),
        )

    arrays = (query, key, value, query_segments, key_segments, log_sum, of_out, expected)
    # Zeros made of the table differ between the devices of a mesh wherever the table does.
    start = None if table is None else 0 * table
    of_table, gradients = jax.lax.scan(one, start, arrays)
    if bias is None:
        return *gradients, None
    of_bias = jax.linear_transpose(lambda bias: _table(bias, query.shape[1]), bias)(of_table)[0]
    return *gradients, of_bias


def _table(bias: Float[Array, "heads distances"], query: int) -> Float[Array, "heads query key"]:
    """The bias of all pairs; its last entry is there to make their number even."""
    return toeplitz(bias[:, :-1], query)


def _scores(
    query: Float[Array, "query heads kv"],
    key: Float[Array, "key heads kv"],
    table: Float[Array, "heads query key"] | None,
    query_segments: Int[Array, " query"],
    key_segments: Int[Array, " key"],
    causal: bool,
) -> Float[Array, "heads query key"]:
    scores = jnp.einsum("qhd,khd->hqk", query, key, preferred_element_type=jnp.float32)
    if table is not None:
        scores = scores + table
    seen = query_segments[:, None] == key_segments
    if causal:
        seen &= jnp.tril(jnp.ones(seen.shape, bool))
    return jnp.where(seen, scores, MASKED)
