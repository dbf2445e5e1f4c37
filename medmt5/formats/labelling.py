"""Sequence labelling as text-to-text: the target is the source with tags inserted.

The target is the source's own token ids with tag ids at word boundaries, in training and in
decoding alike. Ids of tags are left to `tags`, what may be decoded to `tag_constraint`, search to
`decoding`, files to `conll`, scores to `metrics`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medmt5.formats.conll import check_tag
from medmt5.formats.spans import ScoredSpan, Span, spans_of
from medmt5.formats.tag_constraint import InlineTags
from medmt5.formats.tags import TagSet, parse, parse_free, render
from medmt5.metrics import span_f1
from medmt5.vocabulary import PAD_ID, Vocabulary, follows_unspaced


class Labelling:
    """The labelling format: words and spans to ids, a constraint, ids to spans.

    Args:
      vocabulary: encodes words one by one.
      labels: label names as they appear in the data.
      inventory: all labels of a model that several tasks share, so that a label has the same tag
        in all of them; by default `labels`.
      spelling: names for tags and prompts, where the data's are less telling: {"ety":
        "ClinicalEntity"}. Spans keep the data's.
      label_prompt: put the opening tags of `labels` before the sentence, in the order of their
        names: a model of several tasks then knows which are asked for.
      where: what tags are made of: "rows" of the vocabulary that no text uses, "text" such as
        `<Disease>`, or the ids themselves (`TagSet.from_description`).
      tag_weight: loss weight of tag tokens, against 1 for copied ones. Tags are rare, and copying
        is soon learnt.
      subword_rate: share of words that training segments at random.
      max_word_tokens: words are cut to so many; None for no limit.

    Raises:
      ValueError: labels that are not in the inventory, or tags that cannot be told apart.

    Source: label prompts, spellings and textual tags are those of García-Ferrero et al. 2024,
    "Medical mT5".
    """

    kind = "labelling"
    modes = ("constrained", "unconstrained")

    def __init__(
        self,
        vocabulary: Vocabulary,
        labels: Sequence[str],
        *,
        inventory: Sequence[str] | None = None,
        spelling: Mapping[str, str] = {},
        label_prompt: bool = False,
        where: str | Mapping[str, Any] = "rows",
        tag_weight: float = 1.0,
        subword_rate: float = 0.0,
        max_word_tokens: int | None = None,
    ):
        self.vocabulary, self.labels = vocabulary, tuple(labels)
        self.inventory = self.labels if inventory is None else tuple(inventory)
        self.spelling, self.label_prompt, self.where = dict(spelling), label_prompt, where
        if unknown := sorted({*self.labels} - {*self.inventory}):
            raise ValueError(
                f"labels {', '.join(unknown)} are not in the inventory: {', '.join(self.inventory)}"
            )
        all_tags = TagSet.from_description(
            list(map(self._spelt, self.inventory)), where, vocabulary
        )
        places = [self.inventory.index(label) for label in self.labels]
        self.tags = TagSet(
            self.labels,
            tuple(all_tags.opens[i] for i in places),
            tuple(all_tags.closes[i] for i in places),
        )
        self.tag_names = all_tags.names()
        self.tags_in_text = not all(map(vocabulary.is_reserved, self.tags.ids))
        self.prompt: tuple[int, ...] = ()
        if label_prompt:
            ordered = sorted(zip(map(self._spelt, self.labels), self.tags.opens, strict=True))
            self.prompt = tuple(i for _, tag in ordered for i in tag)
        self.tag_weight, self.subword_rate = tag_weight, subword_rate
        self.max_word_tokens = max_word_tokens

    def _spelt(self, label: str) -> str:
        return self.spelling.get(label, label)

    def describe(self) -> dict[str, Any]:
        """What a model must remember to label text later; plain JSON."""
        card: dict[str, Any] = {"kind": self.kind, "labels": list(self.labels)}
        if self.inventory != self.labels:
            card["inventory"] = list(self.inventory)
        if self.spelling:
            card["spelling"] = self.spelling
        if self.label_prompt:
            card["label_prompt"] = True
        if self.where != "rows":
            card["where"] = self.where
        return card

    @classmethod
    def from_description(
        cls, card: Mapping[str, Any], vocabulary: Vocabulary, **options: Any
    ) -> Labelling:
        """The format that `describe` described; other keys of the card are not for it."""
        names = ("inventory", "spelling", "label_prompt", "where")
        known = {name: card[name] for name in names if name in card}
        return cls(vocabulary, card["labels"], **known, **options)

    def as_trained(self, task: str, cards: Mapping[str, Mapping[str, Any]]) -> Labelling:
        """This task with the tags of a model: one trained on another language, or on more sets.

        Args:
          task: its name; its own card counts before others.
          cards: what the model's tasks described; of none that labels, the format stays.

        Raises:
          ValueError: the model lacks a label, or has several tags for one.
        """
        known = {name: card for name, card in cards.items() if card.get("kind") == self.kind}
        known = {task: known[task]} if task in known else known
        if not known:
            return self
        names = ("inventory", "spelling", "label_prompt", "where")
        ways: list[dict[str, Any]] = []
        for card in known.values():
            way = {"inventory": card["labels"]} | {n: card[n] for n in names if n in card}
            if {*self.labels} <= {*way["inventory"]} and way not in ways:
                ways.append(way)
        if len(ways) != 1:
            there = sorted({label for card in known.values() for label in card["labels"]})
            problem = "has several tags for them" if ways else f"was trained on {', '.join(there)}"
            raise ValueError(
                f"task {task} labels {', '.join(self.labels)}, but the model {problem}; evaluate "
                f"a task it was trained on: {', '.join(known)}"
            )
        return Labelling(
            self.vocabulary, self.labels, max_word_tokens=self.max_word_tokens, **ways[0]
        )

    def prepare(self, raws, lengths: Mapping[str, int] | None):
        """Raw examples pass unchanged; ids are made in `example`."""
        del lengths
        return list(raws)

    def word_ids(
        self, words: Sequence[str], rng: np.random.Generator | None = None
    ) -> list[tuple[int, ...]]:
        """Ids of each word; with a generator, `subword_rate` of them segmented at random."""
        ids = [word[: self.max_word_tokens] for word in self.vocabulary.encode_words(words)]
        if rng is None or not self.subword_rate:
            return ids
        sampled = rng.random(len(words)) < self.subword_rate
        for i in np.flatnonzero(sampled):
            if not (i and follows_unspaced(words[i - 1], words[i])):
                ids[i] = self.vocabulary.sample_word(words[i], rng)
        return ids

    def sizes(self, words: Sequence[str]) -> list[int]:
        """Tokens of each word at most, wherever a sentence may be cut."""
        alone = (len(self.vocabulary.encode_word(word)[: self.max_word_tokens]) for word in words)
        return list(map(max, alone, map(len, self.word_ids(words))))

    def example(self, raw: Mapping[str, Any], rng: np.random.Generator | None) -> dict[str, Any]:
        """Ids of a sentence.

        Args:
          raw: `words`, and `tags` (IOB2) unless the sentence is to be labelled.
          rng: for subword sampling; None in evaluation.

        Returns:
          `inputs` (the prompt, the words, end of sequence), `words` (ids of each), `text` (the
          words themselves), `word_start` (behind the prompt: True where a word begins, and at the
          end); with tags also `targets`, `target_weights` and `spans`.
        """
        words = self.word_ids(raw["words"], rng)
        eos = self.vocabulary.eos_id
        inputs = np.array([*self.prompt, *itertools.chain(*words), eos], np.int32)
        word_start = np.zeros(len(inputs) - len(self.prompt), bool)
        word_start[np.cumsum([0, *map(len, words)])] = True
        out = {"inputs": inputs, "word_start": word_start, "words": words, "text": raw["words"]}
        if "tags" in raw:
            for tag in raw["tags"]:
                check_tag(tag, self.labels)
            spans = spans_of(raw["tags"])
            target = render(words, spans, self.tags)
            weights = np.where([*target.is_tag, False], self.tag_weight, 1.0).astype(np.float32)
            targets = np.array([*target.ids, eos], np.int32)
            out |= {"targets": targets, "target_weights": weights, "spans": spans}
        return out

    def max_target_length(self, example: Mapping[str, Any]) -> int:
        """The longest target that the constraint allows: every word a span of its own."""
        word_start = example["word_start"]
        longest = max(map(len, self.tags.opens)) + max(map(len, self.tags.closes))
        return len(word_start) + longest * (int(word_start.sum()) - 1)

    # The longest faithful output is enough for one that may never end.
    max_free_length = max_target_length

    def constraint(self, examples: Sequence[Mapping[str, Any]], length: int) -> InlineTags:
        """One constraint for a batch whose sources are padded to `length`."""
        source = np.full((len(examples), length), PAD_ID, np.int32)
        word_start = np.zeros((len(examples), length), bool)
        for i, example in enumerate(examples):
            copy = example["inputs"][len(self.prompt) :]
            source[i, : len(copy)] = copy
            word_start[i, : len(copy)] = example["word_start"]
        return InlineTags.make(
            source, word_start, self.tags, self.vocabulary.eos_id, in_text=self.tags_in_text
        )

    def answer(self, prediction: Any, example: Mapping[str, Any]) -> list[ScoredSpan]:
        """Spans of a `predictor.Prediction`; scored as `predictor.Search` says."""
        answers = (prediction, *prediction.others)
        best, *others = (parse(p.tokens, example["words"], self.tags, p.log_probs) for p in answers)
        if not others:
            return best
        logits = np.array([float(np.sum(p.log_probs)) for p in answers])
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        found = [{span[:3] for span in spans} for spans in (best, *others)]
        return [
            span._replace(score=float(shares[[span[:3] in spans for spans in found]].sum()))
            for span in best
        ]

    def answers(
        self, prediction: Any, example: Mapping[str, Any]
    ) -> list[tuple[list[ScoredSpan], float]]:
        """Each answer of a prediction, best first: its spans, scored by it alone, and its score."""
        return [
            (parse(p.tokens, example["words"], self.tags, p.log_probs), p.score)
            for p in (prediction._replace(others=()), *prediction.others)
        ]

    def answer_free(
        self, tokens: Sequence[int], example: Mapping[str, Any]
    ) -> tuple[list[Span], bool]:
        return parse_free(tokens, example["words"], self.tags, self.vocabulary)

    def record(
        self, example: Mapping[str, Any], *, prediction: Any = None, tokens: Sequence[int] = ()
    ) -> dict[str, Any]:
        """One line of a prediction file: of a constrained prediction, or of a free one's tokens."""
        if prediction is not None:
            spans, same = self.answer(prediction, example), True
        else:
            spans, same = self.answer_free(tokens, example)
        return {
            "words": list(example["text"]),
            "gold": example["spans"],
            "predicted": spans,
            "faithful": same,
        }

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
        for i in map(int, source[len(self.prompt) :]):
            if i in (self.vocabulary.eos_id, PAD_ID):
                break
            if not words or self.vocabulary.begins_word(i):
                words.append([])
            words[-1].append(i)
        return words
