"""A fine-tuned model that labels text: strings in, documents with spans out.

Every character of a text stays where it is: the model sees words, answers map back by their index.
Imports neither TensorFlow nor SeqIO. Files are left to `label` and `formats.exchange`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medmt5 import restore
from medmt5.adapters.adapted import AdaptedSource, open_with
from medmt5.calibration import Correction
from medmt5.calibration import read as read_correction
from medmt5.convert.source import Source
from medmt5.formats.documents import Alternative, Document, Entity
from medmt5.formats.labelling import Labelling
from medmt5.formats.overlap import merge, windows
from medmt5.formats.spans import ScoredSpan
from medmt5.formats.text import sentence_ends, split_words
from medmt5.models import soft_prompt
from medmt5.models.adapter_names import is_adapters
from medmt5.models.t5 import T5Config
from medmt5.predictor import TURNS, Prediction, Predictor, Search
from medmt5.state import Architecture, flat_params

# Windows decoded together, so that a document of any length takes little more than its words.
WINDOWS = 4096
# Tokens per window of a model that does not say how it was tuned; the published models' length.
WINDOW_TOKENS = 256


def auto_batch_size(config: T5Config, length: int) -> int:
    """Sentences per batch that a quarter of the device's memory holds: a power of 2, 8 to 256.

    On a device that does not tell its memory, such as a CPU, 32. The same machine always gives the
    same, so that an interrupted run goes on as it began.

    Args:
      config: of the model.
      length: tokens per sentence.
    """
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if not memory:
        return 32
    joined = config.num_heads * config.head_dim
    # In float32: keys and values of up to three times as many tokens (every word a span) and of
    # the sources that wait for their turn, one encoder layer's attention, logits of up to 16
    # tokens at a time.
    caches = config.num_decoder_layers * 2 * (3 + TURNS) * length * joined
    attention = config.num_heads * length**2
    row = 4 * (caches + attention + 16 * config.vocab_size)
    return 2 ** max(3, min(8, int(math.log2(max(memory / 4 / row, 1)))))


class Labeller:
    """A model that labels text.

    Args:
      predictor: runs the model.
      format_: the labelling format it was fine-tuned with.
      max_source_length: tokens per window, as in fine-tuning.
      n_best: answers to give per window, with beam search: the best in `Document.entities`, all in
        `Document.alternatives`.
      labels: of the spans to give; by default all.
      correction: of the spans' scores; none by default.
      prompt_ids: of the soft prompt that the model was tuned behind; none by default.

    Raises:
      ValueError: more answers than beams, or a label prompt that leaves no room for text.
    """

    def __init__(
        self,
        predictor: Predictor,
        format_: Labelling,
        *,
        max_source_length: int,
        n_best: int = 1,
        labels: Sequence[str] | None = None,
        correction: Correction | None = None,
        prompt_ids: Sequence[int] = (),
    ):
        search = predictor.search
        beams = search.num_beams if search.method == "beam" else 1
        if not 1 <= n_best <= beams:
            raise ValueError(
                f"n_best is {n_best}, but {search.method} search gives {beams}; use beam search "
                "with as many beams"
            )
        # The end of sequence takes one.
        self.room = max_source_length - 1 - len(format_.prompt)
        if self.room < 1:
            raise ValueError(
                f"the label prompt has {len(format_.prompt)} tokens, the window "
                f"{max_source_length}; give fewer --labels"
            )
        format_.max_word_tokens = self.room
        self.predictor, self.format, self.n_best = predictor, format_, n_best
        self.labels = format_.labels if labels is None else tuple(labels)
        self.correction, self.prompt_ids = correction, prompt_ids
        self.base = ""  # of the model, where it was loaded from

    @classmethod
    def load(
        cls,
        path: str,
        *,
        batch_size: int | None = 32,
        search: Search = Search(),
        n_best: int = 1,
        task: str | None = None,
        labels: Sequence[str] | None = None,
        where: str | None = None,
        label_prompt: bool | None = None,
        calibration: str | None = None,
        adapter: str | None = None,
        beside: Labeller | None = None,
    ) -> Labeller:
        """The labeller in a model or checkpoint directory.

        Args:
          path: the directory.
          batch_size: sentences per batch; None chooses by the device (`auto_batch_size`).
          search: how labellings are sought.
          n_best: as in the class.
          task: which of the model's tasks, where they have different labels or soft prompts.
          labels: of the spans to give. A model with label prompts is asked for these alone; one
            that does not say its labels has these.
          where: "text" for a model that was tuned elsewhere on tags written as text.
          label_prompt: whether the model was tuned with label prompts, where it does not say so.
          calibration: file of a correction of scores, fitted by `tools/reliability.py`.
          adapter: folder of an adapter that was saved alone, to go on the model.
          beside: a labeller of the same model with another adapter. The model's parameters are
            shared with it: many adapters take little more memory than one.

        Raises:
          ValueError: no model there, one that was not fine-tuned for labelling, or for other
            labels.
        """
        source = open_with(path, adapter)
        base = source.original if isinstance(source, AdaptedSource) else source
        if beside is not None and beside.base != base.path:
            raise ValueError(
                f"{path} and the labeller beside it are of different models: {base.path} and "
                f"{beside.base}"
            )
        vocabulary = restore.vocabulary_of(source)
        card = _card(source, task, labels, where)
        if label_prompt is not None:
            card["label_prompt"] = label_prompt
        if labels is not None:
            known = card.get("inventory", card["labels"])
            _check_labels(labels, known)
            if card.get("label_prompt"):
                card |= {"labels": list(labels), "inventory": known}
        length, prompt_ids = card["lengths"]["inputs"], _soft_prompt(source, task)
        beams = search.num_beams if search.method == "beam" else 1
        architecture = Architecture.t5(source.config)
        predictor = Predictor(
            architecture,
            restore.load_params(source, architecture, shared=beside and beside.base_params()),
            eos_id=vocabulary.eos_id,
            batch_size=batch_size
            or max(1, auto_batch_size(source.config, len(prompt_ids) + length) // beams),
            search=search,
        )
        format_ = Labelling.from_description(card, vocabulary)
        labeller = cls(
            predictor,
            format_,
            max_source_length=length,
            n_best=n_best,
            labels=labels,
            correction=read_correction(calibration) if calibration else None,
            prompt_ids=prompt_ids,
        )
        labeller.base = base.path
        return labeller

    def base_params(self) -> dict[str, Any]:
        """The model's parameters by name, without those of its adapters."""
        params = flat_params(self.predictor.params)
        return {name: array for name, array in params.items() if not is_adapters(name)}

    def label_words(self, sentences: Sequence[Sequence[str]]) -> list[list[ScoredSpan]]:
        """Spans of sentences that are already split into words; half-open word indices."""
        found = (self.format.answer(*predicted) for predicted in self._predict(sentences))
        return [
            [span for span in self._corrected(spans) if span.label in self.labels]
            for spans in found
        ]

    def _corrected(self, spans: list[ScoredSpan]) -> list[ScoredSpan]:
        if self.correction is None or not spans:
            return spans
        scores = self.correction.apply(np.array([span.score for span in spans]))
        return [s._replace(score=float(score)) for s, score in zip(spans, scores, strict=True)]

    def _predict(
        self, sentences: Sequence[Sequence[str]]
    ) -> list[tuple[Prediction, Mapping[str, Any]]]:
        examples = [self.format.example({"words": words}, None) for words in sentences]
        predictions = self.predictor.predict(
            examples, format_=self.format, soft_prompt=self.prompt_ids
        )
        return list(zip(predictions, examples, strict=True))

    def label(self, texts: Sequence[str]) -> list[Document]:
        """Label texts of any length.

        A sentence longer than the model's window is labelled in overlapping windows, whose answers
        are merged (`overlap.merge`); the document's `splits` say where it was cut.

        Args:
          texts: any strings, empty ones too.

        Returns:
          One document per text.

        Raises:
          TypeError: a single string was given.
        """
        if isinstance(texts, str):
            raise TypeError('label takes a list of texts; write label(["..."])')
        return self.label_documents([Document(text, ()) for text in texts])

    def label_documents(self, documents: Sequence[Document]) -> list[Document]:
        """Label documents anew, their own entities aside.

        One that has `words` is a single sentence of those words, as a CoNLL file gives them.
        """
        plans = [self._plan(document) for document in documents]
        parts = [(plan, part) for plan, plan_parts, _ in plans for part in plan_parts]
        answers: list[_Answer] = []
        for first in range(0, len(parts), WINDOWS):
            chosen = parts[first : first + WINDOWS]
            sentences = [
                [document.text[a:b] for a, b in document.words[i:j]] for document, (i, j) in chosen
            ]
            for prediction, example in self._predict(sentences):
                spans = self._corrected(self.format.answer(prediction, example))
                every = self.format.answers(prediction, example) if self.n_best > 1 else []
                answers.append((spans, every[: self.n_best], prediction.proven))
        following = iter(answers)
        return [
            self._answered(
                document._replace(splits=tuple(cuts)),
                parts,
                list(itertools.islice(following, len(parts))),
            )
            for document, parts, cuts in plans
        ]

    def _plan(self, document: Document) -> tuple[Document, list[tuple[int, int]], list[int]]:
        """The document with its words, and its windows."""
        text = document.text
        words = document.words or tuple(split_words(text))
        ends = [len(words) - 1] if document.words else sentence_ends(text, words)
        sizes = self.format.sizes([text[a:b] for a, b in words])
        parts, cuts = windows(words, ends, sizes, self.room)
        return document._replace(words=words), parts, cuts

    def _answered(
        self, document: Document, parts: Sequence[tuple[int, int]], answers: Sequence[_Answer]
    ) -> Document:
        def entities(first: int, spans: Iterable[ScoredSpan]) -> tuple[Entity, ...]:
            wanted = (span for span in spans if span.label in self.labels)
            return tuple(_entity(document, first, span) for span in wanted)

        merged = merge(parts, (spans for spans, _, _ in answers))
        alternatives = [
            Alternative(
                document.words[first][0], document.words[last - 1][1], score, entities(first, spans)
            )
            for (first, last), (_, best, _) in zip(parts, answers, strict=True)
            for spans, score in best
        ]
        exact = self.predictor.search.method == "exact"
        return document._replace(
            entities=entities(0, merged),
            alternatives=tuple(alternatives),
            proven=all(proven for *_, proven in answers) if exact else None,
        )


# Spans, the n best answers with their scores, and whether the best is proven.
_Answer = tuple[list[ScoredSpan], list[tuple[list[ScoredSpan], float]], bool]


def _entity(document: Document, first: int, span: ScoredSpan) -> Entity:
    """The entity of a span whose window begins with word `first`."""
    start = document.words[first + span.start][0]
    end = document.words[first + span.end - 1][1]
    return Entity(start, end, span.label, document.text[start:end], span.score)


def _card(
    source: Source, task: str | None, labels: Sequence[str] | None, where: str | None
) -> dict[str, Any]:
    """The description of a labelling task of the model."""
    if where is not None:
        if where != "text" or not labels:
            raise ValueError(
                f"where is {where!r} and labels {labels}; give 'text' and the labels that "
                "the model was tuned on"
            )
        lengths = {"inputs": WINDOW_TOKENS}
        return {"kind": Labelling.kind, "labels": list(labels), "where": where, "lengths": lengths}
    found = {name: f for name, f in source.formats.items() if f["kind"] == Labelling.kind}
    if not found:
        kinds = ", ".join(sorted({f["kind"] for f in source.formats.values()})) or "no task"
        raise ValueError(
            f"{source.path} was trained for {kinds}, not for labelling; fine-tune it on a "
            "labelling task first (one that was tuned elsewhere with tags as text: --tags text "
            "--labels A,B)"
        )
    if task is not None:
        if task not in found:
            raise ValueError(f"{source.path} has no task {task!r}; it has {', '.join(found)}")
        found = {task: found[task]}
    length = max(f["lengths"]["inputs"] for f in found.values())
    kinds = [{k: v for k, v in f.items() if k != "lengths"} for f in found.values()]
    if any(kind != kinds[0] for kind in kinds):
        choices = "; ".join(f"{name}: {', '.join(f['labels'])}" for name, f in found.items())
        raise ValueError(
            f"the tasks of {source.path} label differently; choose one with --task ({choices})"
        )
    return kinds[0] | {"lengths": {"inputs": length}}


def _soft_prompt(source: Source, task: str | None) -> Sequence[int]:
    """The ids that spell the soft prompt of a labelling task of the model, or of all of them."""
    names = [name for name, f in source.formats.items() if f["kind"] == Labelling.kind]
    first, *others = [
        soft_prompt.ids(source.config, name) for name in ([task] if task else names) or [None]
    ]
    if any(list(other) != list(first) for other in others):
        raise ValueError(
            f"the tasks of {source.path} have soft prompts of their own; choose one with --task "
            f"({', '.join(names)})"
        )
    return first


def _check_labels(labels: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [label for label in labels if label not in known]:
        raise ValueError(
            f"the model has no label {', '.join(map(repr, unknown))}; it has {', '.join(known)}"
        )
