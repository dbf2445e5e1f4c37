"""Attention with T5's relative bias: which positions see each other, and how far apart they are.

`attend` says what is computed. During training and encoding positions simply count up, so that the
bias depends on the distance alone; decoding step by step has positions of its own per row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from medmt5.models import fused_attention
from medmt5.models.layers import Dense, Keys, dropout, parameter

# -1e10 and not -inf, as in T5X: a row in which everything is masked (padding) stays finite.
MASKED = -1e10

# Query, key and value, each (batch, length, heads, kv), to what is attended, shaped like the query.
Attend = Callable[[Array, Array, Array], Array]


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
        """The bias between any positions; `between` is faster where they count up."""
        distance = key_positions[..., None, :] - query_positions[..., :, None]
        table = self.rel_embedding[...].astype(self.dtype)
        return jnp.moveaxis(table[:, self._bucket(distance, self.bidirectional)], 0, -3)

    def by_distance(self, query: int, key: int) -> Float[Array, "heads distances"]:
        """The bias at each distance of `key` keys from `query` queries, both counted from 0.

        Entry j is that of key position - query position = j - (query - 1). In float32, so that
        its gradient, a sum over batch and positions, is added up in float32.
        """
        distances = jnp.arange(query + key - 1) - (query - 1)
        return self.rel_embedding[...][:, self._bucket(distances, self.bidirectional)]

    def between(self, query: int, key: int) -> Float[Array, "heads query key"]:
        """The bias of all pairs of queries and keys, both counted from 0, in float32.

        In the shape that the device's compiler makes the least of, forwards and backwards: TPU's
        needs minutes for `toeplitz`, and as a product the gradient is one too.
        """
        if _platform() == "cpu":
            return toeplitz(self.by_distance(query, key), query)
        distance = jnp.arange(key) - jnp.arange(query)[:, None]
        buckets = self._bucket(distance, self.bidirectional)
        chosen = jax.nn.one_hot(buckets, self.NUM_BUCKETS)
        table = self.rel_embedding[...]
        return jnp.einsum("hb,qkb->hqk", table, chosen, precision=jax.lax.Precision.HIGHEST)

    def _bucket(self, distance: Int[Array, "*shape"], bidirectional: bool) -> Array:
        return relative_position_bucket(
            distance,
            bidirectional=bidirectional,
            num_buckets=self.NUM_BUCKETS,
            max_distance=self.MAX_DISTANCE,
        )


def toeplitz(
    distance_bias: Float[Array, "heads distances"], query: int
) -> Float[Array, "heads query key"]:
    """`RelativePositionBias.by_distance` spread over all pairs, without a gather.

    The gradient of a gather adds up its (query x key) entries one by one; this one's are sums.
    """
    heads, distances = distance_bias.shape
    # Rows of one entry more than there are distances, read with a period of one less: each row
    # starts one entry further to the left.
    period = distances + 1
    rows = jnp.pad(distance_bias, ((0, 0), (0, 1)))[:, None, :]
    flat = jnp.broadcast_to(rows, (heads, query, period)).reshape(heads, query * period)
    return flat[:, : query * distances].reshape(heads, query, distances)[:, :, query - 1 :]


def attend(
    query: Float[Array, "batch query heads kv"],
    key: Float[Array, "batch key heads kv"],
    value: Float[Array, "batch key heads kv"],
    *,
    bias: Float[Array, "#batch heads query key"] | None,
    mask: Bool[Array, "batch 1 #query key"],
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
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


class Seen(NamedTuple):
    """What each query sees: keys of its own segment; segment 0 is padding, which nobody sees.

    Attributes:
      query, key: segment ids.
      causal: and none to the right.
    """

    query: Int[Array, "batch query"]
    key: Int[Array, "batch key"]
    causal: bool = False

    def mask(self) -> Bool[Array, "batch 1 query key"]:
        query, key = self.query[:, :, None], self.key[:, None, :]
        mask = (query == key) & (key > 0)
        if self.causal:
            mask &= jnp.tril(jnp.ones(mask.shape[1:], bool))
        return mask[:, None]


def attention_among(seen: Seen, bias: RelativePositionBias | None, config: Any) -> Attend:
    """Attention between positions that count up from 0: fused, or `attend` with mask and bias,
    which all layers share, made here, once.

    Raises:
      ValueError: `config.attention` asks for a fused one, and there is none.
    """
    query, key = seen.query.shape[1], seen.key.shape[1]
    platform = _platform()
    if config.attention == "fused" or (
        config.attention == "auto" and platform in fused_attention.MEASURED
    ):
        shape = dict(
            query_length=query,
            key_length=key,
            heads=config.num_heads,
            kv=config.head_dim,
            dtype=config.dtype,
        )
        if fused_attention.supports(platform, **shape):
            return functools.partial(
                fused_attention.fused_attend,
                distance_bias=None if bias is None else bias.by_distance(query, key),
                query_segments=seen.query,
                key_segments=seen.key,
                causal=seen.causal,
                platform=platform,
            )
        if config.attention == "fused":
            raise ValueError(
                f"attention is 'fused', but {platform} has none for {shape}; use 'auto' or 'plain'"
            )
    return functools.partial(
        attend,
        bias=None if bias is None else bias.between(query, key).astype(config.dtype),
        mask=seen.mask(),
        float32_logits=config.float32_attention_logits,
    )


def _platform() -> str:
    """Of the mesh in force, which may be of devices that are not here, or of this process."""
    mesh = jax.sharding.get_abstract_mesh()
    device = None if mesh.empty else mesh.abstract_device
    platform = jax.default_backend() if device is None else device.platform
    return "gpu" if platform in ("cuda", "rocm") else platform


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

    def keys_values(
        self, x: Float[Array, "batch key embed"], keys: Keys | None = None
    ) -> tuple[Array, Array]:
        """Keys and values of the attended sequence, each (batch, key, heads, kv)."""
        return self._heads(self.key(x, keys)), self._heads(self.value(x, keys))

    def __call__(
        self,
        x: Float[Array, "batch query embed"],
        key: Float[Array, "batch key heads kv"],
        value: Float[Array, "batch key heads kv"],
        *,
        attend: Attend,
        keys: Keys | None,
    ) -> Float[Array, "batch query embed"]:
        # T5 drops the same attention weights for every query: that is to drop values.
        value = dropout(value, self.config.dropout_rate, keys, axis=-1)
        attended = attend(self._heads(self.query(x, keys)), key, value)
        return self.out(attended.reshape(*x.shape[:-1], -1), keys)
