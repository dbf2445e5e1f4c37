"""T5's Adafactor, with T5X's names, defaults and order of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Int

from medmt5.patterns import compiled


class AdafactorState(NamedTuple):
    """Second moments by parameter; each tree holds only the parameters that have such a slot.

    Attributes:
      count: updates done.
      v_row, v_col: mean squares of factored parameters, over all but their shorter and longer
        axis (`factored_axes`).
      v: mean squares of the others, in full.
      m: momentum; empty without beta1.

    Names as in T5X's `param_states`.
    """

    count: Int[Array, ""]
    v_row: dict[str, Any]
    v_col: dict[str, Any]
    v: dict[str, Any]
    m: dict[str, Any]


def factored_axes(shape: Sequence[int], min_dim_size: int = 128) -> tuple[int, int] | None:
    """The axes that `v_row` and `v_col` keep: the shorter and the longer of a large matrix.

    Returns:
      None unless there are two axes and both have at least min_dim_size elements.
    """
    if len(shape) != 2 or min(shape) < min_dim_size:
        return None
    # Ties are broken as in T5X: the first axis counts as the shorter.
    return (0, 1) if shape[0] <= shape[1] else (1, 0)


def adafactor(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    *,
    factored: bool = True,
    multiply_by_parameter_scale: bool = True,
    beta1: float | None = None,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    clipping_threshold: float | None = 1.0,
    weight_decay_rate: float | None = None,
    min_dim_size_to_factor: int = 128,
    always_factor: str = "",
    epsilon1: float = 1e-30,
    epsilon2: float = 1e-3,
    dtype_momentum: Any = jnp.float32,
    weight_decay_rate_lr_exponent: float | None = None,
    global_norm_clip_threshold: float | None = None,
    max_parameter_scale: float | None = None,
    skip_nan_updates: bool = False,
) -> optax.GradientTransformation:
    """Adafactor as T5 uses it: factored second moments, update clipping, relative step sizes.

    Args:
      learning_rate: relative to each parameter's root mean square.
      factored: False keeps full second moments everywhere.
      multiply_by_parameter_scale: False makes learning_rate absolute.
      beta1: momentum, kept in full size; None for none, as in T5.
      decay_rate: second moments decay by 1 - t^-decay_rate.
      step_offset: t is the step minus this.
      clipping_threshold: largest root mean square of one parameter's update; None for no limit.
      weight_decay_rate: share of a parameter that is taken away per step; None for none.
      min_dim_size_to_factor: matrices with a smaller axis keep full second moments...
      always_factor: ...unless their full name matches this regular expression. T5X's scanned
        layers are factored whatever their size: `.*/layers_.*/kernel`.
      epsilon1: added to squared gradients.
      epsilon2: the root mean square of a parameter counts as at least this.
      dtype_momentum: of beta1's slots.
      weight_decay_rate_lr_exponent: weight decay is also multiplied by learning_rate to this power.
      global_norm_clip_threshold: gradients are scaled down to this norm over all parameters.
      max_parameter_scale: the root mean square of a parameter counts as at most this.
      skip_nan_updates: values whose update is not a number stay as they are.

    Source: Shazeer and Stern 2018; names, defaults and order of operations as in T5X.
    """
    always = compiled(always_factor, "always_factor")

    def axes_of(name: str, shape: Sequence[int]) -> tuple[int, int] | None:
        if not factored:
            return None
        chosen = always_factor and always.fullmatch(name)
        return factored_axes(shape, 0 if chosen else min_dim_size_to_factor)

    def init(params: Any) -> AdafactorState:
        slots: dict[str, dict[str, Array]] = {"v_row": {}, "v_col": {}, "v": {}, "m": {}}
        for name, param in _named(params):
            axes = axes_of(name, param.shape)
            if axes:
                slots["v_row"][name] = jnp.zeros(param.shape[axes[0]], jnp.float32)
                slots["v_col"][name] = jnp.zeros(param.shape[axes[1]], jnp.float32)
            else:
                slots["v"][name] = jnp.zeros(param.shape, jnp.float32)
            if beta1 is not None:
                slots["m"][name] = jnp.zeros(param.shape, dtype_momentum)
        return _state(jnp.zeros((), jnp.int32), slots)

    def update(grads: Any, state: AdafactorState, params: Any = None):
        if params is None:
            raise ValueError("adafactor needs the parameters: call update(grads, state, params)")
        old = {slot: dict(_named(getattr(state, slot))) for slot in SLOTS}
        new: dict[str, dict[str, Array]] = {slot: {} for slot in SLOTS}
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        t = (state.count - step_offset + 1).astype(jnp.float32)
        decay = 1.0 - t ** (-decay_rate)
        mixing = 1.0 - decay
        shrink = weight_decay_rate
        if weight_decay_rate_lr_exponent:
            shrink = (weight_decay_rate or 1.0) * rate**weight_decay_rate_lr_exponent
        if global_norm_clip_threshold:
            norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for _, g in _named(grads)))
            scale = jnp.minimum(1.0, global_norm_clip_threshold / norm)
            grads = jax.tree.map(lambda g: g * scale, grads)

        def moment(slot: str, name: str, value: Array) -> Array:
            mixed = decay * old[slot][name] + mixing * value
            if skip_nan_updates:
                mixed = jnp.where(jnp.isnan(mixed), old[slot][name], mixed)
            new[slot][name] = mixed
            return mixed

        def one(path: Any, grad: Array, param: Array) -> Array:
            name = _name(path)
            grad = grad.astype(jnp.float32)
            square = grad * grad + epsilon1
            axes = axes_of(name, param.shape)
            if axes:
                short, long = axes
                row = moment("v_row", name, jnp.mean(square, axis=long))
                col = moment("v_col", name, jnp.mean(square, axis=short))
                row_factor = (row / jnp.mean(row, keepdims=True)) ** -0.5
                y = grad * jnp.expand_dims(row_factor, long)
                y = y * jnp.expand_dims(col**-0.5, short)
            else:
                y = grad * moment("v", name, square) ** -0.5
            if clipping_threshold is not None:
                y = y / jnp.maximum(1.0, _rms(y) / clipping_threshold)
            size = rate
            if multiply_by_parameter_scale:
                scale = jnp.maximum(_rms(param), epsilon2)
                if max_parameter_scale is not None:
                    scale = jnp.minimum(scale, max_parameter_scale)
                size = size * scale
            step = size * y
            if beta1 is not None:
                step = beta1 * old["m"][name] + (1.0 - beta1) * step
                kept = jnp.where(jnp.isnan(step), old["m"][name], step)
                new["m"][name] = (kept if skip_nan_updates else step).astype(dtype_momentum)
            if shrink is not None:
                step = step + shrink * param
            if skip_nan_updates:
                step = jnp.where(jnp.isnan(step), 0.0, step)
            return (-step).astype(param.dtype)

        updates = jax.tree_util.tree_map_with_path(one, grads, params)
        return updates, _state(state.count + 1, new)

    return optax.GradientTransformation(init, update)


SLOTS = ("v_row", "v_col", "v", "m")


def _state(count: Array, slots: Mapping[str, Mapping[str, Array]]) -> AdafactorState:
    return AdafactorState(count, *(unflatten_dict(slots[slot], sep="/") for slot in SLOTS))


def _name(path: Any) -> str:
    return "/".join(str(key.key) for key in path)


def _named(tree: Any) -> list[tuple[str, Array]]:
    """Leaves of nested dictionaries by full name; a masked parameter is no leaf."""
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _rms(x: Array) -> Array:
    return jnp.sqrt(jnp.mean(x * x))
