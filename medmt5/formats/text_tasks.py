"""Tasks over files of questions and of general tasks, answered as `text_to_text` does."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from medmt5.formats import task
from medmt5.formats.general import read_general
from medmt5.formats.prompts import PROMPTS
from medmt5.formats.questions import read_questions
from medmt5.formats.text_to_text import TextToText
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

# Options of a question of which several may be right: 1,023 sets of letters to choose from.
MOST_OPTIONS = 10
_TEXT, _TEXTS = tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.string)
QUESTION = {
    **dict.fromkeys(("id", "question", "context", "rationale", "lang", "human_check"), _TEXT),
    **dict.fromkeys(("letters", "options", "answers"), _TEXTS),
}
# The keys of a row of `formats.general`, by what one of them is.
GENERAL = {
    "premise": {"hypothesis": _TEXT, "label": _TEXT},
    "sentence1": {"sentence2": _TEXT, "word": _TEXT, "label": _TEXT},
    "text": {"label": _TEXT},
    "src": {"src_lang": _TEXT, "tgt_lang": _TEXT, "tgt": _TEXT, "extra_refs": _TEXTS},
    "document": {"summary": _TEXT},
    "question": {"answers": _TEXTS},
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


def register_general(
    name: str,
    paths: Mapping[str, Callable[[], str]],
    *,
    prompt: str,
    key: str,
    lang: str,
    shots: int = 0,
    **kwargs: Any,
) -> task.Task:
    """A task over rows of `formats.general`.

    Args:
      name: of the task.
      paths: split -> path of its file.
      prompt: a name in `prompts.PROMPTS`.
      key: a key of `GENERAL`, which its rows have.
      lang: of its answers.
      shots: rows that come, answered, before each source, which then ends with a sentinel: the
        first rows of the first split, whose own examples are the rest.
      **kwargs: as for `task.register`.
    """
    first = next(iter(paths))

    def rows(split: str) -> Iterator[dict[str, Any]]:
        for row in read_general(paths[split]()):
            if key not in row:
                raise ValueError(f"{paths[split]()}: task {name} needs rows with {key!r}")
            yield {**row, "lang": lang}

    def read(split: str) -> Iterator[dict[str, Any]]:
        return itertools.islice(rows(split), shots if split == first else 0, None)

    def make_format(vocabulary: Vocabulary) -> TextToText:
        shown = list(itertools.islice(rows(first), shots)) if shots else []
        if len(shown) < shots:
            raise ValueError(
                f"{paths[first]()}: task {name} shows {shots} rows, and there are {len(shown)}"
            )
        return TextToText(vocabulary, prompt, shots=shown, sentinel=bool(shots))

    return task.register(
        name,
        read=read,
        splits=list(paths),
        signature={"id": _TEXT, "lang": _TEXT, key: _TEXT, **GENERAL[key]},
        make_format=make_format,
        **kwargs,
    )
