"""Tasks over files of questions, answered as `text_to_text` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from medmt5.formats import task
from medmt5.formats.prompts import MOST_OPTIONS, PROMPTS
from medmt5.formats.questions import read_questions
from medmt5.formats.text_to_text import TextToText

log = logging.getLogger(__name__)

_TEXT, _TEXTS = tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.string)
QUESTION = {
    **dict.fromkeys(("id", "question", "context", "rationale", "lang", "human_check"), _TEXT),
    **dict.fromkeys(("letters", "options", "answers"), _TEXTS),
}


def register_questions(
    name: str,
    paths: Mapping[str, Callable[[], str]],
    *,
    prompt: str,
    lang: str = "",
    several: bool = False,
    **kwargs: Any,
) -> task.Task:
    """A task over files of questions, of any schema that `read_questions` knows.

    Where a prompt asks for rationales, questions without one are not trained on. Reading raises
    ValueError for a question that the prompt cannot put, with its file and id.

    Args:
      name: of the task.
      paths: split -> path of its file.
      prompt: a name in `prompts.PROMPTS`.
      lang: of questions that do not say theirs.
      several: several options may be right.
      **kwargs: as for `task.register`.
    """

    def read(split: str) -> Iterator[dict[str, Any]]:
        path = paths[split]()
        explained = split == "train" and PROMPTS[prompt].reasons is not None
        given = left_out = 0
        for row in read_questions(path, lang=lang):
            if fault := _unfit(row, prompt, several):
                raise ValueError(f"{path}: question {row['id']} {fault}")
            if explained and not row["rationale"].strip():
                left_out += 1
                continue
            given += 1
            yield row
        if left_out and not given:
            raise ValueError(f"{path}: no question has a rationale, which task {name} trains on")
        if left_out:
            log.info("%s: %d questions without a rationale are left out", path, left_out)

    return task.register(
        name,
        read=read,
        splits=list(paths),
        signature=QUESTION,
        make_format=lambda vocabulary: TextToText(vocabulary, prompt, several=several),
        **kwargs,
    )


def _unfit(row: Mapping[str, Any], prompt: str, several: bool) -> str:
    """Why a prompt cannot put a question; "" if it can."""
    options, right = len(row["options"]), len(row["answers"])
    if PROMPTS[prompt].choices is None:
        return f"has options, and prompt {prompt!r} is for open questions" if options else ""
    if not options:
        return f"has no options, and prompt {prompt!r} is for multiple choice"
    if right > 1 and not several:
        return f"has {right} right answers, and this task takes one: register it with several=True"
    if several and options > MOST_OPTIONS:
        return f"has {options} options; where several may be right, {MOST_OPTIONS} are the most"
    return ""
