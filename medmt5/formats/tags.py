"""Tags as token ids, and targets: the source's own ids with tag ids around the spans.

Everything works on ids and word indices. Answers map back by word index and never by decoding
text, so no word can be lost, whatever it holds. What may be decoded is left to `tag_constraint`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medmt5.formats.spans import ScoredSpan, Span, check_spans
from medmt5.vocabulary import PAD_ID, Vocabulary

Ids = tuple[int, ...]
NONE = -1  # no node, no label
INNER = -2  # a node that ends no tag


class Node(NamedTuple):
    """A place in the tags.

    Attributes:
      children: the ids with which a tag goes on, and the nodes that they lead to.
      label: at the end of a tag, the label that is open after it, -1 for none; before it, -2.
      depth: ids since the tag began.
      rest: a way to the end of a tag.
    """

    children: dict[int, int]
    label: int
    depth: int
    rest: Ids


class Trie(NamedTuple):
    """All nodes as dense tables, for devices.

    Attributes:
      child_ids: (nodes, children) ids of `Node.children`; 0 where there is none.
      children: (nodes, children) the nodes that these lead to; -1 where there is none.
      label: (nodes,)
      depth: (nodes,)
      rest: (nodes, longest) padded with 0.
      rest_length: (nodes,)
    """

    child_ids: np.ndarray
    children: np.ndarray
    label: np.ndarray
    depth: np.ndarray
    rest: np.ndarray
    rest_length: np.ndarray


@dataclasses.dataclass(frozen=True)
class TagSet:
    """Labels, and the ids that open and close each: one spelling, of one or several ids.

    Raises:
      ValueError: a tag without ids, or one with which another begins: a reader could not tell
        where it ends.
    """

    labels: tuple[str, ...]
    opens: tuple[Ids, ...]
    closes: tuple[Ids, ...]

    def __post_init__(self):
        if not self.labels or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise ValueError(f"labels are {list(self.labels)}; give one or more different names")
        if not len(self.labels) == len(self.opens) == len(self.closes):
            raise ValueError(
                f"{len(self.labels)} labels need as many tags; there are {len(self.opens)} that "
                f"open and {len(self.closes)} that close"
            )
        # In sorted order, whatever begins with a tag comes right after it.
        ordered = sorted(zip(self.opens, self.labels, strict=True))
        for (first, a), (second, b) in itertools.pairwise(ordered):
            if second[: len(first)] == first:
                raise ValueError(
                    f"the tag of label {b!r} begins with the whole tag of {a!r} (ids {second} and "
                    f"{first}), so they cannot be told apart; rename one"
                )
        if not all([*self.opens, *self.closes]):
            raise ValueError(f"a tag of {', '.join(self.labels)} has no ids")

    @classmethod
    def in_rows(cls, labels: Sequence[str], vocabulary: Vocabulary) -> TagSet:
        """Tags in the vocabulary's spare rows, which no text uses.

        One row each: open and close of the first label, and so on. Where there are more tags than
        spare rows, two rows each, in all pairs of them.
        """
        count = 2 * len(labels)
        try:
            ids: list[Ids] = [(i,) for i in vocabulary.free_ids(count)]
        except ValueError:
            spare = vocabulary.free_ids(vocabulary.num_free_ids)
            if count > len(spare) ** 2:
                raise
            ids = list(itertools.islice(itertools.product(spare, repeat=2), count))
        return cls(tuple(labels), tuple(ids[0::2]), tuple(ids[1::2]))

    @classmethod
    def in_text(cls, labels: Sequence[str], vocabulary: Vocabulary) -> TagSet:
        """Tags spelt with the vocabulary's pieces, `<Disease>`: of models tuned that way.

        Where the text itself spells a whole tag, from the start of a word on, it is read as text,
        and no span can begin or end right before it. Tags in rows have no such case.
        """
        return cls(
            tuple(labels),
            tuple(vocabulary.encode_word(f"<{label}>") for label in labels),
            tuple(vocabulary.encode_word(f"</{label}>") for label in labels),
        )

    @classmethod
    def from_description(
        cls, labels: Sequence[str], where: str | Mapping[str, Sequence[Ids]], vocabulary: Vocabulary
    ) -> TagSet:
        """Tags as a model's card gives them.

        Args:
          labels: their names.
          where: "rows", "text", or the ids of every tag, {"open": [[...], ...], "close": ...}.
          vocabulary: of the model.
        """
        if where == "rows":
            return cls.in_rows(labels, vocabulary)
        if where == "text":
            return cls.in_text(labels, vocabulary)
        if isinstance(where, Mapping) and set(where) == {"open", "close"}:
            opens, closes = ([tuple(map(int, tag)) for tag in where[k]] for k in ("open", "close"))
            return cls(tuple(labels), tuple(opens), tuple(closes))
        raise ValueError(
            f"tags are {where!r}; use rows, text, or ids {{'open': [[...]], 'close': [[...]]}}"
        )

    @property
    def ids(self) -> frozenset[int]:
        return frozenset(i for tag in [*self.opens, *self.closes] for i in tag)

    def names(self) -> dict[int, str]:
        """Spellings for tokenizers that show them: `<Disease>` and `</Disease>`.

        A row that is part of several tags is `<row 2036>`.
        """
        names = {
            tag[0]: f"<{slash}{label}>"
            for tags, slash in ((self.opens, ""), (self.closes, "/"))
            for tag, label in zip(tags, self.labels, strict=True)
            if len(tag) == 1
        }
        return names or {i: f"<row {i}>" for i in sorted(self.ids)}

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """The tags as a tree: first a root for opening tags, then one for each closing tag."""
        nodes = [Node({}, INNER, 0, ()) for _ in range(1 + len(self.labels))]
        tags = [(0, tag, i) for i, tag in enumerate(self.opens)]
        tags += [(1 + i, tag, NONE) for i, tag in enumerate(self.closes)]
        for root, tag, after in tags:
            at = root
            for place, token in enumerate(tag):
                if not nodes[at].rest:
                    nodes[at] = nodes[at]._replace(rest=tag[place:])
                if token not in nodes[at].children:
                    nodes[at].children[token] = len(nodes)
                    nodes.append(Node({}, INNER, place + 1, ()))
                at = nodes[at].children[token]
            nodes[at] = nodes[at]._replace(label=after)
        return nodes

    @functools.cached_property
    def trie(self) -> Trie:
        """`nodes` as arrays."""

        def padded(rows: list[list[int]], value: int) -> np.ndarray:
            width = max(map(len, rows))
            return np.array([row + [value] * (width - len(row)) for row in rows], np.int32)

        return Trie(
            child_ids=padded([list(node.children) for node in self.nodes], 0),
            children=padded([list(node.children.values()) for node in self.nodes], NONE),
            label=np.array([node.label for node in self.nodes], np.int32),
            depth=np.array([node.depth for node in self.nodes], np.int32),
            rest=padded([list(node.rest) for node in self.nodes], 0),
            rest_length=np.array([len(node.rest) for node in self.nodes], np.int32),
        )


class Target(NamedTuple):
    """Ids of a target without end of sequence, and which of them are tags'."""

    ids: list[int]
    is_tag: list[bool]


def render(words: Sequence[Sequence[int]], spans: Sequence[Span], tags: TagSet) -> Target:
    """The words' own ids with tag ids around each span.

    Args:
      words: token ids of each word, none of them empty.
      spans: flat spans over the words.
      tags: ids of the tags.

    Raises:
      ValueError: overlapping, empty or unknown spans.
    """
    opens: dict[int, Ids] = {}
    closes: dict[int, Ids] = {}
    for span in check_spans(len(words), spans, tags.labels):
        label = tags.labels.index(span.label)
        opens[span.start] = tags.opens[label]
        closes[span.end - 1] = tags.closes[label]
    target = Target([], [])
    for i, word in enumerate(words):
        for ids, is_tag in ((opens.get(i, ()), True), (word, False), (closes.get(i, ()), True)):
            target.ids.extend(ids)
            target.is_tag.extend([is_tag] * len(ids))
    return target


def parse(
    target: Sequence[int],
    words: Sequence[Sequence[int]],
    tags: TagSet,
    log_probs: Sequence[float] | None = None,
) -> list[ScoredSpan]:
    """Spans of a constrained target; the inverse of `render`.

    Where tags are spelt with pieces of text, a tag may begin as the next word does (`<` in "p <
    0.05"). Both are followed until the ids differ; if they do not before the tag is whole, it was
    the text.

    Args:
      target: ids that the `InlineTags` constraint let through (end of sequence and padding at
        the end are ignored).
      words: token ids of each word.
      tags: ids of the tags.
      log_probs: of each target id; a span's score is the product of their probabilities from the
        first id of its opening tag to the last of its closing one.

    Raises:
      ValueError: the target is not the source with tags.
    """
    nodes = tags.nodes
    source = [i for word in words for i in word]
    ends = np.cumsum([len(word) for word in words]).tolist()
    at_word = {0: 0} | {end: i + 1 for i, end in enumerate(ends)}
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(log_probs)])) if log_probs is not None else 0
    spans: list[ScoredSpan] = []
    copied, label, start, first = 0, NONE, 0, 0  # of the open span: its word, its tag's position
    # The node of a tag that has begun, and whether its ids may still be the text's.
    node, copying = NONE, False

    for position, token in enumerate(map(int, target)):
        outside_tag = node == NONE or copying
        copies = outside_tag and copied < len(source) and token == source[copied]
        at_tag = copied - (nodes[node].depth if node != NONE and copying else 0)
        following = nodes[node].children.get(token, NONE) if node != NONE else NONE
        if following == NONE and outside_tag and copied in at_word:
            word = at_word[copied]
            if word > start if label != NONE else copied < len(source):
                root = 1 + label if label != NONE else 0
                following = nodes[root].children.get(token, NONE)
                at_tag = copied
        leaf = following != NONE and nodes[following].label != INNER
        if leaf and not copies:
            begun = position + 1 - nodes[following].depth
            if label == NONE:
                label, start, first = nodes[following].label, at_word[at_tag], begun
            else:
                score = (
                    1.0 if log_probs is None else float(np.exp(sums[position + 1] - sums[first]))
                )
                spans.append(ScoredSpan(start, at_word[at_tag], tags.labels[label], score))
                label = NONE
            copied, node = at_tag, NONE
        elif following != NONE and not leaf:
            copied, node, copying = copied + 1 if copies else at_tag, following, copies
        elif copies:
            copied, node = copied + 1, NONE
        elif token in tags.ids:
            raise ValueError(f"tag {token} at position {position} of {list(target)} is misplaced")
        elif copied == len(source):
            break
        else:
            raise ValueError(
                f"position {position} of {list(target)} is not the source's next token"
            )
    if copied != len(source) or label != NONE:
        raise ValueError(
            f"target ends after {copied} of {len(source)} source tokens: {list(target)}"
        )
    return spans


def parse_free(
    target: Sequence[int], words: Sequence[Sequence[int]], tags: TagSet, vocabulary: Vocabulary
) -> tuple[list[Span], bool]:
    """Spans of an unconstrained target, as well as they can be told, and whether it is faithful.

    As long as it copies the source, words are the source's; from where it does not, they are
    counted by pieces that begin one (`▁`). Spans beyond the sentence are cut, unclosed or
    mismatched ones dropped. That is what free generation leaves to do; constrained decoding never
    needs it.
    """
    source = [i for word in words for i in word]
    starts = set(itertools.accumulate((len(word) for word in words), initial=0))
    end_ids = (vocabulary.eos_id, PAD_ID)
    ids = list(itertools.takewhile(lambda i: i not in end_ids, map(int, target)))
    spans: list[Span] = []
    at = copied = count = start = 0
    label, faithful = NONE, True

    def tag_here(choices: Sequence[Ids]) -> int:
        here = (n for n, tag in enumerate(choices) if tuple(ids[at : at + len(tag)]) == tag)
        return next(here, NONE)

    while at < len(ids):
        if (opened := tag_here(tags.opens)) != NONE:
            start, label, at = count, opened, at + len(tags.opens[opened])
        elif (closed := tag_here(tags.closes)) != NONE:
            end = min(count, len(words))
            if label != NONE and tags.closes[closed] == tags.closes[label] and start < end:
                spans.append(Span(start, end, tags.labels[label]))
            label, at = NONE, at + len(tags.closes[closed])
        else:
            faithful = faithful and copied < len(source) and ids[at] == source[copied]
            count += copied in starts if faithful else vocabulary.begins_word(ids[at])
            copied, at = copied + 1, at + 1
    return spans, faithful and copied == len(source)
