"""How likely a model finds given answers: multiple choice by ranking."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Logits that exist at a time, 1 GiB in float32: one row of 1,000 tokens for mT5's vocabulary.
_MOST_LOGITS = 2**28
# Answers to each source that go through the decoder at a time. All at once would copy the encoded
# source, and its keys and values in every layer, 255 times for the sets of 8 letters.
_TOGETHER = 4


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
    together = math.gcd(choices, _TOGETHER)
    rows, parts = batch * together, choices // together
    encoded = jnp.repeat(model.encode(source), together, axis=0)
    sources = jnp.repeat(source, together, axis=0)
    at_once = max(1, _MOST_LOGITS // (length * model.config.vocab_size))

    def of_row(row: tuple[Array, Array]) -> Array:
        hidden, targets = row
        logits = model.logits(hidden)
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return jnp.where(targets > 0, chosen - jax.nn.logsumexp(logits, axis=-1), 0.0).sum()

    def of_part(targets: Array) -> Array:
        shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
        hidden = model.decode(encoded, sources, shifted, targets)
        return jax.lax.map(of_row, (hidden, targets), batch_size=min(at_once, rows))

    ordered = jnp.moveaxis(answers.reshape(batch, parts, together, length), 1, 0)
    sums = jax.lax.map(of_part, ordered.reshape(parts, rows, length))
    return jnp.moveaxis(sums.reshape(parts, batch, together), 0, 1).reshape(batch, choices)
