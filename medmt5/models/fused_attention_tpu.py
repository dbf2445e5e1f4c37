"""The attention kernels for TPU: one program holds a few heads of one row in on-chip memory.

Scores are made a block at a time and transposed (keys down, queries across), so that everything
there is one of per query, such as the softmax's sum, lies along the lanes. The bias depends on the
distance alone: a block on the same diagonal of blocks has the same bias. Those blocks are made once
per head, when its first row comes, and kept for the other rows; their gradients are added up in the
same way. What a program does is in `fused_attention_tpu_kernels`; what arrays mean, padding and
meshes are left to `fused_attention`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from medmt5.models.fused_attention import cost, like
from medmt5.models.fused_attention_tpu_kernels import Sizes, backward_kernel, forward_kernel

LANES = 128

# On-chip memory that a program may take. TPU v4 has 16 MiB per core, the others more; the rest is
# for the compiler's own.
MEMORY = 13 * 2**20

# The largest block first: fewer, larger products. Beyond 256 a block of scores alone is a megabyte.
BLOCKS = (256, 128)


def heads_together(kv: int) -> int:
    """Heads of one program."""
    return max(1, LANES // kv)


def block_size(
    query_length: int, key_length: int, heads: int, kv: int, itemsize: int
) -> int | None:
    """Length of the blocks for these lengths, each padded to a multiple; None if nothing fits."""
    together = heads_together(kv)
    if (kv * together) % LANES or heads % together:
        return None

    def padded(block: int) -> int:
        return sum(-(-length // block) * block for length in (query_length, key_length))

    for block in BLOCKS:
        fits = _memory(padded(block), block, kv, itemsize) <= MEMORY
        if fits and padded(block) == padded(BLOCKS[-1]):  # no more padding than small blocks need
            return block
    return None


def _memory(lengths: int, block: int, kv: int, itemsize: int) -> int:
    """Bytes of the backward pass, the larger one, by the sum of both lengths."""
    together = heads_together(kv)
    lanes = kv * together
    # Three or four arrays per length, each twice: the next row is fetched during this one. Half of
    # the lengths also lies there transposed, one in the arrays' type and one in float32, and the
    # keys' segments lie on a lane each.
    arrays = lengths * lanes * itemsize * 7 + lengths * lanes * (itemsize + 4) // 2 + lengths * 256
    # Bias and its gradient, and a few blocks of scores.
    return arrays + 4 * block * block * (2 * together * (lengths // block - 1) + 4)


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
    sizes, specs = _sizes_and_specs(query, key, causal, block)
    per_head = (query.shape[0], query.shape[2] // sizes.heads, sizes.heads, query.shape[1])
    out, log_sum = pl.pallas_call(
        functools.partial(forward_kernel, sizes=sizes),
        grid=specs.grid,
        in_specs=[
            None if bias is None else specs.windows,
            specs.query,
            specs.key,
            specs.key,
            specs.query_segments,
            specs.key_segments,
        ],
        out_specs=[specs.query, specs.per_query],
        out_shape=[like(query, _joined(query).shape), like(query, per_head, jnp.float32)],
        scratch_shapes=[
            *([] if bias is None else [specs.blocks]),
            pltpu.VMEM((key.shape[1], 1), jnp.int32),
            pltpu.VMEM((sizes.heads * sizes.kv, key.shape[1]), value.dtype),
        ],
        compiler_params=_parameters(),
        cost_estimate=cost(query, key, products=2),
        interpret=interpret,
        name="attention_forward",
    )(
        None if bias is None else _windows(bias, sizes),
        _joined(query),
        _joined(key),
        _joined(value),
        query_segments[:, None],
        key_segments[:, None],
    )
    return out.reshape(query.shape), log_sum.reshape(query.shape[0], -1, query.shape[1])


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

    Args:
      log_sum: from `forward`.
      of_out: gradient of its other result.
      expected: product of both, summed over kv.
    """
    sizes, specs = _sizes_and_specs(query, key, causal, block)
    windows, undo = (None, None) if bias is None else jax.vjp(lambda x: _windows(x, sizes), bias)
    per_head = (query.shape[0], query.shape[2] // sizes.heads, sizes.heads, query.shape[1])
    results = pl.pallas_call(
        functools.partial(backward_kernel, sizes=sizes),
        grid=specs.grid,
        in_specs=[
            None if bias is None else specs.windows,
            specs.query,
            specs.key,
            specs.key,
            specs.query_segments,
            specs.key_segments,
            specs.per_query,
            specs.query,
            specs.per_query,
        ],
        out_specs=[specs.query, specs.key, specs.key] + ([] if bias is None else [specs.windows]),
        out_shape=[
            like(query, _joined(query).shape),
            like(key, _joined(key).shape),
            like(value, _joined(value).shape),
        ]
        + ([] if windows is None else [like(query, windows.shape, jnp.float32)]),
        scratch_shapes=[
            *([] if bias is None else [specs.blocks, specs.blocks]),
            pltpu.VMEM((key.shape[1], 1), jnp.int32),
            pltpu.VMEM((sizes.heads * sizes.kv, key.shape[1]), key.dtype),
            pltpu.VMEM((sizes.heads * sizes.kv, query.shape[1]), jnp.float32),
        ],
        compiler_params=_parameters(),
        cost_estimate=cost(query, key, products=5),
        interpret=interpret,
        name="attention_backward",
    )(
        windows,
        _joined(query),
        _joined(key),
        _joined(value),
        query_segments[:, None],
        key_segments[:, None],
        log_sum.reshape(per_head),
        _joined(of_out),
        expected.reshape(per_head),
    )
    of_query, of_key, of_value, *of_windows = results
    return (
        of_query.reshape(query.shape),
        of_key.reshape(key.shape),
        of_value.reshape(value.shape),
        undo(of_windows[0])[0] if undo else None,
    )


class _Specs(NamedTuple):
    """Which part of each array a program gets: rows of the batch change fastest."""

    grid: tuple[int, int]
    windows: Any
    query: Any
    key: Any
    query_segments: Any
    key_segments: Any
    per_query: Any
    blocks: Any


def _sizes_and_specs(query: Array, key: Array, causal: bool, block: int) -> tuple[Sizes, _Specs]:
    batch, query_length, heads, kv = query.shape
    key_length, together = key.shape[1], heads_together(kv)
    sizes = Sizes(block, query_length // block, key_length // block, together, kv, causal)
    lanes = together * kv
    return sizes, _Specs(
        grid=(heads // together, batch),
        windows=pl.BlockSpec((together, sizes.diagonals, 2 * block), lambda h, b: (h, 0, 0)),
        query=pl.BlockSpec((1, query_length, lanes), lambda h, b: (b, 0, h)),
        key=pl.BlockSpec((1, key_length, lanes), lambda h, b: (b, 0, h)),
        query_segments=pl.BlockSpec((1, 1, query_length), lambda h, b: (b, 0, 0)),
        key_segments=pl.BlockSpec((1, 1, key_length), lambda h, b: (b, 0, 0)),
        per_query=pl.BlockSpec((1, 1, together, query_length), lambda h, b: (b, h, 0, 0)),
        blocks=pltpu.VMEM((together, sizes.diagonals, block, block), jnp.float32),
    )


def _parameters() -> pltpu.CompilerParams:
    # Chips of two cores share the heads out; rows of a head stay together and in order.
    return pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary"))


def _joined(x: Float[Array, "batch length heads kv"]) -> Float[Array, "batch length joined"]:
    return x.reshape(*x.shape[:2], -1)


def _windows(
    bias: Float[Array, "heads distances"], sizes: Sizes
) -> Float[Array, "heads diagonals window"]:
    """Of each diagonal of blocks, the bias from which `toeplitz_block` makes a block.

    Entry m of a window belongs to queries that lie m after their key, counted from the block's own
    distance; the upper half to those before it, as negative indices do.
    """
    chunks = jnp.flip(bias, -1).reshape(bias.shape[0], sizes.diagonals + 1, sizes.block)
    return jnp.concatenate([chunks[:, 1:], chunks[:, :-1]], -1)
