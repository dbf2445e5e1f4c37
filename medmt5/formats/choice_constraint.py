"""What may be decoded when one of several answers is to be chosen: their tokens, nothing else.

A `decoding.Constraint`; multiple choice, and anything else with a closed list of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from medmt5.vocabulary import PAD_ID


class ChoiceState(NamedTuple):
    """Where each row stands."""

    row: Int[Array, " rows"]  # which question
    length: Int[Array, " rows"]  # tokens written
    open: Bool[Array, "rows options"]  # options that begin with what is written
    done: Bool[Array, " rows"]


@flax.struct.dataclass
class OneOf:
    """Write one of a question's options, whole.

    An option may be the beginning of another: each ends in end of sequence.

    Attributes:
      options: ids, ending in end of sequence, then padding; all padding where a question has
        fewer options than others.
      eos_id: end of sequence.
    """

    options: Int[Array, "batch options target"]
    eos_id: int = flax.struct.field(pytree_node=False)

    @classmethod
    def make(cls, questions: Sequence[Sequence[Sequence[int]]], eos_id: int) -> OneOf:
        """The constraint of a batch: for each question its options' ids, without the end.

        Raises:
          ValueError: a question without options.
        """
        if not all(questions):
            raise ValueError(f"question {[*map(len, questions)].index(0)} has no options")
        count = max(map(len, questions))
        length = 1 + max(len(option) for options in questions for option in options)
        ids = np.full((len(questions), count, length), PAD_ID, np.int32)
        for row, options in enumerate(questions):
            for i, option in enumerate(options):
                ids[row, i, : len(option) + 1] = [*option, eos_id]
        return cls(jnp.asarray(ids), eos_id)

    def init(self, batch_size: int) -> ChoiceState:
        rows = jnp.arange(batch_size)
        zeros = jnp.zeros((batch_size,), jnp.int32)
        exists = self.options[:, :, 0] != PAD_ID
        return ChoiceState(rows, zeros, exists[rows], zeros > 0)

    def _following(self, state: ChoiceState) -> Int[Array, "rows options"]:
        place = jnp.minimum(state.length, self.options.shape[2] - 1)
        return self.options[state.row, :, place]

    def allowed(
        self, state: ChoiceState
    ) -> tuple[Int[Array, "rows options"], Bool[Array, "rows options"]]:
        """The next id of every open option; an id that several share is offered once."""
        ids = self._following(state)
        same = (ids[:, :, None] == ids[:, None, :]) & state.open[:, None, :]
        first = same.argmax(-1) == jnp.arange(ids.shape[1])
        mask = jnp.where(state.done[:, None], jnp.arange(ids.shape[1]) == 0, state.open & first)
        return jnp.where(state.done[:, None], PAD_ID, ids), mask

    def draft(self, state: ChoiceState, count: int) -> Int[Array, "rows count"]:
        """The rest of the first open option: right as soon as it is the only one."""
        option = state.open.argmax(-1)
        places = state.length[:, None] + jnp.arange(count)
        inside = jnp.minimum(places, self.options.shape[2] - 1)
        return self.options[state.row[:, None], option[:, None], inside]

    def advance(self, state: ChoiceState, token: Int[Array, " rows"]) -> ChoiceState:
        """The state after an allowed token."""
        still = state.open & (self._following(state) == token[:, None])
        return ChoiceState(
            row=state.row,
            length=jnp.where(state.done, state.length, state.length + 1),
            open=jnp.where(state.done[:, None], state.open, still),
            done=state.done | (token == self.eos_id),
        )
