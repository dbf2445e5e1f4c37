"""Decoding on device: greedy and beam search with a key-value cache, freely or under a constraint.

A constraint names the few tokens that may come next; greedy search multiplies only their rows of
the output matrix. It may also guess what follows, and greedy search then checks several tokens in
one pass. Which tokens those are is left to the formats.
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

    Beam search repeats, reorders and drops rows of the state, and drafting lays the states before
    several tokens of a row side by side. So what belongs to a sentence is looked up through the
    state (`self.source[state.row]`), not by a row's place in it.

    A constraint may also have a method that guesses the next tokens of each row:

        def draft(self, state: S, count: int) -> Int[Array, "rows count"]

    Greedy search feeds the guess in one pass and keeps it as far as the model agrees, so a guess
    changes the speed and never the result: it may be wrong, even not allowed, as long as it has
    rows in the embedding. It should be what is likely if nothing is decided: the copy of the
    source, the rest of a choice that has become unique. Beam search does not ask for it.

    JAX 0.10 takes the trees of two dataclasses for equal where only the classes differ, and may run
    what it compiled for the other: give a subclass a static field of its own.
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
      passes: decoder passes of the row.
      steps: decoder passes in all.
    """

    tokens: Int[Array, "rows target"]
    log_probs: Float[Array, "rows target"]
    finished: Bool[Array, " rows"]
    passes: Int[Array, " rows"]
    steps: Int[Array, ""]


def greedy(
    model: Transformer,
    source_tokens: Int[Array, "rows source"],
    *,
    max_length: int,
    eos_id: int,
    constraint: Any | None = None,
    width: int = 1,
    slots: int | None = None,
) -> Decoded:
    """Take the most probable (allowed) token at each step, until every row has ended.

    With a width of w, a pass feeds a row's last token and the next w - 1 tokens of the
    constraint's draft. They are kept up to the first that is not the most probable; that one is
    replaced by the one that is, and the next pass goes on after it. A pass yields 1 to w tokens,
    the same as one by one: only rounding differs, since products of other shapes are summed in
    another order.

    Args:
      model: the encoder-decoder.
      source_tokens: encoder ids; 0 is padding.
      max_length: tokens at most, end of sequence included.
      eos_id: ends a row.
      constraint: a `Constraint` for these rows; None decodes freely.
      width: tokens fed per pass and row; 1 is used where the constraint has no draft.
      slots: rows decoded side by side; where one has ended, the next begins. It divides the number
        of rows. None decodes all of them side by side.

    Raises:
      ValueError: width or slots below 1, or rows that do not divide into slots.

    Source: Sun et al. 2021, "Instantaneous Grammatical Error Correction with Shallow Aggressive
    Decoding", which copies in the same way.
    """
    if width < 1:
        raise ValueError(f"width is {width}; use 1 to decode token by token, or more")
    rows = source_tokens.shape[0]
    slots = rows if slots is None else slots
    if slots < 1 or rows % slots:
        raise ValueError(f"{rows} rows do not divide into {slots} slots")
    width = width if hasattr(constraint, "draft") else 1
    ahead = jnp.arange(width)
    length = max_length + width  # rows that have stopped still write a window, behind their end

    def prepare(source: Array) -> Any:
        return model.init_cache(model.encode(source), source, length=length)

    if slots == rows:
        everything = prepare(source_tokens)
    else:  # as many at a time as are decoded side by side; nothing for a part that is all padding

        def prepare_some(source: Array) -> Any:
            nothing = jax.tree.map(
                lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(prepare, source)
            )
            return jax.lax.cond((source > 0).any(), prepare, lambda _: nothing, source)

        parts = source_tokens.reshape(-1, slots, source_tokens.shape[1])
        everything = jax.lax.map(prepare_some, parts)
        everything = jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[2:]), everything)
    is_padding = ~(source_tokens > 0).any(-1)
    # Padding that comes last takes no turns.
    last_row = rows - jnp.argmin(is_padding[::-1])
    fresh_states = None if constraint is None else constraint.init(rows)

    class Carry(NamedTuple):
        # Of each slot:
        row: Array
        last: Array  # the last token
        position: Array  # where the next goes
        cache: Any
        state: Any
        # Of each row:
        tokens: Array
        log_probs: Array
        passes: Array
        ended: Array
        # Rows that have begun, and passes in all:
        begun: Array
        steps: Array

    def running(carry: Carry) -> Array:
        return ~carry.ended[carry.row] & (carry.position < max_length)

    def refill(carry: Carry) -> Carry:
        """Give the slots of rows that have ended to the next rows."""
        free = ~running(carry)
        following = carry.begun + jnp.cumsum(free) - 1
        taken = free & (following < last_row)
        row = jnp.where(taken, following, carry.row)

        def fetch(cache: Any) -> Any:
            # What a row before it left in the cache is masked, being at and after position 0.
            of_source = everything._replace(keys=(), values=())
            fetched = jax.tree.map(lambda leaf: leaf[row], of_source)
            return fetched._replace(keys=cache.keys, values=cache.values)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(taken.reshape(-1, *[1] * (old.ndim - 1)), new[row], old)

        return carry._replace(
            row=row,
            last=jnp.where(taken, 0, carry.last),
            position=jnp.where(taken, 0, carry.position),
            cache=jax.lax.cond(taken.any(), fetch, lambda cache: cache, carry.cache),
            state=jax.tree.map(choose, fresh_states, carry.state),
            begun=carry.begun + taken.sum(),
        )

    def body(carry: Carry) -> Carry:
        fed, state = carry.last[:, None], jax.tree.map(lambda leaf: leaf[:, None], carry.state)
        if width > 1:
            draft = constraint.draft(carry.state, width - 1)
            fed = jnp.concatenate([fed, draft], axis=1)

            def following(state: Any, token: Array) -> tuple[Any, Any]:
                return (after := constraint.advance(state, token)), after

            # A loop: unrolled, it would take most of the time to compile.
            _, states = jax.lax.scan(following, carry.state, draft.T)
            state = jax.tree.map(
                lambda first, rest: jnp.concatenate([first, jnp.moveaxis(rest, 0, 1)], axis=1),
                state,
                states,
            )
        hidden, cache = model.decode_step(fed, carry.position, carry.cache)
        token, log_prob = _most_probable(model, hidden, constraint, state)

        # A token counts if all of the draft before it was right and did not end the row.
        right = (token[:, :-1] == fed[:, 1:]) & (token[:, :-1] != eos_id)
        counts = jnp.pad(jnp.cumprod(right, axis=1), ((0, 0), (1, 0)), constant_values=1) > 0
        at = carry.position[:, None] + ahead
        counts &= running(carry)[:, None] & (at < max_length)
        count = counts.sum(axis=1)
        final = jnp.maximum(count - 1, 0)
        last = _at(token, final)
        if constraint is None:
            state = None
        else:
            before = jax.tree.map(lambda leaf: _at(leaf, final), state)
            state = constraint.advance(before, last)
        place = (carry.row[:, None], at)
        # Zeros fall on what is not yet written, or behind the end.
        after = Carry(
            row=carry.row,
            last=last,
            position=carry.position + count,
            cache=cache,
            state=state,
            tokens=carry.tokens.at[place].set(jnp.where(counts, token, 0)),
            log_probs=carry.log_probs.at[place].set(jnp.where(counts, log_prob, 0.0)),
            passes=carry.passes.at[carry.row].add(running(carry)),
            ended=carry.ended.at[carry.row].max((counts & (token == eos_id)).any(axis=1)),
            begun=carry.begun,
            steps=carry.steps + 1,
        )
        return after if slots == rows else refill(after)

    row, zeros = jnp.arange(slots), jnp.zeros((slots,), jnp.int32)
    first = Carry(
        row=row,
        last=zeros,
        position=zeros,
        cache=jax.tree.map(lambda leaf: leaf[:slots], everything),
        state=jax.tree.map(lambda leaf: leaf[:slots], fresh_states),
        tokens=jnp.zeros((rows, length), jnp.int32),
        log_probs=jnp.zeros((rows, length), jnp.float32),
        passes=jnp.zeros((rows,), jnp.int32),
        ended=is_padding,
        begun=jnp.int32(slots),
        steps=jnp.int32(0),
    )
    # The first rows may be padding.
    first = first if slots == rows else refill(first)
    # A slot may have been given a row of padding, so rows to come count as well.
    last = jax.lax.while_loop(
        lambda carry: running(carry).any() | (carry.begun < last_row), body, first
    )
    return Decoded(
        last.tokens[:, :max_length],
        last.log_probs[:, :max_length],
        last.ended,
        last.passes,
        last.steps,
    )


def _most_probable(
    model: Transformer, hidden: Float[Array, "rows width embed"], constraint: Any, state: Any
) -> tuple[Int[Array, "rows width"], Float[Array, "rows width"]]:
    """The best (allowed) token at each place, and its log-probability among these.

    `state` has the axes rows and width; the constraint sees them as one.
    """
    rows, width = hidden.shape[:2]
    hidden = hidden.reshape(rows * width, -1)
    if constraint is None:
        ids, logits = None, model.logits(hidden)
    else:
        ids, mask = constraint.allowed(
            jax.tree.map(lambda leaf: leaf.reshape(rows * width, *leaf.shape[2:]), state)
        )
        logits = jnp.where(mask, model.logits_of(hidden, ids), -jnp.inf)
    # Not argmax: over a whole vocabulary, top_k takes a third of its time on a CPU.
    best, choice = jax.lax.top_k(logits, 1)
    log_prob = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    token = choice if ids is None else jnp.take_along_axis(ids, choice, axis=1)
    return token.reshape(rows, width).astype(jnp.int32), log_prob.reshape(rows, width)


def _at(leaf: Array, slot: Int[Array, " rows"]) -> Array:
    """One entry of axis 1 per row."""
    return jax.vmap(lambda entries, i: entries[i])(leaf, slot)


class Beams(NamedTuple):
    """The sequences that beam search found for each source, best first.

    The order is the reverse of T5X's, which puts the best sequence last.

    Attributes:
      tokens: ids, end of sequence included; 0 after it.
      log_probs: of each token. 0 after the end.
      scores: the sum of `log_probs` over ((5 + length) / 6) ** alpha, or over the length; the
        plain sum where no sequence of the source has finished. -inf where there is no such
        sequence: fewer than `num_beams` were found; its tokens are 0.
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
    alpha: float | None = 0.6,
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
      alpha: of the brevity penalty, at least 0. 0 ranks by the plain sum, None by the mean.
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
    if alpha is not None and alpha < 0:
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
    alpha: float | None,
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
        return length if alpha is None else ((5.0 + length) / 6.0) ** alpha

    def improving(carry: Carry) -> Array:
        # Log-probabilities only fall, so this is the most that a live sequence can come to. A
        # source that has stopped is still stepped while others go on, and nothing changes for it.
        # The most that a mean can come to says little: there it goes on as long as a live one has a
        # better mean now, as in the published decoder.
        best = carry.live.scores[:, 0]
        most = penalty(jnp.maximum(carry.step, 1) if alpha is None else max_length)
        can_enter = best / most >= carry.ended.scores[:, -1]
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
