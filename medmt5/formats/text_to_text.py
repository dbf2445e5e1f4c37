"""Questions, classification and generation as text-to-text: ids of a prompt in, an answer out.

What is asked, and how, is one of `prompts.PROMPTS`. Closed answers (the letters of a question, the
labels of a classification) can be given in three ways: decoded under a constraint that allows
nothing else, ranked by their likelihood, or generated freely and read. Open ones are generated.
A raw example may have answered ones before it, as text: `shown`.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medmt5.formats.choice_constraint import OneOf
from medmt5.formats.prompts import PROMPTS, Choices, Prompt, Raw, read_choice
from medmt5.vocabulary import Vocabulary, follows_unspaced

log = logging.getLogger(__name__)


class TextToText:
    """Ids of prompts and answers.

    Args:
      vocabulary: of the model.
      prompt: a name in `prompts.PROMPTS`.
      several: several options of a question may be right; an answer is then a set of letters.
      sentinel: the source ends with `<extra_id_0>`, after which the answer comes, up to
        `<extra_id_1>`: for a model that knows span corruption alone.
      max_answer: tokens that are generated freely at most; by default 256, or 512 where a rationale
        comes first.

    Raises:
      ValueError: no such prompt.

    Source: answers after a sentinel as in ProMoT, Wang et al. 2024.
    """

    kind = "text_to_text"

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: str,
        *,
        several: bool = False,
        sentinel: bool = False,
        max_answer: int | None = None,
    ):
        if prompt not in PROMPTS:
            raise ValueError(f"prompt {prompt!r} is unknown; use one of {', '.join(PROMPTS)}")
        self.vocabulary, self.prompt, self.several = vocabulary, prompt, several
        self.sentinel = sentinel
        self._prompt = PROMPTS[prompt]
        self.explains = self._prompt.reasons is not None
        self.max_answer = max_answer or (512 if self.explains else 256)

    @property
    def modes(self) -> tuple[str, ...]:
        """Ways to decode an answer, the usual one first."""
        if self._prompt.choices is None:
            return ("unconstrained",)
        # What a model can do in context is read from what it writes.
        closed = ("constrained", "ranked")
        return ("unconstrained", *closed) if self.sentinel else (*closed, "unconstrained")

    def describe(self) -> dict[str, Any]:
        card: dict[str, Any] = {"kind": self.kind, "prompt": self.prompt}
        if self.several:
            card["several"] = True
        if self.sentinel:
            card["sentinel"] = True
        return card

    def prepare(self, raws: Iterable[Raw], lengths: Mapping[str, int] | None) -> list[Raw]:
        """The raw examples, made to fit into a row.

        What is shown before it loses its beginning; contexts, other texts and rationales their end;
        a question that is too long by itself its beginning, since it asks at its end. So options
        and answer stay. A rationale that was shortened is kept as `whole_rationale`, to be compared
        with.
        """
        if lengths is None:
            return list(raws)
        prepared, changed = [], 0
        for raw in raws:
            prepared.append(self.fitted(raw, lengths))
            changed += prepared[-1] is not raw
        if changed:
            log.warning(
                "%d of %d examples were shortened to fit %s", changed, len(prepared), dict(lengths)
            )
        return prepared

    def fitted(self, raw: Raw, lengths: Mapping[str, int]) -> Raw:
        """The raw example, as `prepare` makes it."""

        def source_fits(each: Raw) -> bool:
            return len(self._source_ids(each)) <= lengths["inputs"]

        def target_fits(each: Raw) -> bool:
            return len(self._target_ids(each)) <= lengths["targets"]

        for key in ("shown", "context", "document", "premise", "text", "src", "question"):
            if raw.get(key):
                shorter = shortened(raw, key, source_fits, keep_end=key in ("shown", "question"))
                # Without what is asked, the rest is none: where that is too long, the row is cut.
                if shorter[key] or key in ("shown", "context"):
                    raw = shorter
        if self.explains:
            whole = raw["rationale"]
            raw = shortened(raw, "rationale", target_fits)
            if raw["rationale"] != whole:
                raw = {**raw, "whole_rationale": whole}
        return raw

    def choices(self, raw: Raw) -> Choices:
        """The closed answers as texts, and what each stands for; empty for an open question."""
        choices = self._prompt.choices
        return choices(raw, self.several) if choices else {}

    def _source_ids(self, raw: Raw) -> list[int]:
        text, shown = self._prompt.source(raw), raw.get("shown")
        ids = self.vocabulary.encode(f"{shown} {text}" if shown else text)
        return [*ids, *self._begin, self.vocabulary.eos_id]

    @property
    def _begin(self) -> list[int]:
        """What an answer begins with, and ends a source, where it follows a sentinel."""
        return [self.vocabulary.sentinel(0)] if self.sentinel else []

    def example(self, raw: Raw, rng: np.random.Generator | None) -> dict[str, Any]:
        """Ids of a raw example.

        Args:
          raw: what the prompt asks for, with its answers.
          rng: draws one of several reference answers; None takes the first.

        Returns:
          `inputs` and `targets`, ending in end of sequence; `raw`; `lead`, ids that the answer
          follows.
        """
        answers = self._prompt.answers(raw)
        chosen = 0 if rng is None or len(answers) == 1 else rng.integers(len(answers))
        return {
            "inputs": np.array(self._source_ids(raw), np.int32),
            "targets": np.array(self._target_ids(raw, chosen), np.int32),
            "raw": raw,
            "lead": self._begin,
        }

    def _target_ids(self, raw: Raw, chosen: int = 0) -> list[int]:
        answer = self.vocabulary.encode(self._prompt.answers(raw)[chosen])
        return [*self._lead(raw), *answer, self.vocabulary.eos_id]

    def _lead(self, raw: Raw) -> list[int]:
        """What comes before an answer: with its rationale, where it has one."""
        if not self._prompt.reasons:
            return self._begin
        encode = self.vocabulary.encode
        return [*self._begin, *encode(self._prompt.reasons(raw)), *encode(self._prompt.marker(raw))]

    def explained(self, example: Mapping[str, Any], prediction: Any) -> dict[str, Any]:
        """The example with the rationale of a free answer, after which to choose."""
        raw = example["raw"]
        reasons = self._read_text(prediction.tokens, raw)[0]
        lead = self._lead({**raw, "rationale": reasons})
        return dict(example) | {"lead": lead, "predicted_rationale": reasons}

    def candidates(self, example: Mapping[str, Any]) -> list[list[int]]:
        """Ids of every closed answer, in the order of `choices`, without end of sequence."""
        lead, encode = example["lead"], self.vocabulary.encode
        return [[*lead, *encode(text)] for text in self.choices(example["raw"])]

    def max_target_length(self, example: Mapping[str, Any]) -> int:
        """The longest closed answer, end of sequence included."""
        return 1 + max(map(len, self.candidates(example)))

    def constraint(self, examples: Sequence[Mapping[str, Any]], length: int) -> OneOf:
        """Nothing but a closed answer, for a batch."""
        del length
        return OneOf.make([self.candidates(e) for e in examples], self.vocabulary.eos_id)

    def _place_of(self, tokens: Sequence[int], example: Mapping[str, Any]) -> int:
        """Which of the candidates was decoded."""
        written = [int(i) for i in tokens if int(i) != self.vocabulary.eos_id]
        return self.candidates(example).index(written)

    def max_free_length(self, example: Mapping[str, Any]) -> int:
        del example
        return self.max_answer

    def record(
        self,
        example: Mapping[str, Any],
        *,
        prediction: Any = None,
        place: int | None = None,
        tokens: Sequence[int] = (),
    ) -> dict[str, Any]:
        """One line of a prediction file.

        Args:
          example: from `example`, or `explained`.
          prediction: a closed answer, decoded under the constraint.
          place: of the closed answer that was chosen otherwise.
          tokens: a free answer.
        """
        raw = example["raw"]
        record: dict[str, Any] = {key: raw[key] for key in ("id", "lang") if raw.get(key)}
        reasons, text = self._read_text(tokens, raw)
        if self._prompt.choices is None:
            return record | {"references": list(self._prompt.answers(raw)), "predicted": text}
        choices = self.choices(raw)
        record["gold"] = list(choices[self._prompt.answers(raw)[0]])
        record["options"] = len(raw.get("letters") or choices)
        if prediction is not None:
            place = self._place_of(prediction.tokens, example)
        if place is None:
            record |= {"predicted": read_choice(text, raw, choices), "text": text}
        else:
            record["predicted"] = list([*choices.values()][place])
            reasons = example.get("predicted_rationale", "")
        if self.explains and raw["rationale"]:
            whole = raw.get("whole_rationale", raw["rationale"])
            record |= {"rationale": whole, "predicted_rationale": reasons}
            if raw.get("human_check"):
                record["human_check"] = raw["human_check"]
        return record

    def _read_text(self, tokens: Sequence[int], raw: Raw) -> tuple[str, str]:
        """The rationale and the answer of a free answer."""
        ids = [int(i) for i in tokens if int(i) != self.vocabulary.eos_id]
        if self.sentinel:
            # After the first sentinel, where there is one, and before the next.
            first, second = self.vocabulary.sentinel(0), self.vocabulary.sentinel(1)
            ids = ids[ids.index(first) + 1 :] if first in ids else ids
            ids = ids[: ids.index(second)] if second in ids else ids
        text = self.vocabulary.decode(ids).strip()
        for stop in self._prompt.stops:
            text = text.partition(stop)[0].strip()
        if not self._prompt.reasons:
            return "", text
        reasons, found, answer = text.rpartition(self._prompt.marker(raw))
        if not found:
            reasons, answer = text, ""
        # Without what a prompt writes before every rationale, which no reference has.
        before = self._prompt.reasons({**raw, "rationale": ""}).strip()
        return reasons.strip().removeprefix(before).strip(), answer.strip()


def answered(prompt: Prompt, raw: Raw) -> str:
    """A raw example with its first answer, as text: what `shown` is made of."""
    parts = [prompt.source(raw)]
    if prompt.reasons:
        parts += [prompt.reasons(raw), prompt.marker(raw)]
    return " ".join([*parts, prompt.answers(raw)[0]])


def shortened(raw: Raw, key: str, fits: Callable[[Raw], bool], *, keep_end: bool = False) -> Raw:
    """The example with as many words of a text as fit, or characters where no spaces are written.

    Args:
      raw: the example.
      key: of the text.
      fits: whether an example does.
      keep_end: the text loses its beginning instead of its end.
    """
    if fits(raw):
        return raw
    text = raw[key]
    cuts = [
        i
        for i in range(1, len(text))
        if text[i].isspace() or follows_unspaced(text[i - 1], text[i])
    ]
    # Shortest first. Nothing is shorter than no text: where even that does not fit, the row is cut.
    parts = [text[i:].strip() for i in reversed(cuts)] if keep_end else [text[:i] for i in cuts]
    kept = bisect.bisect_left(parts, True, key=lambda part: not fits({**raw, key: part}))
    return {**raw, key: parts[kept - 1] if kept else ""}
