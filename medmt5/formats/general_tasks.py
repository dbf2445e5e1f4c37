"""Tasks over rows of general tasks, alone or after answered examples of their set.

Prompts are in `prompts`, ids and answers in `text_to_text`; which sets there are is for `tasks`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from medmt5.formats import task
from medmt5.formats.general import read_general
from medmt5.formats.prompts import PROMPTS, Raw
from medmt5.formats.text_to_text import TextToText, answered

log = logging.getLogger(__name__)

# Answered examples are drawn from so many rows at most: training sets of translation have millions.
POOL = 10_000
# Of a set that comes as one file, the last fifth is its test.
LAST_FIFTH = {"train": (0, 4), "test": (4, 5)}

_TEXT, _TEXTS = tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.string)
# The keys of a row of `formats.general`, by what one of them is.
KEYS = {
    "premise": {"hypothesis": _TEXT, "label": _TEXT},
    "sentence1": {"sentence2": _TEXT, "word": _TEXT, "label": _TEXT},
    "text": {"label": _TEXT},
    "src": {"src_lang": _TEXT, "tgt_lang": _TEXT, "tgt": _TEXT, "extra_refs": _TEXTS},
    "document": {"summary": _TEXT},
    "question": {"answers": _TEXTS},
}


def register_general(
    name: str,
    paths: Mapping[str, Callable[[], str]],
    *,
    prompt: str,
    key: str,
    lang: str,
    reader: Callable[[str], Iterator[Raw]] = read_general,
    fifths: Mapping[str, tuple[int, int]] = {},
    shots: int = 0,
    seed: int = 0,
    sentinel: bool = False,
    max_answer: int | None = None,
    **kwargs: Any,
) -> task.Task:
    """A task over rows of `formats.general`.

    Args:
      name: of the task.
      paths: split -> path of its file.
      prompt: a name in `prompts.PROMPTS`.
      key: a key of `KEYS`, which its rows have.
      lang: of its answers.
      reader: path -> rows.
      fifths: split -> the fifths of its file that it has, as (first, past the last); all of them
        for the others.
      shots: answered rows that come before each source, drawn for each by itself: of the training
        split where there is one, else of the source's own split, and never the row itself.
      seed: of the drawing.
      sentinel: a source ends with a sentinel, after which the answer comes; with shots it does.
      max_answer: tokens that are generated at most.
      **kwargs: as for `task.register`.
    """

    def rows(split: str) -> Iterator[dict[str, Any]]:
        path = paths[split]()
        found: Iterator[Raw] = reader(path)
        if split in fifths:
            every = list(found)
            first, last = (len(every) * fifth // 5 for fifth in fifths[split])
            found = iter(every[first:last])
        for row in found:
            if key not in row:
                raise ValueError(f"{path}: task {name} needs rows with {key!r}")
            yield {**row, "lang": lang, "shown": ""}

    def pool_of(split: str) -> tuple[str, list[dict[str, Any]]]:
        """The rows that may be shown, and their split."""
        source = "train" if "train" in paths else split
        try:
            paths[source]()
        except ValueError as error:  # it is not there
            if source == split:
                raise
            log.warning("task %s: examples are rows of its %s split, as %s", name, split, error)
            source = split
        return source, list(itertools.islice(rows(source), POOL))

    def read(split: str) -> Iterator[dict[str, Any]]:
        if not shots:
            yield from rows(split)
            return
        source, pool = pool_of(split)
        for place, row in enumerate(rows(split)):
            own = place if source == split and place < len(pool) else None
            if len(pool) - (own is not None) < shots:
                raise ValueError(
                    f"{paths[source]()}: task {name} shows {shots} rows beside the one that is "
                    f"asked, and there are {len(pool)}"
                )
            chosen = drawn(len(pool), shots, np.random.default_rng([seed, place]), but=own)
            yield {**row, "shown": " ".join(answered(PROMPTS[prompt], pool[i]) for i in chosen)}

    return task.register(
        name,
        read=read,
        splits=list(paths),
        signature={"id": _TEXT, "lang": _TEXT, "shown": _TEXT, key: _TEXT, **KEYS[key]},
        make_format=lambda vocabulary: TextToText(
            vocabulary, prompt, sentinel=sentinel or bool(shots), max_answer=max_answer
        ),
        **kwargs,
    )


def drawn(size: int, count: int, rng: np.random.Generator, *, but: int | None) -> Sequence[int]:
    """Places among `size`, none twice and none `but`."""
    if but is None:
        return rng.choice(size, count, replace=False).tolist()
    places = rng.choice(size - 1, count, replace=False)
    return (places + (places >= but)).tolist()
