"""Decoding on device: token by token with a key-value cache, freely or under a constraint.

A constraint names the few tokens that may come next, and only their rows of the output matrix are
multiplied. Which tokens those are is left to the formats.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from medmt5.models.t5 import Transformer

S = TypeVar("S")


class Constraint(Protocol[S]):
    """What may be decoded. A pytree; its state S is a pytree with a leading axis `rows`."""

    def init(self, batch_size: int) -> S: ...

    def allowed(self, state: S) -> tuple[Int[Array, "rows choices"], Bool[Array, "rows choices"]]:
        """A few token ids per row, and which of them are allowed: at least one. 0 when done."""
        ...

    def advance(self, state: S, token: Int[Array, " rows"]) -> S: ...


class Decoded(NamedTuple):
    """Decoded tokens, 0 after the end of sequence.

    Attributes:
      tokens: ids, end of sequence included.
      log_probs: of each token; under a constraint renormalised over the allowed tokens. 0 after
        the end.
      finished: the row ended before `max_length`.
    """

    tokens: Int[Array, "rows target"]
    log_probs: Float[Array, "rows target"]
    finished: Bool[Array, " rows"]


def greedy(
    model: Transformer,
    source_tokens: Int[Array, "rows source"],
    *,
    max_length: int,
    eos_id: int,
    constraint: Any | None = None,
) -> Decoded:
    """Take the most probable (allowed) token at each step, until every row has ended.

    Args:
      model: the encoder-decoder.
      source_tokens: encoder ids; 0 is padding.
      max_length: tokens at most, end of sequence included.
      eos_id: ends a row.
      constraint: a `Constraint` for these rows; None decodes freely.
    """
    rows = source_tokens.shape[0]
    encoded = model.encode(source_tokens)

    class Carry(NamedTuple):
        step: Array
        last: Array
        cache: Any
        state: Any
        tokens: Array
        log_probs: Array
        done: Array

    def body(carry: Carry) -> Carry:
        position = jnp.full((rows,), carry.step)
        hidden, cache = model.decode_step(carry.last[:, None], position, carry.cache)
        if constraint is None:
            log_probs = jax.nn.log_softmax(model.logits(hidden[:, 0]))
            choice = log_probs.argmax(-1)
            token, state = choice.astype(jnp.int32), None
        else:
            ids, mask = constraint.allowed(carry.state)
            logits = jnp.where(mask, model.logits_of(hidden[:, 0], ids), -jnp.inf)
            log_probs = jax.nn.log_softmax(logits)
            choice = logits.argmax(-1)
            token = jnp.take_along_axis(ids, choice[:, None], axis=1)[:, 0]
            state = constraint.advance(carry.state, token)
        chosen = jnp.take_along_axis(log_probs, choice[:, None], axis=1)[:, 0]
        token = jnp.where(carry.done, 0, token)
        chosen = jnp.where(carry.done, 0.0, chosen)
        return Carry(
            carry.step + 1,
            token,
            cache,
            state,
            carry.tokens.at[:, carry.step].set(token),
            carry.log_probs.at[:, carry.step].set(chosen),
            carry.done | (token == eos_id),
        )

    first = Carry(
        step=jnp.zeros((), jnp.int32),
        last=jnp.zeros((rows,), jnp.int32),
        cache=model.init_cache(encoded, source_tokens, length=max_length),
        state=None if constraint is None else constraint.init(rows),
        tokens=jnp.zeros((rows, max_length), jnp.int32),
        log_probs=jnp.zeros((rows, max_length), jnp.float32),
        done=~(source_tokens > 0).any(-1),  # rows of padding end at once
    )
    last = jax.lax.while_loop(
        lambda carry: (carry.step < max_length) & ~carry.done.all(), body, first
    )
    return Decoded(last.tokens, last.log_probs, last.done)
