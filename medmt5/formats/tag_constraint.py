"""What may be decoded when text is labelled: the source, copied, and well-formed tags.

A `decoding.Constraint` over the dense tables of `tags.Trie`; a few integers per row, no host.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from medmt5.formats.tags import INNER, NONE, TagSet, Trie
from medmt5.vocabulary import PAD_ID


class TagState(NamedTuple):
    """Where each row stands; a few integers.

    A tag of several ids is under way at a node of the trie. Where its ids may be the text's as
    well, `copying` is True: both are followed, and `copied` counts those ids. If they turn out to
    be the tag's, it falls back to where the tag began.
    """

    row: Int[Array, " rows"]  # which source sentence
    copied: Int[Array, " rows"]  # source tokens copied so far
    label: Int[Array, " rows"]  # the open label, -1 when none
    fresh: Bool[Array, " rows"]  # a tag was just opened: a word must follow
    node: Int[Array, " rows"]  # where in a tag, -1 when in none
    copying: Bool[Array, " rows"]
    done: Bool[Array, " rows"]


class Choices(NamedTuple):
    """Next nodes of some tags: ids, the nodes they lead to, and which may be taken."""

    ids: Int[Array, "rows children"]
    nodes: Int[Array, "rows children"]
    mask: Bool[Array, "rows children"]

    def taken(self, token: Int[Array, " rows"]) -> Int[Array, " rows"]:
        """The node that the token leads to, -1 for none."""
        return jnp.where(self.mask & (self.ids == token[:, None]), self.nodes, NONE).max(-1)


@flax.struct.dataclass
class InlineTags:
    """Copy the source; put flat, non-empty, word-aligned, well-matched tags around spans.

    Attributes:
      source: ids to copy, ending in end of sequence, then padding.
      word_start: True where a word begins, and at the end of sequence.
      trie: the tags.
      eos_id: end of sequence.
      in_text: an id of a tag may also be one of text.
    """

    source: Int[Array, "batch source"]
    word_start: Bool[Array, "batch source"]
    trie: Trie
    eos_id: int = flax.struct.field(pytree_node=False)
    in_text: bool = flax.struct.field(pytree_node=False)

    @classmethod
    def make(
        cls,
        source: Int[Array, "batch source"],
        word_start: Bool[Array, "batch source"],
        tags: TagSet,
        eos_id: int,
        *,
        in_text: bool = False,
    ) -> InlineTags:
        """The constraint of some sentences; arrays as in the class, from numpy or jax."""
        trie = jax.tree.map(jnp.asarray, tags.trie)
        return cls(jnp.asarray(source), jnp.asarray(word_start), trie, eos_id, in_text)

    def init(self, batch_size: int) -> TagState:
        zeros = jnp.zeros((batch_size,), jnp.int32)
        false = jnp.zeros((batch_size,), bool)
        return TagState(
            jnp.arange(batch_size), zeros, zeros + NONE, false, zeros + NONE, false, false
        )

    def _copies(self, state: TagState) -> tuple[Int[Array, " rows"], Bool[Array, " rows"]]:
        """The source's next id (or the end, or padding behind it), and whether it may come."""
        following = self.source[state.row, state.copied]
        closed = (state.label == NONE) | (following != self.eos_id)
        may = ((state.node == NONE) | state.copying) & closed
        return jnp.where(state.done, PAD_ID, following), may | state.done

    def _tags(self, state: TagState) -> list[Choices]:
        """What goes on with the tag under way, and what begins one."""
        following = self.source[state.row, state.copied]
        inside = state.label != NONE
        under_way = state.node != NONE
        boundary = self.word_start[state.row, state.copied]
        begins = boundary & jnp.where(inside, ~state.fresh, following != self.eos_id)
        root = jnp.where(inside, 1 + state.label, 0)

        def at(node: Array, may: Array) -> Choices:
            nodes = self.trie.children[node]
            mask = (may & ~state.done)[:, None] & (nodes != NONE)
            return Choices(self.trie.child_ids[node], nodes, mask)

        if not self.in_text:  # what has begun as a tag is one: the two exclude each other
            return [at(jnp.where(under_way, state.node, root), under_way | begins)]
        return [
            at(jnp.maximum(state.node, 0), under_way),
            at(root, begins & (~under_way | state.copying)),
        ]

    def allowed(
        self, state: TagState
    ) -> tuple[Int[Array, "rows choices"], Bool[Array, "rows choices"]]:
        """Choices are: copy (or end), then the next ids of tags."""
        copy, may = self._copies(state)
        ids, mask = copy[:, None], may[:, None]
        for tags in self._tags(state):
            new = tags.mask
            if self.in_text:  # the same id twice is one choice
                seen = (tags.ids[:, :, None] == ids[:, None, :]) & mask[:, None, :]
                new &= ~seen.any(-1)
            ids, mask = jnp.concatenate([ids, tags.ids], 1), jnp.concatenate([mask, new], 1)
        return ids, mask

    def draft(self, state: TagState, count: int) -> Int[Array, "rows count"]:
        """The rest of a tag under way, then the next source tokens: most words carry no tag."""
        ahead = jnp.arange(count)[None]
        length = jnp.zeros_like(state.copied)
        if self.trie.rest.shape[1] > 1:
            tag = (state.node != NONE) & ~state.copying
            length = jnp.where(tag, self.trie.rest_length[state.node], 0)
        copied = state.copied[:, None] + jnp.maximum(ahead - length[:, None], 0)
        copy = self.source[state.row[:, None], jnp.minimum(copied, self.source.shape[1] - 1)]
        if self.trie.rest.shape[1] == 1:
            return copy
        rest = self.trie.rest[state.node[:, None], jnp.minimum(ahead, self.trie.rest.shape[1] - 1)]
        return jnp.where(ahead < length[:, None], rest, copy)

    def advance(self, state: TagState, token: Int[Array, " rows"]) -> TagState:
        """The state after an allowed token; `tags.parse` reads by the same rules."""
        copy, may = self._copies(state)
        copies = may & (token == copy) & ~state.done
        going_on, *starting = (tags.taken(token) for tags in self._tags(state))
        node = going_on
        # Where the tag began: behind what has been copied, but for ids that were followed as both.
        at_tag = state.copied - jnp.where(state.copying, self.trie.depth[state.node], 0)
        if starting:
            starts = (going_on == NONE) & (starting[0] != NONE)
            node = jnp.where(starts, starting[0], node)
            at_tag = jnp.where(starts, state.copied, at_tag)
        in_tag = node != NONE
        leaf = in_tag & (self.trie.label[node] != INNER)
        tagged = leaf & ~copies  # what may be text to its end is text
        copied = jnp.where(copies, state.copied + (token != self.eos_id), state.copied)
        label = jnp.where(tagged, self.trie.label[node], state.label)
        return TagState(
            row=state.row,
            copied=jnp.where(in_tag & ~copies, at_tag, copied),
            label=label,
            fresh=jnp.where(tagged, label != NONE, state.fresh & ~copies),
            node=jnp.where(in_tag & ~leaf, node, NONE),
            copying=in_tag & ~leaf & copies,
            done=state.done | (copies & (token == self.eos_id)),
        )
