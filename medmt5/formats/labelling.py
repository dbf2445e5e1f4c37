"""Sequence labelling as text-to-text: the target is the source with tags inserted.

Everything works on ids and word indices. A target is the source's own token ids with tag ids at
word boundaries, in training and in decoding alike; answers map back by word index and never by
decoding text, so no word can be lost, whatever it holds. Search is left to `decoding`, files to
`conll`, scores to `metrics`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from medmt5.formats.conll import check_tag
from medmt5.metrics import span_f1
from medmt5.vocabulary import PAD_ID, Vocabulary


class Span(NamedTuple):
    """Words start to end (half-open) carry a label."""

    start: int
    end: int
    label: str


class ScoredSpan(NamedTuple):
    """A predicted span; `score` is the probability of its tags, given what precedes them."""

    start: int
    end: int
    label: str
    score: float


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Spans of IOB or IOB2 tags; an I- that continues nothing begins a span (as in seqeval)."""
    spans: list[Span] = []
    start, label = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if label and (prefix != "I" or name != label):
            spans.append(Span(start, i, label))
            label = ""
        if prefix != "O" and not label:
            start, label = i, name
    return spans


def tags_of(length: int, spans: Sequence[Span]) -> list[str]:
    """IOB2 tags of spans over `length` words."""
    tags = ["O"] * length
    for start, end, label, *_ in spans:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def check_spans(length: int, spans: Sequence[Span], labels: Sequence[str]) -> list[Span]:
    """The spans in order; ValueError unless flat, non-empty, inside and of known labels."""
    ordered = sorted(Span(*span[:3]) for span in spans)
    at = 0
    for span in ordered:
        if not at <= span.start < span.end <= length:
            raise ValueError(
                f"{span} is empty, overlaps another span or leaves the sentence of {length} words"
            )
        if span.label not in labels:
            raise ValueError(f"label {span.label!r} is unknown; labels are {', '.join(labels)}")
        at = span.end
    return ordered


@dataclasses.dataclass(frozen=True)
class TagSet:
    """Labels and the single ids that open and close them."""

    labels: tuple[str, ...]
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]

    @classmethod
    def for_vocabulary(cls, labels: Sequence[str], vocabulary: Vocabulary) -> TagSet:
        """Tags in the vocabulary's spare rows: open and close of the first label, and so on."""
        if not labels or len(set(labels)) != len(labels) or not all(labels):
            raise ValueError(f"labels are {list(labels)}; give one or more different names")
        ids = vocabulary.free_ids(2 * len(labels))
        return cls(tuple(labels), ids[0::2], ids[1::2])

    def names(self) -> dict[int, str]:
        """Spelling of every tag, for tokenizers that show it: `<Disease>` and `</Disease>`."""
        opened = {i: f"<{label}>" for i, label in zip(self.open_ids, self.labels, strict=True)}
        closed = {i: f"</{label}>" for i, label in zip(self.close_ids, self.labels, strict=True)}
        return opened | closed


def render(words: Sequence[Sequence[int]], spans: Sequence[Span], tags: TagSet) -> list[int]:
    """Target ids: the words' own ids with tag ids around each span; no end of sequence.

    Args:
      words: token ids of each word, none of them empty.
      spans: flat spans over the words.
      tags: ids of the tags.

    Raises:
      ValueError: overlapping, empty or unknown spans.
    """
    opens = {}
    closes = {}
    for span in check_spans(len(words), spans, tags.labels):
        label = tags.labels.index(span.label)
        opens[span.start] = tags.open_ids[label]
        closes[span.end - 1] = tags.close_ids[label]
    target: list[int] = []
    for i, word in enumerate(words):
        if i in opens:
            target.append(opens[i])
        target.extend(word)
        if i in closes:
            target.append(closes[i])
    return target


def parse(
    target: Sequence[int],
    words: Sequence[Sequence[int]],
    tags: TagSet,
    log_probs: Sequence[float] | None = None,
) -> list[ScoredSpan]:
    """Spans of a constrained target; the inverse of `render`.

    Args:
      target: ids that the `InlineTags` constraint let through (end of sequence and padding at
        the end are ignored).
      words: token ids of each word.
      tags: ids of the tags.
      log_probs: of each target id, renormalised over what was allowed there; a span's score is
        the product over its decisions, from the opening tag to the closing one.

    Raises:
      ValueError: the target is not the source with tags.
    """
    ends = np.cumsum([len(word) for word in words]).tolist()
    source = [i for word in words for i in word]
    at_word = {0: 0} | {end: i + 1 for i, end in enumerate(ends)}
    label_of = {i: (n, True) for n, i in enumerate(tags.open_ids)}
    label_of |= {i: (n, False) for n, i in enumerate(tags.close_ids)}
    spans: list[ScoredSpan] = []
    copied, start, label, score = 0, 0, -1, 0.0
    for position, token in enumerate(target):
        token = int(token)
        if label >= 0 and log_probs is not None:
            score += float(log_probs[position])
        if token in label_of:
            number, opening = label_of[token]
            if (
                copied not in at_word
                or opening == (label >= 0)
                or (not opening and (number != label or at_word[copied] == start))
            ):
                raise ValueError(
                    f"tag {token} at position {position} of {list(target)} is misplaced"
                )
            if opening:
                start, label = at_word[copied], number
                score = 0.0 if log_probs is None else float(log_probs[position])
            else:
                end = at_word[copied]
                spans.append(ScoredSpan(start, end, tags.labels[label], float(np.exp(score))))
                label = -1
        elif copied < len(source) and token == source[copied]:
            copied += 1
        elif copied == len(source):
            break
        else:
            raise ValueError(
                f"position {position} of {list(target)} is not the source's next token"
            )
    if copied != len(source) or label >= 0:
        raise ValueError(
            f"target ends after {copied} of {len(source)} source tokens: {list(target)}"
        )
    return spans


def parse_free(
    target: Sequence[int], words: Sequence[Sequence[int]], tags: TagSet, vocabulary: Vocabulary
) -> tuple[list[Span], bool]:
    """Spans of an unconstrained target, as well as they can be told, and whether it is faithful.

    Words are counted by pieces that begin one (`▁`); spans beyond the sentence are cut, unclosed
    or mismatched ones dropped. That is what free generation leaves to do; constrained decoding
    never needs it.
    """
    copied: list[int] = []
    spans: list[Span] = []
    count, start, label = 0, 0, -1
    for token in map(int, target):
        if token in (vocabulary.eos_id, PAD_ID):
            break
        if token in tags.open_ids:
            start, label = count, tags.open_ids.index(token)
        elif token in tags.close_ids:
            end = min(count, len(words))
            if tags.close_ids.index(token) == label and start < end:
                spans.append(Span(start, end, tags.labels[label]))
            label = -1
        else:
            copied.append(token)
            count += vocabulary.begins_word(token)
    return spans, copied == [i for word in words for i in word]


class TagState(NamedTuple):
    """Where each row stands; a few integers."""

    row: Int[Array, " rows"]  # which source sentence
    copied: Int[Array, " rows"]  # source tokens copied so far
    label: Int[Array, " rows"]  # the open label, -1 when none
    fresh: Bool[Array, " rows"]  # a tag was just opened: a word must follow
    done: Bool[Array, " rows"]


@flax.struct.dataclass
class InlineTags:
    """Copy the source; put flat, non-empty, word-aligned, well-matched tags around spans.

    Attributes:
      source: ids, ending in end of sequence, then padding.
      word_start: True where a word begins, and at the end of sequence.
      open_ids: tag that opens each label.
      close_ids: tag that closes each label.
      eos_id: end of sequence.
    """

    source: Int[Array, "batch source"]
    word_start: Bool[Array, "batch source"]
    open_ids: Int[Array, " labels"]
    close_ids: Int[Array, " labels"]
    eos_id: int = flax.struct.field(pytree_node=False)

    def init(self, batch_size: int) -> TagState:
        zeros = jnp.zeros((batch_size,), jnp.int32)
        false = jnp.zeros((batch_size,), bool)
        return TagState(jnp.arange(batch_size), zeros, zeros - 1, false, false)

    def allowed(
        self, state: TagState
    ) -> tuple[Int[Array, "rows choices"], Bool[Array, "rows choices"]]:
        """Choices are: copy (or end), open each label, close the open label."""
        following = self.source[state.row, state.copied]
        boundary = self.word_start[state.row, state.copied] & ~state.done
        at_end = following == self.eos_id
        inside = state.label >= 0
        copy = jnp.where(state.done, PAD_ID, following)
        can_copy = state.done | ~(at_end & inside)
        can_open = boundary & ~inside & ~at_end
        can_close = boundary & inside & ~state.fresh
        opens = jnp.broadcast_to(self.open_ids, (copy.shape[0], self.open_ids.shape[0]))
        ids = jnp.concatenate([copy[:, None], opens, self.close_ids[state.label][:, None]], axis=1)
        mask = jnp.concatenate(
            [
                can_copy[:, None],
                jnp.broadcast_to(can_open[:, None], opens.shape),
                can_close[:, None],
            ],
            axis=1,
        )
        return ids, mask

    def draft(self, state: TagState, count: int) -> Int[Array, "rows count"]:
        """The next source tokens: most words carry no tag."""
        ahead = state.copied[:, None] + jnp.arange(count)
        return self.source[state.row[:, None], jnp.minimum(ahead, self.source.shape[1] - 1)]

    def advance(self, state: TagState, token: Int[Array, " rows"]) -> TagState:
        """The state after an allowed token. Tag ids never occur in the source."""
        opened = token[:, None] == self.open_ids
        opens = opened.any(-1) & ~state.done
        closes = (token[:, None] == self.close_ids).any(-1) & ~state.done
        ends = (token == self.eos_id) & ~opens & ~closes
        copies = ~opens & ~closes & ~ends & ~state.done
        label = jnp.where(opens, opened.argmax(-1), jnp.where(closes, -1, state.label))
        return TagState(
            row=state.row,
            copied=state.copied + copies,
            label=label.astype(jnp.int32),
            fresh=jnp.where(state.done, state.fresh, opens),
            done=state.done | ends,
        )


class Labelling:
    """The labelling format: words and spans to ids, a constraint, ids to spans.

    Args:
      vocabulary: encodes words one by one.
      labels: label names as they appear in the data.
      tag_weight: loss weight of tag tokens, against 1 for copied ones. Tags are rare, and copying
        is soon learnt.
    """

    kind = "labelling"

    def __init__(
        self,
        vocabulary: Vocabulary,
        labels: Sequence[str],
        *,
        tag_weight: float = 1.0,
        subword_rate: float = 0.0,
        max_word_tokens: int | None = None,
    ):
        self.vocabulary = vocabulary
        self.tags = TagSet.for_vocabulary(labels, vocabulary)
        self.tag_weight, self.subword_rate = tag_weight, subword_rate
        self.max_word_tokens = max_word_tokens

    def describe(self) -> dict[str, Any]:
        """What a model must remember to label text later; plain JSON."""
        return {"kind": self.kind, "labels": list(self.tags.labels)}

    def prepare(self, raws, lengths: Mapping[str, int] | None):
        """Raw examples pass unchanged; ids are made in `example`."""
        del lengths
        return list(raws)

    def word_ids(
        self, words: Sequence[str], rng: np.random.Generator | None = None
    ) -> list[tuple[int, ...]]:
        """Ids of each word; with a generator, `subword_rate` of them segmented at random."""
        if rng is None or not self.subword_rate:
            return [self.vocabulary.encode_word(word)[: self.max_word_tokens] for word in words]
        return [
            self.vocabulary.sample_word(word, rng) if sampled else self.vocabulary.encode_word(word)
            for word, sampled in zip(words, rng.random(len(words)) < self.subword_rate, strict=True)
        ]

    def example(self, raw: Mapping[str, Any], rng: np.random.Generator | None) -> dict[str, Any]:
        """Ids of a sentence.

        Args:
          raw: `words`, and `tags` (IOB2) unless the sentence is to be labelled.
          rng: for subword sampling; None in evaluation.

        Returns:
          `inputs` (ending in end of sequence), `word_start` (True where a word begins, and at
          the end); with tags also `targets`, `target_weights` and `spans`.
        """
        words = self.word_ids(raw["words"], rng)
        eos = self.vocabulary.eos_id
        inputs = np.array([i for word in words for i in word] + [eos], np.int32)
        word_start = np.zeros(len(inputs), bool)
        word_start[np.cumsum([0, *map(len, words)])] = True
        out = {"inputs": inputs, "word_start": word_start, "words": words}
        if "tags" in raw:
            for tag in raw["tags"]:
                check_tag(tag, self.tags.labels)
            spans = spans_of(raw["tags"])
            targets = np.array([*render(words, spans, self.tags), eos], np.int32)
            is_tag = np.isin(targets, self.tags.open_ids + self.tags.close_ids)
            weights = np.where(is_tag, self.tag_weight, 1.0).astype(np.float32)
            out |= {"targets": targets, "target_weights": weights, "spans": spans}
        return out

    def max_target_length(self, example: Mapping[str, Any]) -> int:
        """The longest target that the constraint allows: every word a span of its own."""
        return len(example["inputs"]) + 2 * (int(example["word_start"].sum()) - 1)

    def constraint(self, examples: Sequence[Mapping[str, Any]], length: int) -> InlineTags:
        """One constraint for a batch whose sources are padded to `length`."""
        source = np.full((len(examples), length), PAD_ID, np.int32)
        word_start = np.zeros((len(examples), length), bool)
        for i, example in enumerate(examples):
            source[i, : len(example["inputs"])] = example["inputs"]
            word_start[i, : len(example["inputs"])] = example["word_start"]
        return InlineTags(
            jnp.asarray(source),
            jnp.asarray(word_start),
            jnp.asarray(self.tags.open_ids, jnp.int32),
            jnp.asarray(self.tags.close_ids, jnp.int32),
            self.vocabulary.eos_id,
        )

    def answer(
        self, tokens: Sequence[int], log_probs: Sequence[float], example: Mapping[str, Any]
    ) -> list[ScoredSpan]:
        return parse(tokens, example["words"], self.tags, log_probs)

    def answer_free(
        self, tokens: Sequence[int], example: Mapping[str, Any]
    ) -> tuple[list[Span], bool]:
        return parse_free(tokens, example["words"], self.tags, self.vocabulary)

    def scores_free(
        self,
        sources: Iterable[Sequence[int]],
        golds: Iterable[Sequence[int]],
        predictions: Iterable[Sequence[int]],
    ) -> dict[str, float]:
        """Span scores and share of unchanged sources of free generation, ids alone given.

        Words are cut where a piece begins one, so one whose first piece does not joins the word
        before it, in gold and prediction alike.

        Args:
          sources: ids of each sentence, ending in end of sequence.
          golds: target ids.
          predictions: generated ids, padded.
        """
        found, expected, unchanged = [], [], []
        for source, gold, prediction in zip(sources, golds, predictions, strict=True):
            words = self._words_of(source)
            expected.append(parse_free(gold, words, self.tags, self.vocabulary)[0])
            spans, same = parse_free(prediction, words, self.tags, self.vocabulary)
            found.append(spans)
            unchanged.append(same)
        scores = span_f1(expected, found)
        del scores["per_label"]
        return scores | {"unchanged": 100.0 * float(np.mean(unchanged))}

    def _words_of(self, source: Sequence[int]) -> list[list[int]]:
        words: list[list[int]] = []
        for i in map(int, source):
            if i in (self.vocabulary.eos_id, PAD_ID):
                break
            if not words or self.vocabulary.begins_word(i):
                words.append([])
            words[-1].append(i)
        return words
