"""Cross-entropy over the vocabulary: the plain one, and one that never holds all logits.

mT5 has 250,112 words: the float32 logits of 16,384 target tokens fill 15 GiB, and the plain loss
and its gradient hold them twice. The chunked one multiplies a few thousand tokens at a time with
the output matrix and makes their gradients at once. What model and batch, and how sums become a
mean, is left to `step`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from medmt5.partitioning import BATCH_AXES, batch_shards, parameter_sharding

# Tokens per device. Each chunk reads and writes the float32 gradient of the output matrix: at 2,048
# that is a byte for 1,536 operations, where devices balance one for 230 (TPU v4) or 300 (H100).
# Larger chunks would cost memory and save little.
CHUNK_TOKENS = 2048

# Logits per device, 4 MiB, up to which all are made at once: a matter of milliseconds on one CPU
# core either way. From there on chunks were faster at every size tried: results/loss.md.
FEW_LOGITS = 2**20


class Sums(NamedTuple):
    """Sums over tokens by weight; `total` is `nll` and `z_loss` together, `correct` counts."""

    total: Float[Array, ""]
    nll: Float[Array, ""]
    z_loss: Float[Array, ""]
    correct: Float[Array, ""]


def smoothed_target(label_smoothing: float, vocab: int) -> tuple[float, float, float]:
    """Probability wanted of the target, of every other word, and the entropy of that.

    Source: T5X `losses.compute_weighted_cross_entropy`.
    """
    if not label_smoothing:
        return 1.0, 0.0, 0.0
    high, low = 1.0 - label_smoothing, label_smoothing / (vocab - 1)
    return high, low, -(high * math.log(high) + (vocab - 1) * low * math.log(low + 1e-20))


def cross_entropy(
    logits: Float[Array, "*positions vocab"],
    targets: Int[Array, "*positions"],
    *,
    z_loss: float,
    label_smoothing: float,
) -> tuple[Float[Array, "*positions"], Float[Array, "*positions"]]:
    """Loss per token in nats, and the part of it that is z-loss.

    Label smoothing spreads its mass over the other words and subtracts the entropy of the smoothed
    target, so that a perfect prediction costs 0. z-loss keeps the log-partition near 0.

    Source: T5X `losses.cross_entropy_with_logits`.
    """
    high, low, entropy = smoothed_target(label_smoothing, logits.shape[-1])
    log_z = jax.nn.logsumexp(logits, axis=-1)
    target_logit = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        expected = (high - low) * target_logit + low * logits.sum(-1)
        loss = log_z - expected - entropy
    else:
        loss = log_z - target_logit
    z = z_loss * jnp.square(log_z)
    return loss + z, z


def plain_sums(
    logits: Float[Array, "batch target vocab"],
    targets: Int[Array, "batch target"],
    weights: Float[Array, "batch target"],
    *,
    z_loss: float,
    label_smoothing: float,
) -> Sums:
    """`cross_entropy` summed by weight: the reference for `chunked_sums`."""
    loss, z = cross_entropy(logits, targets, z_loss=z_loss, label_smoothing=label_smoothing)
    correct = (logits.argmax(-1) == targets).astype(jnp.float32)
    return Sums(*((each * weights).sum() for each in (loss, loss - z, z, correct)))


def few_logits(tokens: int, vocab: int) -> bool:
    """Whether a device's share of the logits is so small that chunks gain nothing."""
    mesh = jax.sharding.get_abstract_mesh()
    return tokens * vocab <= FEW_LOGITS * (1 if mesh.empty else mesh.size)


class _Options(NamedTuple):
    """Of `chunked_sums`: what is known when tracing."""

    dtype: Any
    vocab: int
    z_loss: float
    label_smoothing: float
    chunk_tokens: int


class _Axes(NamedTuple):
    """Mesh axes over which tokens and the two dimensions of the kernel are split."""

    rows: tuple[str, ...] = ()
    embed: tuple[str, ...] = ()
    vocab: tuple[str, ...] = ()


def chunked_sums(
    hidden: Float[Array, "batch target embed"],
    kernel: Float[Array, "embed vocab"],
    targets: Int[Array, "batch target"],
    weights: Float[Array, "batch target"],
    *,
    z_loss: float,
    label_smoothing: float,
    chunk_tokens: int = CHUNK_TOKENS,
) -> Sums:
    """`plain_sums` of the logits `hidden @ kernel`, of which only a chunk exists at a time.

    The products take inputs of `hidden`'s type and add up in float32. Only `total` has a gradient,
    made together with it: as many products as the plain loss, where making the logits again in the
    backward pass would cost a third more. There is no second derivative.

    Under a mesh each device takes its own tokens. The kernel is gathered over `embed` once, in
    `hidden`'s type, and stays split over `vocab`; its gradient is summed over devices once, at the
    end. Left to the compiler, logits or gradients of the whole kernel are sent in every chunk.

    Args:
      hidden: decoder output, scaled already where the embedding is the kernel.
      kernel: float32 output matrix.
      targets: ids.
      weights: of each token; 0 for padding.
      z_loss: weight of the squared log-partition.
      label_smoothing: probability mass taken from the target, in [0, 1).
      chunk_tokens: at most so many tokens per device are multiplied at a time.
    """
    options = _Options(hidden.dtype, kernel.shape[1], z_loss, label_smoothing, chunk_tokens)
    mesh = jax.sharding.get_abstract_mesh()
    shards = 1 if mesh.empty else batch_shards(mesh)
    divisible = _ceil_div(targets.size, shards) * shards

    def flat(x: Array) -> Array:
        return _pad(x.reshape(targets.size, *x.shape[2:]), divisible)

    # In float32 although the products are not: these casts then round each gradient just once.
    return _chunked(
        flat(hidden.astype(jnp.float32)),
        kernel.astype(jnp.float32),
        flat(targets),
        flat(weights.astype(jnp.float32)),
        options,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _chunked(hidden: Array, kernel: Array, targets: Array, weights: Array, options: _Options):
    return _on_mesh(hidden, kernel, targets, weights, options, with_gradients=False)[0]


def _forward(hidden: Array, kernel: Array, targets: Array, weights: Array, options: _Options):
    return _on_mesh(hidden, kernel, targets, weights, options, with_gradients=True)


def _backward(_: _Options, gradients: tuple[Array, Array, Array], cotangent: Sums):
    of_hidden, of_kernel, of_weights = (gradient * cotangent.total for gradient in gradients)
    return of_hidden, of_kernel, None, of_weights


_chunked.defvjp(_forward, _backward)


def _on_mesh(
    hidden: Array,
    kernel: Array,
    targets: Array,
    weights: Array,
    options: _Options,
    *,
    with_gradients: bool,
) -> tuple[Sums, Any]:
    """`_on_device` on every device of the mesh in force, or on the only one."""
    mesh = jax.sharding.get_abstract_mesh()
    run = functools.partial(_on_device, options=options, with_gradients=with_gradients)
    if mesh.empty or mesh.size == 1:
        return run(hidden, kernel, targets, weights, axes=_Axes())
    # As parameters are split by default; the compiler moves a kernel that is split otherwise.
    split = parameter_sharding(kernel.shape, ("embed", "vocab"), mesh).spec
    axes = _Axes(BATCH_AXES, *(() if axis is None else (axis,) for axis in split))
    rows, whole = PartitionSpec(BATCH_AXES), PartitionSpec()
    return jax.shard_map(
        functools.partial(run, axes=axes),
        in_specs=(rows, split, rows, rows),
        out_specs=(whole, (rows, split, rows) if with_gradients else whole),
    )(hidden, kernel, targets, weights)


def _on_device(
    hidden: Float[Array, "positions embed"],
    kernel: Float[Array, "embed_shard vocab_shard"],
    targets: Int[Array, " positions"],
    weights: Float[Array, " positions"],
    *,
    options: _Options,
    axes: _Axes,
    with_gradients: bool,
) -> tuple[Sums, tuple[Array, Array, Array] | None]:
    """Sums over all devices, and the gradients of `total` for this device's hidden states, kernel
    and weights.
    """
    hidden, kernel = hidden.astype(options.dtype), kernel.astype(options.dtype)
    if axes.embed:
        kernel = lax.all_gather(kernel, axes.embed, axis=0, tiled=True)
    first_id = lax.axis_index(axes.vocab) * kernel.shape[1] if axes.vocab else 0
    chunks = _ceil_div(len(targets), options.chunk_tokens)
    size = _ceil_div(len(targets), chunks)  # even sizes: less than one token per chunk is padding

    def cut(x: Array) -> Array:
        return _pad(x, chunks * size).reshape(chunks, size, *x.shape[1:])

    def join(x: Array) -> Array:
        return x.reshape(chunks * size, *x.shape[2:])[: len(targets)]

    def one_chunk(of_kernel: Array | None, chunk: tuple[Array, Array, Array]):
        hidden, targets, weights = chunk
        logits = jnp.dot(hidden, kernel, preferred_element_type=jnp.float32)
        is_target = (
            lax.broadcasted_iota(jnp.int32, logits.shape, 1) == (targets - first_id)[:, None]
        )
        losses, of_logits = _sharded_cross_entropy(
            logits, is_target, targets, first_id, options, axes.vocab
        )
        if of_kernel is None:
            return None, (losses, None)
        exact = weights[:, None] * of_logits
        rounded = exact.astype(options.dtype)
        of_kernel += jnp.einsum("te,tv->ev", hidden, rounded, preferred_element_type=jnp.float32)
        of_hidden = jnp.einsum("tv,ev->te", rounded, kernel, preferred_element_type=jnp.float32)
        if options.dtype != jnp.float32:
            # The target's entry is the largest by far; its rounding alone would make this gradient
            # up to a quarter less exact than the plain one. The errors of the others cancel out.
            lost = jnp.where(is_target, exact - rounded, 0.0).sum(-1)
            columns = jnp.take(kernel, targets - first_id, axis=1, mode="clip")
            of_hidden += lost[:, None] * columns.T
        return of_kernel, (losses, of_hidden)

    start = None
    if with_gradients:
        zeros = jnp.zeros(kernel.shape, jnp.float32)
        start = lax.pcast(zeros, axes.rows + axes.vocab, to="varying")
    of_kernel, (losses, of_hidden) = lax.scan(
        one_chunk, start, (cut(hidden), cut(targets), cut(weights))
    )
    loss, z, correct = map(join, losses)
    sums = Sums(
        *(_all(lax.psum, (x * weights).sum(), axes.rows) for x in (loss, loss - z, z, correct))
    )
    if not with_gradients:
        return sums, None
    if axes.embed:
        of_kernel = lax.psum_scatter(of_kernel, axes.embed, scatter_dimension=0, tiled=True)
    of_kernel = _all(lax.psum, of_kernel, tuple(a for a in axes.rows if a not in axes.embed))
    return sums, (_all(lax.psum, join(of_hidden), axes.vocab), of_kernel, loss)


def _sharded_cross_entropy(
    logits: Float[Array, "positions vocab_shard"],
    is_target: Bool[Array, "positions vocab_shard"],
    targets: Int[Array, " positions"],
    first_id: Int[Array, ""] | int,
    options: _Options,
    axes: tuple[str, ...],
) -> tuple[tuple[Array, Array, Array], Float[Array, "positions vocab_shard"]]:
    """`cross_entropy` where each device of `axes` has a part of the vocabulary, from `first_id` on.

    Returns:
      Per token: loss, its part that is z-loss, and 1 where the target has the highest logit (of
      equal ones the first, as `argmax`); and the gradient of the loss for these logits.
    """
    high, low, entropy = smoothed_target(options.label_smoothing, options.vocab)
    here = logits.max(-1)
    largest = _all(lax.pmax, here, axes)
    log_z = largest + jnp.log(_all(lax.psum, jnp.exp(logits - largest[:, None]).sum(-1), axes))
    expected = (high - low) * _all(lax.psum, jnp.where(is_target, logits, 0.0).sum(-1), axes)
    if low:
        expected += low * _all(lax.psum, logits.sum(-1), axes)
    z = options.z_loss * jnp.square(log_z)
    best = jnp.where(here == largest, first_id + logits.argmax(-1), options.vocab)
    correct = _all(lax.pmin, best, axes) == targets
    slope = 1 + 2 * options.z_loss * log_z
    gradient = jnp.exp(logits - log_z[:, None]) * slope[:, None] - jnp.where(is_target, high, low)
    return (log_z - expected - entropy + z, z, correct.astype(jnp.float32)), gradient


def _all(reduce: Callable[..., Array], x: Array, axes: tuple[str, ...]) -> Array:
    """`x` reduced over mesh axes, of which there may be none (`lax.psum` insists on one)."""
    return reduce(x, axes) if axes else x


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _pad(x: Array, count: int) -> Array:
    """Zeros up to `count` entries of the leading axis."""
    return jnp.pad(x, [(0, count - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
