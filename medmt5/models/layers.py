"""The building blocks of T5 1.1 / mT5: attention, relative positions, gated MLP, RMSNorm.

One declaration per array: shape, logical axes, initialiser. Names and shapes are those of T5X
(`attention/query/kernel` is `(embed, heads * kv)`), so that checkpoints need no reshaping.
How the blocks are stacked is left to `t5`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

Initializer = Callable[..., Array]

# -1e10 and not -inf, as in T5X: a row in which everything is masked (padding) stays finite.
MASKED = -1e10

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "linear": lambda x: x,
}


def parameter(
    rngs: nnx.Rngs, shape: Sequence[int], axes: Sequence[str], init: Initializer
) -> nnx.Param:
    """A float32 parameter with one logical axis name per dimension."""
    assert len(shape) == len(axes), (shape, axes)
    return nnx.Param(init(rngs.params(), tuple(shape), jnp.float32), axes=tuple(axes))


def dropout(x: Array, rate: float, rngs: nnx.Rngs | None) -> Array:
    """Drop values, the same ones at every position of the second-last axis, as T5 does.

    Args:
      x: activations, any shape of two or more axes.
      rate: probability in [0, 1) that a value is dropped.
      rngs: None when evaluating; otherwise gives a fresh `dropout` key per call.
    """
    if rngs is None or rate == 0.0:
        return x
    shape = (*x.shape[:-2], 1, x.shape[-1])
    keep = jax.random.bernoulli(rngs.dropout(), 1.0 - rate, shape)
    return jnp.where(keep, x / (1.0 - rate), 0).astype(x.dtype)


def matmul(
    x: Float[Array, "*batch embed"], kernel: Float[Array, "embed features"], **kwargs
) -> Float[Array, "*batch features"]:
    """`x @ kernel` with the leading axes joined, which XLA's CPU code multiplies much faster."""
    product = jnp.dot(x.reshape(-1, x.shape[-1]), kernel, **kwargs)
    return product.reshape(*x.shape[:-1], kernel.shape[-1])


class Dense(nnx.Module):
    """A matrix without bias: the last axis of the input is contracted."""

    def __init__(
        self,
        shape: Sequence[int],
        axes: Sequence[str],
        *,
        init: Initializer,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.kernel = parameter(rngs, shape, axes, init)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*batch embed"]) -> Float[Array, "*batch features"]:
        return matmul(x.astype(self.dtype), self.kernel[...].astype(self.dtype))


class RMSNorm(nnx.Module):
    """Scale to unit root mean square, in float32; no mean, no bias."""

    def __init__(self, size: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.scale = parameter(rngs, (size,), ("embed",), nnx.initializers.ones)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*batch embed"]) -> Float[Array, "*batch embed"]:
        x32 = x.astype(jnp.float32)
        normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + 1e-6)
        return normed.astype(self.dtype) * self.scale[...].astype(self.dtype)


def relative_position_bucket(
    distance: Int[Array, "*shape"], *, bidirectional: bool, num_buckets: int, max_distance: int
) -> Int[Array, "*shape"]:
    """Bucket token distances: one by one when near, by logarithm when far.

    Args:
      distance: key position minus query position, in tokens.
      bidirectional: True in the encoder: half of the buckets serve keys to the right.
        False in the decoder: keys to the right share bucket 0 (the mask hides them anyway).
      num_buckets: buckets in all.
      max_distance: tokens; from here on, the last bucket.

    Returns:
      Bucket index in [0, num_buckets).

    Raises:
      ValueError: num_buckets is too small or, if bidirectional, odd.

    Source: Raffel et al. 2020, section 2.1; bucket edges as in T5X.
    """
    if num_buckets < 4 or (bidirectional and num_buckets % 2):
        raise ValueError(
            f"num_buckets is {num_buckets}; at least 4 and, in the encoder, even numbers work"
        )
    offset = jnp.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        offset = jnp.where(distance > 0, num_buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(-distance, 0)
    exact = num_buckets // 2
    # The small constant is T5X's: it keeps log(0) finite and the bucket edges where theirs are.
    fraction = jnp.log(
        distance.astype(jnp.float32) / exact + jnp.finfo(jnp.float32).eps
    ) / math.log(max_distance / exact)
    far = exact + (fraction * (num_buckets - exact)).astype(jnp.int32)
    far = jnp.minimum(far, num_buckets - 1)
    return offset + jnp.where(distance < exact, distance, far)


class RelativePositionBias(nnx.Module):
    """One learnt number per head and distance bucket, shared by all layers of a stack."""

    NUM_BUCKETS = 32
    MAX_DISTANCE = 128

    def __init__(self, config, *, bidirectional: bool, rngs: nnx.Rngs):
        uniform = nnx.initializers.variance_scaling(1.0, "fan_avg", "uniform")
        # Head 0 prefers the previous token, head 1 the next, head 2 the last but one, and so on;
        # in the decoder there is only a past. The first buckets are one token each.
        head = jnp.arange(config.num_heads)
        distance = jnp.where(head % 2, 1, -1) * (head // 2 + 1) if bidirectional else -head
        favoured = self._bucket(jnp.clip(distance, -4, 4), bidirectional)

        def init(key, shape, dtype):
            bump = jax.nn.one_hot(favoured, self.NUM_BUCKETS, dtype=dtype)
            return uniform(key, shape, dtype) + config.neighbour_bias_init * bump

        self.rel_embedding = parameter(
            rngs, (config.num_heads, self.NUM_BUCKETS), ("heads", "relpos_buckets"), init
        )
        self.bidirectional = bidirectional
        self.dtype = config.dtype

    def __call__(
        self,
        query_positions: Int[Array, "*rows query"],
        key_positions: Int[Array, "*rows key"],
    ) -> Float[Array, "*rows heads query key"]:
        distance = key_positions[..., None, :] - query_positions[..., :, None]
        table = self.rel_embedding[...].astype(self.dtype)
        return jnp.moveaxis(table[:, self._bucket(distance, self.bidirectional)], 0, -3)

    def _bucket(self, distance: Int[Array, "*shape"], bidirectional: bool) -> Array:
        return relative_position_bucket(
            distance,
            bidirectional=bidirectional,
            num_buckets=self.NUM_BUCKETS,
            max_distance=self.MAX_DISTANCE,
        )


def attend(
    query: Float[Array, "batch query heads kv"],
    key: Float[Array, "batch key heads kv"],
    value: Float[Array, "batch key heads kv"],
    *,
    bias: Float[Array, "#batch heads query key"] | None,
    mask: Bool[Array, "batch 1 #query key"],
    dropout_rate: float,
    rngs: nnx.Rngs | None,
    float32_logits: bool = False,
) -> Float[Array, "batch query heads kv"]:
    """Attention without a 1/sqrt(kv) factor: T5 folds it into the query's initialiser.

    The relative bias is added before the mask; the softmax runs in float32.
    Source: Raffel et al. 2020; order of operations as in T5X.
    """
    dtype = query.dtype
    if float32_logits:
        query, key = query.astype(jnp.float32), key.astype(jnp.float32)
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
    if bias is not None:
        logits = logits + bias.astype(logits.dtype)
    logits = jnp.where(mask, logits.astype(jnp.float32), MASKED)
    weights = jax.nn.softmax(logits, axis=-1).astype(dtype)
    weights = dropout(weights, dropout_rate, rngs)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


class Attention(nnx.Module):
    """Multi-head attention with T5X's four 2-D kernels."""

    def __init__(self, config, *, rngs: nnx.Rngs):
        embed, joined = config.emb_dim, config.num_heads * config.head_dim
        fan_in = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
        # The 1/sqrt(kv) that other transformers apply to the logits sits here, as in T5X.
        query_fan_in = nnx.initializers.variance_scaling(1.0 / config.head_dim, "fan_in", "normal")
        into = dict(shape=(embed, joined), axes=("embed", "joined_kv"), dtype=config.dtype)
        self.query = Dense(**into, init=query_fan_in, rngs=rngs)
        self.key = Dense(**into, init=fan_in, rngs=rngs)
        self.value = Dense(**into, init=fan_in, rngs=rngs)
        self.out = Dense(
            (joined, embed), ("joined_kv", "embed"), init=fan_in, dtype=config.dtype, rngs=rngs
        )
        self.config = config

    def _heads(self, x: Float[Array, "batch length joined"]) -> Array:
        return x.reshape(*x.shape[:-1], self.config.num_heads, self.config.head_dim)

    def keys_values(self, x: Float[Array, "batch key embed"]) -> tuple[Array, Array]:
        """Keys and values of the attended sequence, each (batch, key, heads, kv)."""
        return self._heads(self.key(x)), self._heads(self.value(x))

    def __call__(
        self,
        x: Float[Array, "batch query embed"],
        key: Float[Array, "batch key heads kv"],
        value: Float[Array, "batch key heads kv"],
        *,
        bias: Array | None = None,
        mask: Array,
        rngs: nnx.Rngs | None,
    ) -> Float[Array, "batch query embed"]:
        attended = attend(
            self._heads(self.query(x)),
            key,
            value,
            bias=bias,
            mask=mask,
            dropout_rate=self.config.dropout_rate,
            rngs=rngs,
            float32_logits=self.config.float32_attention_logits,
        )
        return self.out(attended.reshape(*x.shape[:-1], -1))


class Mlp(nnx.Module):
    """Gated feed-forward block: `wo(gelu(wi_0 x) * (wi_1 x))`; one activation gives plain `wi`."""

    def __init__(self, config, *, rngs: nnx.Rngs):
        fan_in = nnx.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        count = len(config.mlp_activations)
        self.names = ("wi",) if count == 1 else tuple(f"wi_{i}" for i in range(count))
        for name in self.names:
            kernel = Dense(
                (config.emb_dim, config.mlp_dim),
                ("embed", "mlp"),
                init=fan_in,
                dtype=config.dtype,
                rngs=rngs,
            )
            setattr(self, name, kernel)
        self.wo = Dense(
            (config.mlp_dim, config.emb_dim),
            ("mlp", "embed"),
            init=fan_in,
            dtype=config.dtype,
            rngs=rngs,
        )
        self.config = config

    def __call__(
        self, x: Float[Array, "batch length embed"], *, rngs: nnx.Rngs | None
    ) -> Float[Array, "batch length embed"]:
        hidden = None
        for name, activation in zip(self.names, self.config.mlp_activations, strict=True):
            branch = ACTIVATIONS[activation](getattr(self, name)(x))
            hidden = branch if hidden is None else hidden * branch
        return self.wo(dropout(hidden, self.config.dropout_rate, rngs))
