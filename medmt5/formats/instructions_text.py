"""Instructions as text-to-text: a template and an example to ids, a response back to text.

A template is one of `prompts.PROMPTS`. Responses are generated and scored as texts; an instruction
that is answered with letters is decoded and scored as a question with options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from medmt5.formats.prompts import Raw, letters_of
from medmt5.formats.text_to_text import TextToText, shortened
from medmt5.vocabulary import Vocabulary

TEMPLATES = ("chat", "alpaca", "instruction")


class Instructions(TextToText):
    """Ids of instructions and responses.

    Args:
      vocabulary: of the model.
      prompt: a name in `TEMPLATES`.
      closed: every instruction has options and is answered with their letters.
      max_answer: tokens of a response that are generated at most.

    Raises:
      ValueError: no such template.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: str,
        *,
        closed: bool = False,
        max_answer: int | None = None,
    ):
        if prompt not in TEMPLATES:
            raise ValueError(f"template {prompt!r} is unknown; use one of {', '.join(TEMPLATES)}")
        super().__init__(vocabulary, prompt, max_answer=max_answer)
        self.closed = closed
        if closed:
            self._prompt = dataclasses.replace(
                self._prompt, choices=lambda raw, several: letters_of(raw, raw["several"])
            )

    def describe(self) -> dict[str, Any]:
        return super().describe() | ({"closed": True} if self.closed else {})

    def fitted(self, raw: Raw, lengths: Mapping[str, int]) -> Raw:
        """The example, made to fit: the oldest turns go first, then the end of the input.

        An input with options loses its beginning instead, and so does an instruction that is too
        long by itself. A response is left as it is.
        """

        def fits(each: Raw) -> bool:
            return len(self._source_ids(each)) <= lengths["inputs"]

        while raw["history"] and not fits(raw):
            raw = {**raw, "history": raw["history"][2:]}
        if raw["input"]:
            raw = shortened(raw, "input", fits, keep_end=bool(raw["letters"]))
        shorter = shortened(raw, "instruction", fits, keep_end=True)
        return shorter if shorter["instruction"] else raw
