"""Attention with T5's relative bias of which a batch's scores never lie in memory.

The bias comes as one number per head and distance, and so does its gradient. How it is computed is
the device's matter: `fused_attention_tpu`, `fused_attention_gpu`, `fused_attention_cpu`. The plain
path, for shapes that none of them takes, and the choice are left to the caller.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from medmt5.partitioning import BATCH_AXES, batch_shards

# Kernels that were measured on their device; the others have to be asked for.
MEASURED = ("cpu",)
PLATFORMS = ("tpu", "gpu", "cpu")

# The least that a kernel's softmax may subtract. Far more than a masked score: where a query sees
# nothing, all weights are exp(MASKED - LEAST), which is zero.
LEAST = -1e9


class _Options(NamedTuple):
    """What is known when tracing."""

    platform: str
    causal: bool
    block: int
    interpret: bool


def supports(
    platform: str,
    *,
    query_length: int,
    key_length: int,
    heads: int,
    kv: int,
    dtype: Any,
) -> bool:
    """Whether a kernel takes arrays of this shape on this platform, under the mesh in force.

    Args:
      platform: one of `PLATFORMS`, or any other, which has no kernel.
      heads: of the model; a mesh may split them.
      dtype: of query, key and value.
    """
    return _block(platform, query_length, key_length, _heads_here(heads), kv, dtype) is not None


def fused_attend(
    query: Float[Array, "batch query heads kv"],
    key: Float[Array, "batch key heads kv"],
    value: Float[Array, "batch key heads kv"],
    *,
    distance_bias: Float[Array, "heads distances"] | None,
    query_segments: Int[Array, "batch query"],
    key_segments: Int[Array, "batch key"],
    causal: bool,
    platform: str,
    interpret: bool = False,
) -> Float[Array, "batch query heads kv"]:
    """Attention as `attend` computes it, without dropout, for shapes that `supports` names.

    Products take inputs of the query's type and add up in float32; bias and softmax are float32.
    A query that sees nothing gets zeros. There is no second derivative. The results that the
    gradient needs are named "attention", for a rematerialisation policy to keep.

    Under a mesh each device takes its own rows and heads; the gradient of the bias is summed over
    devices once.

    Args:
      distance_bias: entry j is added where key position minus query position is
        `j - (query - 1)`; `query + key - 1` entries.
      query_segments, key_segments: a query sees the keys of its own segment; 0 is padding.
      causal: a query sees no later position than its own.
      platform: one of `PLATFORMS`.
      interpret: run the kernel as plain operations, on any device: slow, for tests.
    """
    heads, kv = query.shape[2:]
    lengths = query.shape[1], key.shape[1]
    block = _block(platform, *lengths, _heads_here(heads), kv, query.dtype)
    assert block is not None, (platform, query.shape, key.shape, query.dtype)
    more_queries, more_keys = (-length % block for length in lengths)
    if distance_bias is not None:
        # One more than there are distances, for an even number of whole blocks.
        distance_bias = jnp.pad(
            distance_bias.astype(jnp.float32), ((0, 0), (more_queries, more_keys + 1))
        )
    out = _attend(
        _pad(query, more_queries),
        _pad(key, more_keys),
        _pad(value, more_keys),
        distance_bias,
        _pad(query_segments, more_queries),
        # Padding is no segment, so that being equal is all there is to compare.
        _pad(jnp.where(key_segments > 0, key_segments, -1), more_keys, -1),
        _Options(platform, causal, block, interpret),
    )
    return out[:, : lengths[0]]


def cost(
    query: Float[Array, "batch query heads kv"],
    key: Float[Array, "batch key heads kv"],
    products: int,
) -> Any:
    """What the compiler cannot see of a kernel with so many products of the scores' size.

    What a causal kernel passes over is counted too, as everywhere in FLOPs.
    """
    from jax.experimental import pallas as pl

    scores = query.shape[0] * query.shape[2] * query.shape[1] * key.shape[1]
    return pl.CostEstimate(
        flops=2 * products * scores * query.shape[3],
        transcendentals=scores,
        bytes_accessed=2 * (query.nbytes + key.nbytes),
    )


def like(x: Array, shape: tuple[int, ...], dtype: Any = None) -> jax.ShapeDtypeStruct:
    """A kernel's result that differs between devices of a mesh as `x` does."""
    return jax.ShapeDtypeStruct(
        shape, dtype or x.dtype, manual_axis_type=jax.typeof(x).manual_axis_type
    )


def _block(
    platform: str, query_length: int, key_length: int, heads: int, kv: int, dtype: Any
) -> int | None:
    """Length to a multiple of which queries and keys are padded; None where no kernel serves."""
    dtype = jnp.dtype(dtype)
    if platform not in PLATFORMS or dtype not in (jnp.bfloat16, jnp.float32):
        return None
    return _kernels(platform).block_size(query_length, key_length, heads, kv, dtype.itemsize)


def _kernels(platform: str) -> Any:
    # Imported late: that of another device is never needed, and takes up to half a second.
    return importlib.import_module(f"medmt5.models.fused_attention_{platform}")


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _attend(query, key, value, bias, query_segments, key_segments, options):
    return _forward(query, key, value, bias, query_segments, key_segments, options)[0]


def _forward(query, key, value, bias, query_segments, key_segments, options):
    arrays = (query, key, value, bias, query_segments, key_segments)
    out, log_sum = checkpoint_name(_on_mesh("forward", arrays, options), "attention")
    return out, (*arrays, out, log_sum)


def _backward(options, kept, of_out):
    *arrays, out, log_sum = kept
    expected = jnp.einsum("bqhd,bqhd->bhq", of_out.astype(jnp.float32), out.astype(jnp.float32))
    gradients = _on_mesh("backward", (*arrays, log_sum, of_out, expected), options)
    return *gradients, None, None


_attend.defvjp(_forward, _backward)


def _on_mesh(name: str, arrays: tuple[Array | None, ...], options: _Options) -> Any:
    """A kernel on every device of the mesh in force, or on the only one.

    Without this each device would get whole arrays: the compiler cannot split what it does not see
    into.
    """
    run = functools.partial(
        getattr(_kernels(options.platform), name),
        causal=options.causal,
        block=options.block,
        interpret=options.interpret,
    )
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return run(*arrays)
    batch, _, heads, _ = arrays[0].shape
    rows = BATCH_AXES if batch % batch_shards(mesh) == 0 else ()
    model = "model" if _heads_here(heads) < heads else None
    whole = PartitionSpec(rows, None, model)  # queries, keys, values
    per_head, per_query, row = PartitionSpec(model), PartitionSpec(rows, model), PartitionSpec(rows)
    specs = (whole, whole, whole, per_head, row, row, per_query, whole, per_query)

    def on_device(query, key, value, bias, *rest):
        if bias is not None:
            bias = lax.pcast(bias, rows, to="varying") if rows else bias
        results = run(query, key, value, bias, *rest)
        if name == "backward" and bias is not None and rows:
            *others, of_bias = results
            return *others, lax.psum(of_bias, rows)
        return results

    out_specs = {"forward": (whole, per_query), "backward": (whole, whole, whole, per_head)}
    return jax.shard_map(
        on_device,
        in_specs=specs[: len(arrays)],
        out_specs=out_specs[name],
        # JAX's interpreter of kernels loses track of which values differ between devices.
        check_vma=not options.interpret,
    )(*arrays)


def _heads_here(heads: int) -> int:
    """Heads of one device: those that divide are split over the model axis."""
    mesh = jax.sharding.get_abstract_mesh()
    parts = 1 if mesh.empty else mesh.shape["model"]
    return heads if heads % parts else heads // parts


def _pad(x: Array, count: int, value: int = 0) -> Array:
    """`count` more entries of the second axis."""
    if count == 0:
        return x
    return jnp.pad(x, [(0, 0), (0, count)] + [(0, 0)] * (x.ndim - 2), constant_values=value)
