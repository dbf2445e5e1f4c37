"""How likely a model finds given answers: multiple choice by ranking."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Logits that exist at a time, 1 GiB in float32: one row of 1,000 tokens for mT5's vocabulary.
_MOST_LOGITS = 2**28


def log_likelihood(
    model: Any,
    source: Int[Array, "batch source"],
    answers: Int[Array, "batch choices target"],
) -> Float[Array, "batch choices"]:
    """Sum over an answer's tokens of log p, in nats; 0 for an answer that is all padding.

    Args:
      model: a `Transformer`.
      source: ids; 0 is padding.
      answers: ids of several answers to each source, ending in end of sequence, then padding.
    """
    batch, choices, length = answers.shape
    targets = answers.reshape(batch * choices, length)
    shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    encoded = jnp.repeat(model.encode(source), choices, axis=0)
    hidden = model.decode(encoded, jnp.repeat(source, choices, axis=0), shifted, targets)

    def of_row(row: tuple[Array, Array]) -> Array:
        hidden, targets = row
        logits = model.logits(hidden)
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return jnp.where(targets > 0, chosen - jax.nn.logsumexp(logits, axis=-1), 0.0).sum()

    at_once = max(1, _MOST_LOGITS // (length * model.config.vocab_size))
    sums = jax.lax.map(of_row, (hidden, targets), batch_size=min(at_once, batch * choices))
    return sums.reshape(batch, choices)
