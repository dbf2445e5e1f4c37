"""The attention kernels for NVIDIA GPUs, written in Pallas and compiled by Triton.

A program holds one block of queries (or of keys, for their gradients) and walks over the blocks of
the other length. The bias of a block is gathered from its head's few kilobytes, which stay in the
cache. What arrays mean, padding and meshes are left to `fused_attention`.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from medmt5.models.attention import MASKED
from medmt5.models.fused_attention import LEAST, cost, like

# Queries that a program holds in the forward pass, and all other blocks: the backward pass keeps
# more of them at once.
WIDE, NARROW = 128, 64

# Bytes of one position of one head: beyond, the blocks outgrow the shared memory of an A100.
MOST_BYTES = 256


def block_size(
    query_length: int, key_length: int, heads: int, kv: int, itemsize: int
) -> int | None:
    """Length to a multiple of which both are padded; None if no program takes this `kv`."""
    return WIDE if kv in (32, 64, 128) and kv * itemsize <= MOST_BYTES else None


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
    batch, length, heads, _ = query.shape
    return _call(
        functools.partial(_forward_kernel, causal=causal),
        (length // WIDE, heads, batch),
        [like(query, query.shape), like(query, (batch, heads, length), jnp.float32)],
        cost=cost(query, key, products=2),
        warps=8,  # with four the compiler runs out of registers
        interpret=interpret,
    )(query, key, value, bias, query_segments, key_segments)


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
    """Gradients of query, key, value and bias.

    The scores are made again for each of the three: no program adds to what another one makes, so
    that results are the same every time.

    Args:
      log_sum: from `forward`.
      of_out: gradient of its other result.
      expected: product of both, summed over kv.
    """
    batch, query_length, heads, _ = query.shape
    query_blocks, key_blocks = query_length // NARROW, key.shape[1] // NARROW
    arrays = (
        *(query, key, value, bias, query_segments, key_segments),
        *(log_sum, of_out, expected),
    )

    def gradient(
        kernel: Any, products: int, grid: tuple[int, ...], *results: jax.ShapeDtypeStruct
    ) -> Any:
        kernel = functools.partial(kernel, causal=causal)
        taken = cost(query, key, products)
        run = _call(kernel, grid, list(results), cost=taken, warps=4, interpret=interpret)
        return run(*arrays)

    like_key = like(query, key.shape)
    (of_query,) = gradient(
        _of_query_kernel, 3, (query_blocks, heads, batch), like(query, query.shape)
    )
    of_key, of_value = gradient(_of_key_kernel, 4, (key_blocks, heads, batch), like_key, like_key)
    if bias is None:
        return of_query, of_key, of_value, None
    diagonals = query_blocks + key_blocks - 1
    blocks = like(query, (heads, diagonals, NARROW, NARROW), jnp.float32)
    (of_blocks,) = gradient(_of_bias_kernel, 2, (diagonals, heads), blocks)
    return of_query, of_key, of_value, _diagonal_sums(of_blocks)


def _call(
    kernel: Any,
    grid: tuple[int, ...],
    results: list[Any],
    *,
    cost: pl.CostEstimate,
    warps: int,
    interpret: bool,
) -> Any:
    """Programs that get whole arrays, of which each reads and writes its own part."""
    return pl.pallas_call(
        kernel,
        grid=grid,
        out_shape=results,
        compiler_params=triton.CompilerParams(num_warps=warps, num_stages=2),
        cost_estimate=cost,
        interpret=interpret,
        name=f"attention{kernel.func.__name__.removesuffix('_kernel')}",
    )


def _diagonal_sums(
    blocks: Float[Array, "heads diagonals query key"],
) -> Float[Array, "heads distances"]:
    """Of each diagonal of blocks, whose sum is given, the sums along diagonals of entries."""
    heads, diagonals, size, _ = blocks.shape
    # Rows from the last to the first, each one entry longer than a multiple of what it is then cut
    # into: every row starts one column further to the right than the one before.
    wide = jnp.pad(jnp.flip(blocks, 2), ((0, 0), (0, 0), (0, 0), (0, size)))
    skewed = wide.reshape(heads, diagonals, -1)[..., : size * (2 * size - 1)]
    sums = skewed.reshape(heads, diagonals, size, -1).sum(2)
    first, second = sums[..., :size], jnp.pad(sums[..., size:], ((0, 0), (0, 0), (0, 1)))
    # Neighbouring diagonals of blocks share half of their distances.
    none = jnp.zeros_like(first[:, :1])
    chunks = jnp.concatenate([first, none], 1) + jnp.concatenate([none, second], 1)
    return chunks.reshape(heads, -1)


def _at(block: Any, size: int) -> Any:
    return pl.ds(block * size, size)


def _count(first: Any, size: int, total: int) -> Any:
    """How many blocks of `size` lie before the position `first` out of `total` blocks."""
    return jnp.minimum(lax.div(first, size), total)


def _scores(
    queries: Float[Array, "query kv"],
    keys: Float[Array, "key kv"],
    bias: Any,
    query_segments: Int[Array, " query"],
    key_segments: Int[Array, " key"],
    first_query: Any,
    first_key: Any,
    head: Any,
    length: int,
    causal: bool,
) -> Float[Array, "query key"]:
    """Scores of a block, with bias and mask.

    Args:
      bias: reference to that of all heads and distances, or None.
      first_query, first_key: positions at which the block begins.
      length: of all queries.
    """
    row = first_query + jnp.arange(queries.shape[0], dtype=jnp.int32)
    column = first_key + jnp.arange(keys.shape[0], dtype=jnp.int32)
    distance = column[None, :] - row[:, None]
    scores = triton.dot(queries, keys.T)
    if bias is not None:
        scores += triton.load(bias.at[head, distance + (length - 1)])
    seen = query_segments[:, None] == key_segments[None, :]
    if causal:
        seen &= distance <= 0
    return jnp.where(seen, scores, MASKED)


def _forward_kernel(query, key, value, bias, query_segments, key_segments, out, log_sum, *, causal):
    i, head, row = (pl.program_id(axis) for axis in range(3))
    at_query, length = _at(i, WIDE), query.shape[1]
    queries, in_segments = query[row, at_query, head, :], query_segments[row, at_query]

    def one_key_block(t, carry):
        largest, total, attended = carry
        at_key = _at(t, NARROW)
        scores = _scores(
            queries, key[row, at_key, head, :], bias, in_segments, key_segments[row, at_key],
            i * WIDE, t * NARROW, head, length, causal,
        )  # fmt: skip
        now = jnp.maximum(largest, scores.max(1))
        shrink, weights = jnp.exp(largest - now), jnp.exp(scores - now[:, None])
        values = value[row, at_key, head, :]
        attended = shrink[:, None] * attended + triton.dot(weights.astype(values.dtype), values)
        return now, shrink * total + weights.sum(1), attended

    blocks = key.shape[1] // NARROW
    if causal:
        blocks = _count((i + 1) * WIDE, NARROW, blocks)
    zeros = jnp.zeros((WIDE,), jnp.float32)
    start = (zeros + LEAST, zeros, jnp.zeros((WIDE, query.shape[3]), jnp.float32))
    largest, total, attended = lax.fori_loop(0, blocks, one_key_block, start)
    total = jnp.where(total == 0, 1.0, total)  # this query saw nothing
    out[row, at_query, head, :] = (attended / total[:, None]).astype(out.dtype)
    log_sum[row, head, at_query] = largest + jnp.log(total)


def _weights_and_gradient(arrays, queries, keys, values, of_outs, i, t, row, head, causal):
    """Of a narrow block: weights and the gradient of the scores, both of queries by keys."""
    query, _, _, bias, query_segments, key_segments, log_sum, _, expected = arrays
    at_query, at_key = _at(i, NARROW), _at(t, NARROW)
    scores = _scores(
        queries, keys, bias, query_segments[row, at_query], key_segments[row, at_key],
        i * NARROW, t * NARROW, head, query.shape[1], causal,
    )  # fmt: skip
    weights = jnp.exp(scores - log_sum[row, head, at_query][:, None])
    of_weights = triton.dot(of_outs, values.T)
    return weights, weights * (of_weights - expected[row, head, at_query][:, None])


def _of_query_kernel(*arrays, causal):
    *arrays, of_query = arrays
    query, key, value, *_, of_out, _ = arrays
    i, head, row = (pl.program_id(axis) for axis in range(3))
    at_query = _at(i, NARROW)
    queries, of_outs = query[row, at_query, head, :], of_out[row, at_query, head, :]

    def one_key_block(t, of_queries):
        keys, values = (x[row, _at(t, NARROW), head, :] for x in (key, value))
        _, of_scores = _weights_and_gradient(
            arrays, queries, keys, values, of_outs, i, t, row, head, causal
        )
        return of_queries + triton.dot(of_scores.astype(keys.dtype), keys)

    blocks = key.shape[1] // NARROW
    if causal:
        blocks = jnp.minimum(i + 1, blocks)
    zeros = jnp.zeros((NARROW, query.shape[3]), jnp.float32)
    of_queries = lax.fori_loop(0, blocks, one_key_block, zeros)
    of_query[row, at_query, head, :] = of_queries.astype(of_query.dtype)


def _of_key_kernel(*arrays, causal):
    *arrays, of_key, of_value = arrays
    query, key, value, *_, of_out, _ = arrays
    t, head, row = (pl.program_id(axis) for axis in range(3))
    at_key = _at(t, NARROW)
    keys, values = (x[row, at_key, head, :] for x in (key, value))

    def one_query_block(i, carry):
        of_keys, of_values = carry
        queries, of_outs = (x[row, _at(i, NARROW), head, :] for x in (query, of_out))
        weights, of_scores = _weights_and_gradient(
            arrays, queries, keys, values, of_outs, i, t, row, head, causal
        )
        return (
            of_keys + triton.dot(of_scores.astype(queries.dtype).T, queries),
            of_values + triton.dot(weights.astype(of_outs.dtype).T, of_outs),
        )

    zeros = jnp.zeros((NARROW, query.shape[3]), jnp.float32)
    of_keys, of_values = lax.fori_loop(
        t if causal else 0, query.shape[1] // NARROW, one_query_block, (zeros, zeros)
    )
    of_key[row, at_key, head, :] = of_keys.astype(of_key.dtype)
    of_value[row, at_key, head, :] = of_values.astype(of_value.dtype)


def _of_bias_kernel(*arrays, causal):
    """One diagonal of blocks: the gradients of its scores, added up over blocks and rows."""
    *arrays, of_blocks = arrays
    query, key, value, *_, of_out, _ = arrays
    diagonal, head = pl.program_id(0), pl.program_id(1)
    query_blocks, key_blocks = query.shape[1] // NARROW, key.shape[1] // NARROW
    ahead = diagonal - (query_blocks - 1)  # blocks by which keys lie behind queries
    first, end = jnp.maximum(0, -ahead), jnp.minimum(query_blocks, key_blocks - ahead)
    if causal:
        end = jnp.where(ahead > 0, first, end)

    def one_row(row, total):
        def one_block(i, total):
            queries, of_outs = (x[row, _at(i, NARROW), head, :] for x in (query, of_out))
            keys, values = (x[row, _at(i + ahead, NARROW), head, :] for x in (key, value))
            _, of_scores = _weights_and_gradient(
                arrays, queries, keys, values, of_outs, i, i + ahead, row, head, causal
            )
            return total + of_scores

        return lax.fori_loop(first, end, one_block, total)

    zeros = jnp.zeros((NARROW, NARROW), jnp.float32)
    of_blocks[head, diagonal, :, :] = lax.fori_loop(0, query.shape[0], one_row, zeros)
