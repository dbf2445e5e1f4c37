"""The best labelling of all: best-first search over what a constraint allows.

A node is the beginning of a sequence. One pass of the decoder scores its plainest completion (the
first thing allowed at every place: for labels, copy to the end) and at once every other choice on
the way, each a new node whose own probability bounds all that can follow. The search stops when no
open node can beat the best complete sequence, which is then proven, or when its passes are spent.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medmt5.decoding import greedy
from medmt5.partitioning import gather, on_all_devices
from medmt5.state import Architecture, Params


class Best(NamedTuple):
    """The best sequence that was found.

    Attributes:
      tokens: ids, end of sequence included, without padding.
      log_probs: of each token.
      score: sum of log-probabilities of all its tokens.
      proven: no allowed sequence has a higher score.
      passes: rows that went through the decoder.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    score: float
    proven: bool
    passes: int


class ExactSearch:
    """Search with one model and kind of constraint; compiled once per shape.

    Args:
      architecture: the model.
      params: its parameters; `params` may be set later, nothing is recompiled.
      eos_id: ends a sequence.
      renormalise: probabilities over the allowed tokens only, as in `greedy`; by default over the
        whole vocabulary.
      rows: nodes per pass.
    """

    def __init__(
        self,
        architecture: Architecture,
        params: Params | None,
        *,
        eos_id: int,
        renormalise: bool = False,
        rows: int = 8,
    ):
        self.architecture, self.params = architecture, params
        self.eos_id, self.renormalise, self.rows = eos_id, renormalise, rows
        self._encode = jax.jit(lambda p, source: architecture.merge(p).encode(source))
        self._score = jax.jit(self._complete)
        self._greedy = jax.jit(self._run_greedy, static_argnames="max_length")

    def _run_greedy(self, params: Params, source: Any, constraint: Any, *, max_length: int):
        model = self.architecture.merge(params)
        decoded = greedy(
            model, source, max_length=max_length, eos_id=self.eos_id, constraint=constraint
        )
        return gather(decoded.tokens)

    def _complete(self, params: Params, encoded: Any, source: Any, constraint: Any, prefix: Any):
        """Complete every prefix (rows, length; -1 after its end) and score all choices on the way.

        Returns:
          tokens (rows, length), 0 after the end; log-probabilities (rows, length, choices), -inf
          where not allowed; the choices' ids.
        """
        rows = prefix.shape[0]
        # All rows continue one source: the state of sentence 0, once per row.
        state = jax.tree.map(lambda leaf: jnp.repeat(leaf, rows, axis=0), constraint.init(1))

        def place(carry, forced):
            state, done = carry
            ids, mask = constraint.allowed(state)
            first = jnp.take_along_axis(ids, mask.argmax(-1)[:, None], axis=1)[:, 0]
            token = jnp.where(done, 0, jnp.where(forced < 0, first, forced)).astype(jnp.int32)
            after = constraint.advance(state, token)
            return (after, done | (token == self.eos_id)), (token, ids, mask & ~done[:, None])

        done = jnp.zeros((rows,), bool)
        _, (tokens, ids, mask) = jax.lax.scan(place, (state, done), prefix.T)
        tokens, ids, mask = tokens.T, jnp.moveaxis(ids, 0, 1), jnp.moveaxis(mask, 0, 1)
        model = self.architecture.merge(params)
        hidden = model.decode(
            jnp.repeat(encoded, rows, axis=0),
            jnp.repeat(source, rows, axis=0),
            jnp.pad(tokens[:, :-1], ((0, 0), (1, 0))),
            tokens,
        )
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = model.logits_of(flat, ids.reshape(len(flat), -1)).reshape(ids.shape)
        logits = jnp.where(mask, logits, -jnp.inf)
        if self.renormalise:
            total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        else:
            # Row by row: the scores of all words at all places of all rows are many gigabytes.
            total = jax.lax.map(
                lambda row: jax.nn.logsumexp(model.logits(row), axis=-1, keepdims=True), hidden
            )
        return gather((tokens, jnp.where(mask, logits - total, -jnp.inf), ids))

    def search(
        self, source_tokens: np.ndarray, constraint: Any, *, max_length: int, passes: int = 1000
    ) -> Best:
        """The best allowed sequence for one source.

        Args:
          source_tokens: (1, source) encoder ids; 0 is padding.
          constraint: a `decoding.Constraint` for this one source. Its first allowed choice at
            every place must lead to an end within max_length.
          max_length: tokens at most, end of sequence included.
          passes: rows through the decoder at most.

        Raises:
          ValueError: passes or max_length is too small for a single completion.
        """
        if passes < 1 or max_length < 1:
            raise ValueError(f"passes {passes} and max_length {max_length} must be 1 or more")
        source = jnp.asarray(source_tokens)
        encoded = self._encode(self.params, source)
        best: tuple[np.ndarray, np.ndarray] | None = None
        best_score, used, opened = -np.inf, 0, 0
        # Open nodes: negative bound, a number that breaks ties, the beginning.
        heap: list[tuple[float, int, np.ndarray]] = []

        def run(beginnings: list[np.ndarray], *, expand: bool) -> None:
            nonlocal best, best_score, used, opened
            prefix = np.full((self.rows, max_length), -1, np.int32)
            for row, beginning in enumerate(beginnings):
                prefix[row, : len(beginning)] = beginning
            tokens, log_probs, ids = jax.device_get(
                self._score(self.params, encoded, source, constraint, on_all_devices(prefix))
            )
            used += len(beginnings)
            for row, beginning in enumerate(beginnings):
                ends = np.flatnonzero(tokens[row] == self.eos_id)
                length = int(ends[0]) + 1 if len(ends) else max_length
                chosen, scores = tokens[row, :length], log_probs[row, :length]
                taken = (ids[row, :length] == chosen[:, None]) & np.isfinite(scores)
                steps = np.where(taken, scores, -np.inf).max(-1)
                until = np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])
                if len(ends) and until[-1] > best_score:
                    best, best_score = (chosen.copy(), steps), float(until[-1])
                if not expand:
                    continue
                others = np.isfinite(scores) & ~taken
                others[: len(beginning)] = False  # those belong to the nodes this one came from
                for at, choice in zip(*np.nonzero(others), strict=True):
                    bound = float(until[at] + scores[at, choice])
                    if bound > best_score:
                        opened += 1
                        child = np.append(chosen[:at], ids[row, at, choice])
                        heapq.heappush(heap, (-bound, opened, child))

        first = np.asarray(self._greedy(self.params, source, constraint, max_length=max_length))[0]
        run([first[first != 0]], expand=False)  # what greedy's answer beats is never opened
        if used < passes:
            run([np.zeros(0, np.int32)], expand=True)
        while used < passes and heap and -heap[0][0] > best_score:
            batch: list[np.ndarray] = []
            while heap and len(batch) < min(self.rows, passes - used) and -heap[0][0] > best_score:
                batch.append(heapq.heappop(heap)[2])
            run(batch, expand=True)
        if best is None:
            raise ValueError(
                f"nothing ends within {max_length} tokens and {passes} passes; raise max_length"
            )
        proven = used > 1 and not (heap and -heap[0][0] > best_score)
        return Best(*best, best_score, proven, used)
