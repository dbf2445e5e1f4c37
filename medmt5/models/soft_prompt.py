"""Soft prompts: trained vectors before a row's source, in place of words.

A prompt is spelt in ids that no text has: place i of prompt k is id vocab_size + k * length + i.
Whoever makes rows puts them before the source (`Table.soft_prompt`, `Predictor.predict`), and `t5`
looks them up here instead of in the embedding. To everything else they are tokens, so padding,
packed examples and beams, and rows without a prompt beside rows with one, need nothing of their
own. T5 knows positions by distance alone, so a prompt shifts nothing.

What a new prompt starts from, and which tasks carry which, is in `adapters`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from medmt5.models.layers import parameter

PATH = "encoder/prompt/embedding"  # its full name
DECODER_PATH = "decoder/prompt/embedding"
PATHS = (PATH, DECODER_PATH)
INITS = ("random", "vocabulary", "text")
NONE = np.zeros(0, np.int32)  # the ids of no prompt


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """One prompt for all tasks, or one per task.

    Attributes:
      length: positions before the source.
      init_scale: random entries start uniform in [-init_scale, init_scale].
      tasks: names of the tasks with prompt 0, 1, ...; rows of others carry none. Empty: one prompt
        for all.
      decoder_length: positions before the decoder's input of rows that carry a prompt. Such rows
        cannot be packed.
      init: what a new prompt starts from: "random"; "vocabulary", the embeddings of frequent
        pieces, drawn at random; "text", those of a text.
      text: for "text", repeated or cut to the length; one for all prompts, or a tuple of one each.

    Raises:
      ValueError: lengths, names or texts that make no prompt.

    Source: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning"; length
    and scale are the defaults of their library. One per task: Wang et al. 2022 (ProMoT).
    """

    length: int = 100
    init_scale: float = 0.5
    tasks: tuple[str, ...] = ()
    decoder_length: int = 0
    init: str = "random"
    text: str | tuple[str, ...] = ""

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"PromptConfig.length is {self.length}; use 1 or more positions")
        if self.decoder_length < 0:
            raise ValueError(
                f"PromptConfig.decoder_length is {self.decoder_length}; use 0 for none, or more"
            )
        if isinstance(self.tasks, str):
            raise ValueError(
                f"PromptConfig.tasks is {self.tasks!r}; use a tuple of names: ({self.tasks!r},)"
            )
        # Tuples have become lists in a model's card.
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if twice := [task for task in self.tasks if self.tasks.count(task) > 1]:
            raise ValueError(f"PromptConfig.tasks names {twice[0]} twice; a task has one prompt")
        if self.init not in INITS:
            raise ValueError(f"PromptConfig.init is {self.init!r}; use one of {', '.join(INITS)}")
        if not isinstance(self.text, str):
            object.__setattr__(self, "text", tuple(self.text))
            if len(self.text) != self.prompts:
                raise ValueError(
                    f"PromptConfig.text has {len(self.text)} texts for {self.prompts} prompts; "
                    "give one for each task, or a single string for all"
                )
        given = [bool(text.strip()) for text in self.texts]
        if not all(given) if self.init == "text" else any(given):
            raise ValueError(
                f"PromptConfig.init is {self.init!r} and text {self.text!r}; a text belongs to "
                "init 'text', which needs one with words"
            )

    @property
    def prompts(self) -> int:
        return max(1, len(self.tasks))

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each prompt."""
        return (self.text,) * self.prompts if isinstance(self.text, str) else self.text

    def number(self, task: str | None) -> int | None:
        """The number of the prompt that is a task's own; None where it has none."""
        if not self.tasks:
            return 0
        return self.tasks.index(task) if task in self.tasks else None


def ids(config: Any, task: str | None) -> Int[np.ndarray, " positions"]:
    """The ids that spell a task's own prompt; none where it has none.

    Args:
      config: a `T5Config`.
      task: its name; a single prompt for all is that of None, too.
    """
    number = None if config.prompt is None else config.prompt.number(task)
    if number is None:
        return NONE
    length = config.prompt.length
    return config.vocab_size + number * length + np.arange(length, dtype=np.int32)


class SoftPrompt(nnx.Module):
    """The vectors of all prompts: place i of prompt k is row k * length + i of `embedding`."""

    def __init__(self, config: Any, length: int, *, rngs: nnx.Rngs):
        def uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            numbers = nnx.initializers.uniform(2 * config.prompt.init_scale)(key, shape, dtype)
            return numbers - config.prompt.init_scale

        shape = (config.prompt.prompts * length, config.emb_dim)
        self.embedding = parameter(rngs, shape, ("prompt", "embed"), uniform)
        self.dtype = config.dtype

    def __call__(self, rows: Int[Array, "batch length"]) -> Float[Array, "batch length embed"]:
        """Rows of the table; a negative one is zeros, to which no gradient goes."""
        table = self.embedding[...]
        rows = jnp.where(rows < 0, len(table), rows)  # numpy would count from the end
        return jnp.take(table, rows, axis=0, mode="fill", fill_value=0).astype(self.dtype)
