"""The smaller building blocks of T5 1.1 / mT5: matrices, gated MLP, RMSNorm, dropout.

One declaration per array: shape, logical axes, initialiser. Names and shapes are those of T5X
(`attention/query/kernel` is `(embed, heads * kv)`), so that checkpoints need no reshaping.
Attention is in `attention`; how the blocks are stacked is left to `stack` and `t5`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int8

Initializer = Callable[..., Array]

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


class Keys:
    """Dropout keys: a new one at every call, the same ones in every run.

    A few folds where `nnx.Rngs`, made for modules that keep their state, takes seconds to trace in
    a large model. A scan or a rematerialised layer makes its own from a key that it is given.
    """

    def __init__(self, key: Array):
        self._key, self._given = key, 0

    def __call__(self) -> Array:
        self._given += 1
        return jax.random.fold_in(self._key, self._given)


def dropout(x: Array, rate: float, keys: Keys | None, axis: int = -2) -> Array:
    """Drop values, the same ones at every position of an axis, as T5 does.

    Args:
      x: activations, any shape of two or more axes.
      rate: probability in [0, 1) that a value is dropped.
      keys: None when evaluating.
      axis: along which values are kept or dropped together; the positions by default.
    """
    if keys is None or rate == 0.0:
        return x
    shape = list(x.shape)
    shape[axis] = 1
    keep = jax.random.bernoulli(keys(), 1.0 - rate, shape)
    return jnp.where(keep, x / (1.0 - rate), 0).astype(x.dtype)


def matmul(
    x: Float[Array, "*batch embed"], kernel: Float[Array, "embed features"], **kwargs
) -> Float[Array, "*batch features"]:
    """`x @ kernel` with the leading axes joined, which XLA's CPU code multiplies much faster."""
    product = jnp.dot(x.reshape(-1, x.shape[-1]), kernel, **kwargs)
    return product.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.checkpoint
def matmul_int8(
    x: Float[Array, "*batch embed"], kernel: Int8[Array, "embed features"]
) -> Float[Array, "*batch features"]:
    """`matmul` of a matrix whose numbers become floating-point, without error, on the way.

    The backward pass converts them again. Otherwise what it keeps is the converted matrix, of every
    layer: in a scan, more memory than int8 has saved.
    """
    return matmul(x, kernel.astype(x.dtype))


class Dense(nnx.Module):
    """A matrix without bias: the last axis of the input is contracted. See `quantized` for one that
    has a scale.
    """

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
        self.kernel_scale: nnx.Param | None = nnx.data(None)
        self.dtype = dtype
        self.lora: LowRank | None = nnx.data(None)

    def __call__(
        self, x: Float[Array, "*batch embed"], keys: Keys | None = None
    ) -> Float[Array, "*batch features"]:
        x = x.astype(self.dtype)
        if self.kernel_scale is None:
            product = matmul(x, self.kernel[...].astype(self.dtype))
        else:
            product = matmul_int8(x, self.kernel[...]) * self.kernel_scale[0]
            product = product.astype(self.dtype)
        return product if self.lora is None else product + self.lora(x, keys)


class LowRank(nnx.Module):
    """What an adapter adds to a matrix's product; nothing at first. See `lora.LoraConfig`."""

    def __init__(self, dense: Dense, config, *, rngs: nnx.Rngs):
        rows, columns = dense.kernel.shape
        row_axis, column_axis = dense.kernel.axes
        # Uniform within 1/sqrt(rows), as PEFT draws it.
        uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        self.a = parameter(rngs, (rows, config.rank), (row_axis, "rank"), uniform)
        self.b = parameter(
            rngs, (config.rank, columns), ("rank", column_axis), nnx.initializers.zeros
        )
        self.scale, self.dropout_rate, self.dtype = config.scale, config.dropout, dense.dtype

    def __call__(
        self, x: Float[Array, "*batch embed"], keys: Keys | None
    ) -> Float[Array, "*batch features"]:
        down = matmul(dropout(x, self.dropout_rate, keys), self.a[...].astype(self.dtype))
        return self.scale * matmul(down, self.b[...].astype(self.dtype))


class RMSNorm(nnx.Module):
    """Scale to unit root mean square, in float32; no mean, no bias."""

    def __init__(self, size: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.scale = parameter(rngs, (size,), ("embed",), nnx.initializers.ones)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*batch embed"]) -> Float[Array, "*batch embed"]:
        x32 = x.astype(jnp.float32)
        normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + 1e-6)
        return normed.astype(self.dtype) * self.scale[...].astype(self.dtype)


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
        self, x: Float[Array, "batch length embed"], *, keys: Keys | None
    ) -> Float[Array, "batch length embed"]:
        hidden = None
        for name, activation in zip(self.names, self.config.mlp_activations, strict=True):
            branch = ACTIVATIONS[activation](getattr(self, name)(x, keys))
            hidden = branch if hidden is None else hidden * branch
        return self.wo(dropout(hidden, self.config.dropout_rate, keys), keys)
