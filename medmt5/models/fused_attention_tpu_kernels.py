"""What one program of the TPU's attention does: `fused_attention_tpu` says what it is given.

Scores are transposed, keys down and queries across. Blocks of them are numbered by query and key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from medmt5.models.attention import MASKED
from medmt5.models.fused_attention import LEAST


class Sizes(NamedTuple):
    """Of one program, known when tracing."""

    block: int
    query_blocks: int
    key_blocks: int
    heads: int  # in one program: as many as fill the lanes
    kv: int
    causal: bool

    @property
    def diagonals(self) -> int:
        return self.query_blocks + self.key_blocks - 1

    def diagonal(self, query_block: Any, key_block: Any) -> Any:
        return query_block - key_block + self.key_blocks - 1

    def keys_seen(self, query_block: Any) -> Any:
        """Key blocks of which a query block sees anything: those before this one."""
        if not self.causal:
            return self.key_blocks
        return jnp.minimum(query_block + 1, self.key_blocks)

    def first_query(self, key_block: Any) -> Any:
        """The first query block that sees a key block."""
        return jnp.minimum(key_block, self.query_blocks) if self.causal else 0


def toeplitz_block(window: Float[Array, "1 window"], block: int) -> Float[Array, "key query"]:
    """The block whose entry (row, column) is `window[column - row]`."""
    rows = jnp.broadcast_to(window, (block, 2 * block))
    return _roll_rows(rows, to_the_right=True)[:, :block]


def _diagonal_sums(block: Float[Array, "key query"]) -> Float[Array, "1 window"]:
    """The transpose of `toeplitz_block`: entries of a diagonal, added up."""
    rows = jnp.concatenate([block, jnp.zeros_like(block)], 1)
    return _roll_rows(rows, to_the_right=False).sum(0, keepdims=True)


def _roll_rows(x: Float[Array, "rows lanes"], *, to_the_right: bool) -> Array:
    """Row r rolled by r. Bit by bit, since TPU v4 rolls all rows by the same number only."""
    rows, lanes = x.shape
    row = lax.broadcasted_iota(jnp.int32, x.shape, 0)
    for bit in range((rows - 1).bit_length()):
        shift = 1 << bit
        rolled = pltpu.roll(x, shift if to_the_right else lanes - shift, 1)
        x = jnp.where((row >> bit) & 1 == 1, rolled, x)
    return x


def _fill_bias(windows: Any, bias: Any, sizes: Sizes) -> None:
    @pl.when(pl.program_id(1) == 0)
    def _():
        for head in range(sizes.heads):

            @pl.loop(sizes.diagonal(0, 0) if sizes.causal else 0, sizes.diagonals)
            def _(diagonal, head=head):
                window = windows[head, pl.ds(diagonal, 1), :]
                bias[head, diagonal] = toeplitz_block(window, sizes.block)


def _one_head(x: Array, head: int, sizes: Sizes) -> Array:
    """`x` with zeros in the lanes of other heads: the product with them costs nothing more."""
    if sizes.heads == 1:
        return x
    lane = lax.broadcasted_iota(jnp.int32, x.shape, 1)
    return jnp.where(lax.div(lane, sizes.kv) == head, x, jnp.zeros_like(x))


def _scores(
    key: Array, query: Array, bias: Array | None, seen: Array, sizes: Sizes
) -> Float[Array, "key query"]:
    scores = _product(key, query, contract=1)
    if bias is not None:
        scores = scores + bias
    return jnp.where(seen, scores, MASKED)


def _product(a: Array, b: Array, *, contract: int) -> Array:
    """In float32: `a` contracted along its columns, `b` along dimension `contract`."""
    return lax.dot_general(
        a, b, (((1,), (contract,)), ((), ())), preferred_element_type=jnp.float32
    )


def _seen(
    query_segments: Any, key_segments: Any, query_block: Any, key_block: Any, sizes: Sizes
) -> Array:
    """Which queries (across) see which keys (down)."""
    at_query, at_key = _at(query_block, sizes), _at(key_block, sizes)
    seen = query_segments[0, :, at_query] == key_segments[at_key, :]
    if sizes.causal:
        shape = (sizes.block, sizes.block)
        ahead = (query_block - key_block) * sizes.block
        row, column = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
        seen &= row <= column + ahead
    return seen


def _at(block: Any, sizes: Sizes) -> Any:
    return pl.ds(pl.multiple_of(block * sizes.block, sizes.block), sizes.block)


def _column(row: Int[Array, "1 length"]) -> Int[Array, "length 1"]:
    # Eight equal rows: the compiler transposes whole tiles only.
    return jnp.broadcast_to(row, (8, row.shape[1])).T[:, :1]


def forward_kernel(windows, query, key, value, query_segments, key_segments, *refs, sizes):
    if windows is None:
        bias, (out, log_sum, key_column, values_across) = None, refs
    else:
        out, log_sum, bias, key_column, values_across = refs
        _fill_bias(windows, bias, sizes)
    key_column[...] = _column(key_segments[0])
    values_across[...] = value[0].T

    @pl.loop(0, sizes.query_blocks)
    def _(i):
        queries = query[0, _at(i, sizes), :]
        by_head = [_one_head(queries, head, sizes) for head in range(sizes.heads)]

        def one_key_block(t, carry):
            keys = key[0, _at(t, sizes), :]
            seen = _seen(query_segments, key_column, i, t, sizes)
            updated = []
            for head, (largest, total, attended) in enumerate(carry):
                block = None if bias is None else bias[head, sizes.diagonal(i, t)]
                scores = _scores(keys, by_head[head], block, seen, sizes)
                now = jnp.maximum(largest, scores.max(0, keepdims=True))
                shrink, weights = jnp.exp(largest - now), jnp.exp(scores - now)
                values = values_across[pl.ds(head * sizes.kv, sizes.kv), _at(t, sizes)]
                more = _product(values, weights.astype(values.dtype), contract=0)
                total = shrink * total + weights.sum(0, keepdims=True)
                updated.append((now, total, shrink * attended + more))
            return tuple(updated)

        zeros = jnp.zeros((1, sizes.block), jnp.float32)
        start = (zeros + LEAST, zeros, jnp.zeros((sizes.kv, sizes.block), jnp.float32))
        done = lax.fori_loop(0, sizes.keys_seen(i), one_key_block, (start,) * sizes.heads)
        # A sum of zero: this query saw nothing.
        sums = [jnp.where(total == 0, 1.0, total) for _, total, _ in done]
        attended = [each / total for (_, _, each), total in zip(done, sums, strict=True)]
        out[0, _at(i, sizes), :] = jnp.concatenate(attended, 0).T.astype(out.dtype)
        for head, ((largest, _, _), total) in enumerate(zip(done, sums, strict=True)):
            log_sum[0, 0, pl.ds(head, 1), _at(i, sizes)] = largest + jnp.log(total)


def backward_kernel(
    windows,
    query,
    key,
    value,
    query_segments,
    key_segments,
    log_sum,
    of_out,
    expected,
    of_query,
    of_key,
    of_value,
    *refs,
    sizes,
):
    bias = of_bias = of_windows = None
    if windows is not None:
        of_windows, bias, of_bias, *refs = refs
        _fill_bias(windows, bias, sizes)

        @pl.when(pl.program_id(1) == 0)
        def _():
            of_bias[...] = jnp.zeros_like(of_bias)

    key_column, keys_across, of_query_across = refs
    key_column[...] = _column(key_segments[0])
    keys_across[...] = key[0].T
    of_query_across[...] = jnp.zeros_like(of_query_across)

    @pl.loop(0, sizes.key_blocks)
    def _(t):
        at_key = _at(t, sizes)
        keys = [_one_head(key[0, at_key, :], head, sizes) for head in range(sizes.heads)]
        values = [_one_head(value[0, at_key, :], head, sizes) for head in range(sizes.heads)]

        def one_query_block(i, carry):
            at_query = _at(i, sizes)
            queries, of_outs = query[0, at_query, :], of_out[0, at_query, :]
            seen = _seen(query_segments, key_column, i, t, sizes)
            updated = []
            for head, (of_keys, of_values) in enumerate(carry):
                row, lanes = pl.ds(head, 1), pl.ds(head * sizes.kv, sizes.kv)
                block = None if bias is None else bias[head, sizes.diagonal(i, t)]
                scores = _scores(keys[head], queries, block, seen, sizes)
                weights = jnp.exp(scores - log_sum[0, 0, row, at_query])
                of_weights = _product(values[head], of_outs, contract=1)
                of_scores = weights * (of_weights - expected[0, 0, row, at_query])
                if of_bias is not None:
                    of_bias[head, sizes.diagonal(i, t)] += of_scores
                rounded = of_scores.astype(queries.dtype)
                of_query_across[lanes, at_query] += _product(
                    keys_across[lanes, at_key], rounded, contract=0
                )
                updated.append(
                    (
                        of_keys + _product(rounded, queries, contract=0),
                        of_values + _product(weights.astype(of_outs.dtype), of_outs, contract=0),
                    )
                )
            return tuple(updated)

        zeros = jnp.zeros((sizes.block, sizes.heads * sizes.kv), jnp.float32)
        done = lax.fori_loop(
            sizes.first_query(t), sizes.query_blocks, one_query_block, ((zeros,) * 2,) * sizes.heads
        )
        for result, each in ((of_key, 0), (of_value, 1)):
            parts = (_one_head(done[head][each], head, sizes) for head in range(sizes.heads))
            result[0, at_key, :] = sum(parts, zeros).astype(result.dtype)

    @pl.loop(0, sizes.query_blocks)
    def _(i):
        across = of_query_across[:, _at(i, sizes)]
        of_query[0, _at(i, sizes), :] = across.T.astype(of_query.dtype)

    if of_bias is not None:

        @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
        def _():
            for head in range(sizes.heads):

                @pl.loop(0, sizes.diagonals)
                def _(diagonal, head=head):
                    of_windows[head, pl.ds(diagonal, 1), :] = _diagonal_sums(
                        of_bias[head, diagonal]
                    )
