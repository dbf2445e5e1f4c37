"""T5X's learning-rate schedules; T5's `adafactor` and `with_options` are found here too, for gin.

Every other optimiser is optax, by gin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import optax

from medmt5.adafactor import adafactor as adafactor
from medmt5.optimizer_options import with_options as with_options

FACTORS = (
    "constant",
    "linear_warmup",
    "linear_decay",
    "rsqrt_decay",
    "rsqrt_normalized_decay",
    "decay_every",
    "cosine_decay",
)


def chain(transformations: Sequence[optax.GradientTransformation]) -> optax.GradientTransformation:
    """`optax.chain` over a list, which gin can bind. Source: T5X `optimizers.chain`."""
    return optax.chain(*transformations)


def warmup_cosine(
    peak: float, *, warmup_steps: int, total_steps: int, final: float = 0.0
) -> optax.Schedule:
    """Linear warm-up from 0 to `peak`, then half a cosine down to `final` at `total_steps`.

    Raises:
      ValueError: the warm-up leaves no step to decay.
    """
    if warmup_steps >= total_steps:
        raise ValueError(
            f"WARMUP_STEPS {warmup_steps} leaves nothing of TRAIN_STEPS {total_steps}; set "
            "WARMUP_STEPS to less"
        )
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, total_steps, final)


def create_learning_rate_scheduler(
    factors: str = "constant * linear_warmup * rsqrt_decay",
    base_learning_rate: float = 0.5,
    warmup_steps: int = 1000,
    decay_factor: float = 0.5,
    steps_per_decay: int = 20_000,
    steps_per_cycle: int = 100_000,
    step_offset: int = 0,
    min_learning_rate: float = 1e-8,
) -> optax.Schedule:
    """A product of named factors of the step; names, defaults and formulas as in T5X.

    Args:
      factors: names joined by `*`: constant (base_learning_rate), linear_warmup, linear_decay (its
        own constant and warm-up, then down by decay_factor x base_learning_rate per step),
        rsqrt_decay (1/sqrt(max(step, warmup_steps))), rsqrt_normalized_decay (the same, 1 at
        warmup_steps), decay_every, cosine_decay.
      base_learning_rate: the constant.
      warmup_steps: of linear_warmup and of the rsqrt factors.
      decay_factor: per steps_per_decay in decay_every, per step in linear_decay.
      steps_per_decay: of decay_every.
      steps_per_cycle: of cosine_decay.
      step_offset: subtracted from the step first.
      min_learning_rate: the result is never less.

    Raises:
      ValueError: an unknown factor.
    """
    names = [name.strip() for name in factors.split("*")]
    for name in names:
        if name not in FACTORS:
            raise ValueError(
                f"learning-rate factor {name!r} is unknown; factors are {', '.join(FACTORS)}, "
                "joined by *"
            )

    def schedule(step):
        step = jnp.maximum(0, step - step_offset).astype(jnp.float32)
        progress = jnp.maximum(0.0, (step - warmup_steps) / steps_per_cycle)
        rate = 1.0
        for name in names:
            if name == "constant":
                rate *= base_learning_rate
            elif name == "linear_warmup":
                rate *= jnp.minimum(1.0, step / warmup_steps)
            elif name == "linear_decay":
                slope = 1.0 + decay_factor * (warmup_steps - step)
                rate *= base_learning_rate * jnp.minimum(step / warmup_steps, slope)
            elif name == "rsqrt_decay":
                rate /= jnp.sqrt(jnp.maximum(step, warmup_steps))
            elif name == "rsqrt_normalized_decay":
                rate *= math.sqrt(warmup_steps) / jnp.sqrt(jnp.maximum(step, warmup_steps))
            elif name == "decay_every":
                rate *= decay_factor ** (step // steps_per_decay)
            elif name == "cosine_decay":
                rate *= jnp.maximum(0.0, 0.5 * (1.0 + jnp.cos(jnp.pi * (progress % 1.0))))
        return jnp.maximum(min_learning_rate, rate)

    return schedule
