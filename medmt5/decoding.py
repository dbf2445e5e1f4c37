"""Decoding on device: greedy and beam search with a key-value cache, freely or under a constraint.

A constraint names the few tokens that may come next; greedy search multiplies only their rows of
the output matrix. Which tokens those are is left to the formats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from medmt5.models.t5 import Transformer

S = TypeVar("S")


class Constraint(Protocol[S]):
    """What may be decoded. A pytree; its state S is a pytree with a leading axis `rows`.

    Beam search repeats, reorders and drops rows of the state. So what belongs to a sentence is
    looked up through the state (`self.source[state.row]`), not by a row's place in it.
    """

    def init(self, batch_size: int) -> S: ...

    def allowed(self, state: S) -> tuple[Int[Array, "rows choices"], Bool[Array, "rows choices"]]:
        """A few token ids per row, and which of them are allowed: at least one. 0 when done.

        The allowed ids of a row differ from each other.
        """
        ...

    def advance(self, state: S, token: Int[Array, " rows"]) -> S:
        """The state after a token. Beams that are out of the race may bring one not allowed."""
        ...


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


class Beams(NamedTuple):
    """The sequences that beam search found for each source, best first.

    The order is the reverse of T5X's, which puts the best sequence last.

    Attributes:
      tokens: ids, end of sequence included; 0 after it.
      log_probs: of each token. 0 after the end.
      scores: the sum of `log_probs` over ((5 + length) / 6) ** alpha; the plain sum where no
        sequence of the source has finished. -inf where there is no such sequence: fewer than
        `num_beams` were found; its tokens are 0.
      finished: the sequence ended. If any sequence of a source did, only those are given.
    """

    tokens: Int[Array, "batch beams target"]
    log_probs: Float[Array, "batch beams target"]
    scores: Float[Array, "batch beams"]
    finished: Bool[Array, "batch beams"]


def beam_search(
    model: Transformer,
    source_tokens: Int[Array, "batch source"],
    *,
    num_beams: int,
    max_length: int,
    eos_id: int,
    constraint: Any | None = None,
    alpha: float = 0.6,
    renormalise: bool = False,
) -> Beams:
    """Keep the `num_beams` most probable beginnings at each step, and the best that ended.

    The beams of a source share its cross-attention keys and values. A source of padding has one
    sequence, which is empty and finished.

    Args:
      model: the encoder-decoder.
      source_tokens: encoder ids; 0 is padding.
      num_beams: beginnings kept, and sequences returned, per source.
      max_length: tokens at most, end of sequence included.
      eos_id: ends a sequence.
      constraint: a `Constraint` for these sources; None decodes freely.
      alpha: of the brevity penalty, at least 0. 0 ranks by the plain sum.
      renormalise: under a constraint, spread the probability over the allowed tokens, as `greedy`
        does; only their rows of the output matrix are multiplied. By default a token's probability
        is that among the whole vocabulary.

    Raises:
      ValueError: num_beams or max_length below 1, or alpha below 0.
    """
    if num_beams < 1 or max_length < 1:
        raise ValueError(
            f"num_beams is {num_beams} and max_length {max_length}; both must be at least 1"
        )
    if alpha < 0:
        raise ValueError(
            f"alpha is {alpha}, and the search could not know when to stop; "
            "use 0 for the plain sum, or more to favour longer sequences"
        )
    batch = source_tokens.shape[0]
    cache = model.init_cache(model.encode(source_tokens), source_tokens, length=max_length)
    padding = jnp.repeat(~(source_tokens > 0).any(-1), num_beams)

    def continuations(last: Array, position: Array, memory: Any) -> tuple[Array, Array, Any]:
        (keys, values), state = memory
        hidden, own = model.decode_step(
            last[:, None],
            jnp.full_like(last, position),
            cache._replace(keys=keys, values=values),
        )
        hidden = hidden[:, 0]
        if constraint is None:
            logits = model.logits(hidden)
            # The best 2 x beams of all beams are among the best 2 x beams of each.
            best, ids = jax.lax.top_k(logits, min(2 * num_beams, logits.shape[-1]))
            log_probs = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        else:
            ids, mask = constraint.allowed(state)
            if renormalise:
                logits = jnp.where(mask, model.logits_of(hidden, ids), -jnp.inf)
                log_probs = jax.nn.log_softmax(logits)
            else:
                logits = model.logits(hidden)
                total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
                log_probs = jnp.take_along_axis(logits, ids, axis=1) - total
            log_probs = jnp.where(mask, log_probs, -jnp.inf)
        log_probs = jnp.where(padding[:, None], -jnp.inf, log_probs)
        return ids, log_probs, ((own.keys, own.values), state)

    def advance(memory: Any, token: Array) -> Any:
        keys_values, state = memory
        return keys_values, None if constraint is None else constraint.advance(state, token)

    state = None if constraint is None else constraint.init(batch)
    beams = beam_search_over(
        continuations,
        _repeat(((cache.keys, cache.values), state), num_beams),
        advance=advance,
        batch_size=batch,
        num_beams=num_beams,
        max_length=max_length,
        eos_id=eos_id,
        alpha=alpha,
    )
    empty = padding.reshape(batch, num_beams) & (jnp.arange(num_beams) == 0)
    return beams._replace(
        scores=jnp.where(empty, 0.0, beams.scores), finished=beams.finished | empty
    )


class _Sequences(NamedTuple):
    """Some sequences per source, best first; a score of -inf marks one that does not exist."""

    tokens: Int[Array, "batch beams target"]
    log_probs: Float[Array, "batch beams target"]
    scores: Float[Array, "batch beams"]


def beam_search_over(
    continuations: Callable[[Array, Array, Any], tuple[Array, Array, Any]],
    memory: Any,
    *,
    advance: Callable[[Any, Array], Any] = lambda memory, token: memory,
    batch_size: int,
    num_beams: int,
    max_length: int,
    eos_id: int,
    alpha: float,
) -> Beams:
    """Beam search over anything that scores continuations; `beam_search` does so with a model.

    Nothing passes between sources, and each source's result is that of searching it alone.

    Args:
      continuations: (last token of each row, position, memory) -> (ids, log-probabilities,
        memory), both (rows, choices), -inf where a choice is not allowed. The first token is 0.
      memory: a pytree with a leading axis `rows` = batch x beams, beams of a source side by side;
        rows are reordered as beams are kept and dropped.
      advance: (memory, token of each row) -> memory, once tokens are chosen.
      batch_size: sources.
      num_beams: as for `beam_search`, which checks these.
      max_length: tokens at most.
      eos_id: ends a sequence.
      alpha: of the brevity penalty.

    Source: the algorithm of T5X's `decoding.beam_search`; the order of the beams differs, -inf
    stands where that has -1e7, and among equal scores another may be kept. The penalty is that of
    Wu et al. 2016, equation 14.
    """

    class Carry(NamedTuple):
        step: Array
        last: Array
        live: _Sequences
        ended: _Sequences
        memory: Any

    def penalty(length: Any) -> Any:
        return ((5.0 + length) / 6.0) ** alpha

    def improving(carry: Carry) -> Array:
        # Log-probabilities only fall, so this is the most that a live sequence can come to. A
        # source that has stopped is still stepped while others go on, and nothing changes for it.
        best = carry.live.scores[:, 0]
        can_enter = best / penalty(max_length) >= carry.ended.scores[:, -1]
        return (carry.step < max_length) & ((best > -jnp.inf) & can_enter).any()

    def body(carry: Carry) -> Carry:
        ids, log_probs, memory = continuations(carry.last.reshape(-1), carry.step, carry.memory)
        choices = ids.shape[-1]
        flat = (batch_size, num_beams * choices)
        scores = carry.live.scores[:, :, None] + log_probs.reshape(batch_size, num_beams, choices)
        # At most one choice per beam ends it, so twice as many leave enough that go on. An end
        # that is not among them is dropped, as in T5X.
        scores, chosen = jax.lax.top_k(scores.reshape(flat), min(2 * num_beams, flat[1]))
        parent = chosen // choices
        token, log_prob = _take((ids.reshape(flat), log_probs.reshape(flat)), chosen)
        tokens, log_probs = _take((carry.live.tokens, carry.live.log_probs), parent)
        tokens = tokens.at[:, :, carry.step].set(token)
        log_probs = log_probs.at[:, :, carry.step].set(log_prob)
        ends = token == eos_id

        live, kept = _best(
            _Sequences(tokens, log_probs, jnp.where(ends, -jnp.inf, scores)), num_beams
        )
        new = jnp.where(ends, scores / penalty(carry.step + 1), -jnp.inf)
        ended, _ = _best(
            jax.tree.map(
                lambda old, new: jnp.concatenate([old, new], axis=1),
                carry.ended,
                _Sequences(tokens, log_probs, new),
            ),
            num_beams,
        )
        last, parent = _take((token, parent), kept)
        memory = advance(_reorder(memory, parent), last.reshape(-1))
        return Carry(carry.step + 1, last, live, ended, memory)

    shape = (batch_size, num_beams)
    none = _Sequences(
        tokens=jnp.zeros((*shape, max_length), jnp.int32),
        log_probs=jnp.zeros((*shape, max_length), jnp.float32),
        scores=jnp.full(shape, -jnp.inf, jnp.float32),
    )
    first = Carry(
        step=jnp.zeros((), jnp.int32),
        last=jnp.zeros(shape, jnp.int32),
        live=none._replace(scores=none.scores.at[:, 0].set(0.0)),
        ended=none,
        memory=memory,
    )
    found = jax.lax.while_loop(improving, body, first)
    any_ended = found.ended.scores[:, 0] > -jnp.inf
    tokens, log_probs, scores = jax.tree.map(
        lambda ended, live: jnp.where(
            jnp.expand_dims(any_ended, tuple(range(1, live.ndim))), ended, live
        ),
        found.ended,
        found.live,
    )
    exists = scores > -jnp.inf
    return Beams(
        tokens=jnp.where(exists[:, :, None], tokens, 0),
        log_probs=jnp.where(exists[:, :, None], log_probs, 0.0),
        scores=scores,
        finished=exists & any_ended[:, None],
    )


def _take(tree: Any, index: Int[Array, "batch chosen"]) -> Any:
    """Entries of axis 1, chosen per source."""
    return jax.vmap(lambda leaves, i: jax.tree.map(lambda leaf: leaf[i], leaves))(tree, index)


def _best(sequences: _Sequences, count: int) -> tuple[_Sequences, Int[Array, "batch count"]]:
    """The best-scored sequences, best first, and which they are."""
    scores, chosen = jax.lax.top_k(sequences.scores, count)
    tokens, log_probs = _take((sequences.tokens, sequences.log_probs), chosen)
    return _Sequences(tokens, log_probs, scores), chosen


def _repeat(memory: Any, num_beams: int) -> Any:
    """A leading axis of sources as one of rows: each source's entry once per beam."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, num_beams, axis=0), memory)


def _reorder(memory: Any, parent: Int[Array, "batch beams"]) -> Any:
    """Rows of the memory in the order of `parent`, a beam of the same source for each."""

    def reorder(leaf: Array) -> Array:
        return _take(leaf.reshape(*parent.shape, *leaf.shape[1:]), parent).reshape(leaf.shape)

    return jax.tree.map(reorder, memory)
