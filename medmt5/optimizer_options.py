"""What goes around any optimiser: groups of parameters, clipping, an average of the parameters."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Int

from medmt5.patterns import compiled
from medmt5.state import flat_params


def with_options(
    optimizer: optax.GradientTransformation,
    *,
    groups: Sequence[Sequence[Any]] = (),
    gradient_clip: float | None = None,
    ema_decay: float | None = None,
) -> optax.GradientTransformation:
    """An optimiser with what the gin files of `gin_configs/optimizers` offer; by default, as it is.

    Args:
      optimizer: for all parameters that no group gives another.
      groups: as for `grouped`.
      gradient_clip: gradients are scaled down to this norm over all parameters of all groups; None
        for no limit. It has no state.
      ema_decay: as for `with_ema`; None for no average.

    Raises:
      ValueError: a clip that is not above 0, or what `grouped` and `with_ema` raise.
    """
    if gradient_clip is not None and not gradient_clip > 0:
        raise ValueError(f"GRADIENT_CLIP is {gradient_clip}; use a norm above 0, or None")
    if groups:
        optimizer = grouped(optimizer, groups)
    if gradient_clip is not None:
        optimizer = _clipped(optimizer, gradient_clip)
    return optimizer if ema_decay is None else with_ema(optimizer, ema_decay)


def _clipped(
    optimizer: optax.GradientTransformation, max_norm: float
) -> optax.GradientTransformation:
    # Not optax.chain, whose state would have one level more: Adafactor's keeps T5X's names.
    clip = optax.clip_by_global_norm(max_norm)

    def update(grads: Any, state: Any, params: Any):
        return optimizer.update(clip.update(grads, optax.EmptyState())[0], state, params)

    return optax.GradientTransformation(optimizer.init, update)


class GroupedState(NamedTuple):
    """States of optimisers that each have their own parameters, and nothing of the others'.

    Attributes:
      default: of all parameters that no group with an optimiser has.
      groups: of the groups with an optimiser, in order.
    """

    default: Any
    groups: tuple[Any, ...]


def grouped(
    default: optax.GradientTransformation, groups: Sequence[Sequence[Any]]
) -> optax.GradientTransformation:
    """Another learning rate or another optimiser for some parameters.

    Each optimiser works as if its parameters were all there are: clipping by a global norm inside
    one does not see those of another.

    Args:
      default: for parameters that no group has.
      groups: pairs of a regular expression over full names, such as `encoder/prompt/.*`, and an
        optimiser or a number; the first that matches counts. With a number the parameter stays with
        `default`, and every update is multiplied by it, as if its learning rate were.

    Raises:
      ValueError: an entry that is no such pair; at init, a group that has no parameter, or an
        average inside (`with_ema` goes around all).

    Source: T5X `MultiOptimizer`, which leaves parameters without a group as they are; here
    `train.trainable` says which those are.
    """
    optimizers, rules = [default], []
    for group in groups:
        pair = isinstance(group, (tuple, list)) and len(group) == 2
        pattern, choice = group if pair else (None, None)
        if isinstance(choice, optax.GradientTransformation):
            rules.append((compiled(pattern, "parameter group"), len(optimizers), 1.0))
            optimizers.append(choice)
        elif isinstance(choice, (int, float)) and choice > 0:
            rules.append((compiled(pattern, "parameter group"), 0, choice))
        else:
            raise ValueError(
                f"parameter groups have {group!r}; use pairs (pattern, optimiser or factor above "
                "0), as in (('encoder/.*', 0.1),). train.trainable freezes parameters"
            )
    rules.append((re.compile(".*"), 0, 1.0))

    def rule_of(name: str) -> tuple[re.Pattern[str], int, float]:
        return next(rule for rule in rules if rule[0].fullmatch(name))

    def split(tree: Any) -> list[Any]:
        parts: list[dict[str, Array]] = [{} for _ in optimizers]
        for name, leaf in flat_params(tree).items():
            parts[rule_of(name)[1]][name] = leaf
        return [unflatten_dict(part, sep="/") for part in parts]

    def init(params: Any) -> GroupedState:
        names = list(flat_params(params))
        having = [rule_of(name) for name in names]
        for rule in rules[:-1]:
            if rule not in having:
                pattern = rule[0].pattern
                near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
                raise ValueError(
                    f"the parameter group {pattern!r} matches no trainable parameter that no group "
                    f"before it has; names near it are {', '.join(near)}"
                )
        first, *others = (
            optimizer.init(part) for optimizer, part in zip(optimizers, split(params), strict=True)
        )
        state = GroupedState(first, tuple(others))
        if ema_params(state) is not None:
            raise ValueError("with_ema is inside grouped: put it around, to average all parameters")
        return state

    def update(grads: Any, state: GroupedState, params: Any):
        updates: dict[str, Array] = {}
        states = []
        each = zip(
            optimizers, split(grads), (state.default, *state.groups), split(params), strict=True
        )
        for optimizer, *arguments in each:
            part, new = optimizer.update(*arguments)
            updates |= {name: leaf * rule_of(name)[2] for name, leaf in flat_params(part).items()}
            states.append(new)
        return unflatten_dict(updates, sep="/"), GroupedState(states[0], tuple(states[1:]))

    return optax.GradientTransformation(init, update)


class EmaState(NamedTuple):
    """An optimiser's state, and an average of the parameters that it has made.

    Attributes:
      count: updates done.
      ema_params: the average, ready for use; the initial parameters before the first update.
      inner: the optimiser's own state.
    """

    count: Int[Array, ""]
    ema_params: dict[str, Any]
    inner: Any


EMA_SLOT = "ema_params"  # optax's own `ema` slots average gradients


def with_ema(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """The optimiser, with an exponential moving average of the parameters after each update.

    After n updates the parameters of the i-th have weight decay^(n - i), divided by the sum of
    these weights. So the initial parameters have none: they may be random, and when a run starts
    from a checkpoint's parameters they were set after this state was made.

    Args:
      optimizer: put this around the whole: what comes after it is not averaged.
      decay: in (0, 1); about the last 1 / (1 - decay) updates count.

    Raises:
      ValueError: decay is outside (0, 1).
    """
    if not 0.0 < decay < 1.0:
        raise ValueError(f"EMA_DECAY is {decay}; use a number between 0 and 1, or None")
    log_decay = math.log(decay)

    def init(params: Any) -> EmaState:
        # Copies: a step must not be given the same buffer twice to overwrite.
        copies = jax.tree.map(lambda x: jnp.array(x, jnp.float32), params)
        return EmaState(jnp.zeros((), jnp.int32), copies, optimizer.init(params))

    def update(grads: Any, state: EmaState, params: Any):
        updates, inner = optimizer.update(grads, state.inner, params)
        count = state.count + 1
        # (1 - decay) / (1 - decay^count), without the rounding of 1 - decay: 1 at the first update.
        weight = jnp.expm1(log_decay) / jnp.expm1(count * log_decay)
        average = jax.tree.map(
            lambda old, new: old + weight * (new - old),
            state.ema_params,
            optax.apply_updates(params, updates),
        )
        return updates, EmaState(count, average, inner)

    return optax.GradientTransformation(init, update)


def ema_params(opt_state: Any) -> dict[str, Any] | None:
    """The average that `with_ema` keeps, wherever it is in an optimiser's state; None without."""
    states = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, EmaState))
    return next((state.ema_params for state in states if isinstance(state, EmaState)), None)
