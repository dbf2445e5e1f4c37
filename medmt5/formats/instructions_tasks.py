"""Tasks over examples of `instructions`, whose ids `instructions_text` makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from medmt5.formats import task
from medmt5.formats.instructions_text import Instructions

_TEXT, _TEXTS = tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.string)
SIGNATURE = {
    **dict.fromkeys(("id", "lang", "system", "instruction", "input"), _TEXT),
    **dict.fromkeys(("history", "letters", "options", "answers"), _TEXTS),
    "several": tf.TensorSpec([], tf.bool),
}


def register_instructions(
    name: str,
    read: Callable[[str], Iterable[Mapping[str, Any]]],
    splits: Sequence[str],
    *,
    template: str = "chat",
    closed: bool = False,
    **kwargs: Any,
) -> task.Task:
    """A task over instructions.

    Args:
      name: of the task.
      read: split -> examples, as `instructions.read_instructions` gives them.
      splits: that `read` knows.
      template: a name in `instructions_text.TEMPLATES`.
      closed: all are answered with letters of their options, and scored as such.
      **kwargs: as for `task.register`.
    """
    return task.register(
        name,
        read=read,
        splits=splits,
        signature=SIGNATURE,
        make_format=lambda vocabulary: Instructions(vocabulary, template, closed=closed),
        **kwargs,
    )
