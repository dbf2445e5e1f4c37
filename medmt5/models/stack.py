"""A stack of equal layers: run one by one or as a scan, with as much kept for the backward pass as
there is room for. What a layer computes is left to `t5`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from medmt5.models.attention import Attend, RelativePositionBias
from medmt5.models.layers import Keys

# What a layer keeps for its backward pass; the rest is computed again. Names as in T5X.
# "minimal" keeps products with weights, which are dear to repeat, and what a fused attention asks
# for, but no attention weights, whose size grows with the square of the length.
REMAT_POLICIES: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "minimal": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims,
        jax.checkpoint_policies.save_only_these_names("attention"),
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Stack(nnx.Module):
    """Numbered layers, and their relative biases: one table for all, or one per layer."""

    config: Any
    num_layers: int

    def layer(self, i: int) -> Any:
        return getattr(self, f"layers_{i}")

    def attention_of(
        self, make: Callable[[RelativePositionBias], Attend]
    ) -> Callable[[Any], Attend]:
        """From a layer to its attention among the stack's own positions."""
        if self.config.relative_bias_per_layer:
            return lambda layer: make(layer.relpos_bias)
        shared = make(self.relpos_bias)
        return lambda layer: shared

    def run(
        self, x: Array, apply: Callable[[Any, Array, Keys | None], Array], *, keys: Keys | None
    ) -> Array:
        """`apply(layer, x, keys)` for all layers, one after the other.

        Parameters stay apart, a name each. A scan stacks them on the way, in the type that they
        are multiplied in: the copy that this type needs anyway.
        """
        config = self.config
        graph = nnx.graphdef(self.layer(0))
        states = [nnx.to_pure_dict(nnx.state(self.layer(i))) for i in range(self.num_layers)]
        # What an int8 base has besides int8 is small, and its scales are used in float32.
        if config.scan_layers and config.base_weights == "float32":
            states = jax.tree.map(lambda a: a.astype(config.dtype), states)
        layer_keys = [None if keys is None else keys() for _ in states]

        def body(x: Array, layer: tuple[Any, Array | None]) -> tuple[Array, None]:
            state, key = layer
            return apply(nnx.merge(graph, state), x, None if key is None else Keys(key)), None

        if config.remat_policy != "none":
            # In a scan the compiler cannot undo it by finding common subexpressions.
            body = jax.checkpoint(
                body,
                policy=REMAT_POLICIES[config.remat_policy],
                prevent_cse=not config.scan_layers,
            )
        layers = list(zip(states, layer_keys, strict=True))
        if config.scan_layers:
            stacked = jax.tree.map(lambda *each: jnp.stack(each), *layers)
            return jax.lax.scan(body, x, stacked)[0]
        for layer in layers:
            x, _ = body(x, layer)
        return x
