"""Tasks over files of questions and of general tasks, answered as `text_to_text` does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from medmt5.formats import task
from medmt5.formats.general import read_general
from medmt5.formats.questions import read_questions
from medmt5.formats.text_to_text import TextToText
from medmt5.vocabulary import Vocabulary

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

    Args:
      name: of the task.
      paths: split -> path of its file.
      prompt: a name in `prompts.PROMPTS`.
      lang: of questions that do not say theirs.
      several: several options may be right.
      **kwargs: as for `task.register`.
    """

    def read(split: str) -> Iterator[dict[str, Any]]:
        return read_questions(paths[split](), lang=lang)

    return task.register(
        name,
        read=read,
        splits=list(paths),
        signature=QUESTION,
        make_format=lambda vocabulary: TextToText(vocabulary, prompt, several=several),
        **kwargs,
    )


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
        return TextToText(vocabulary, prompt, shots=shown, sentinel=bool(shots))

    return task.register(
        name,
        read=read,
        splits=list(paths),
        signature={"id": _TEXT, "lang": _TEXT, key: _TEXT, **GENERAL[key]},
        make_format=make_format,
        **kwargs,
    )
