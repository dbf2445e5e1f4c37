"""What a new soft prompt starts from: embeddings of words instead of random numbers.

The words' embeddings are those of the model that the prompt is for, so this is done once its
parameters are there.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Int

from medmt5.models.soft_prompt import DECODER_PATH, PATH, PATHS, PromptConfig
from medmt5.models.t5 import T5Config
from medmt5.state import Params, flat_params
from medmt5.vocabulary import Vocabulary

FREQUENT = 5000  # SentencePiece orders its pieces by frequency


def initialised(
    params: Params,
    frozen: Params,
    config: T5Config,
    *,
    vocabulary: Vocabulary,
    seed: int,
    names: Collection[str] = PATHS,
) -> tuple[Params, Params]:
    """The parameters with prompts that start as `config.prompt.init` says.

    Args:
      params, frozen: of a state, with the embedding that is to be used.
      config: of the model.
      vocabulary: of the embedding.
      seed: of what is drawn.
      names: full names of the prompts that are new; those of others stay as they are.

    Raises:
      ValueError: a text without tokens, or a vocabulary with fewer pieces than a prompt is long.

    Source: Lester et al. 2021, section 3.2, "sampled vocabulary"; its 5,000 pieces.
    """
    if config.prompt is None or config.prompt.init == "random":
        return params, frozen
    trees = flat_params(params), flat_params(frozen)
    names_of_table = ("token_embedder/embedding", "token_embedder/embedding_scale")
    table, scale = (next((t[n] for t in trees if n in t), None) for n in names_of_table)
    for name, length in (
        (PATH, config.prompt.length),
        (DECODER_PATH, config.prompt.decoder_length),
    ):
        for tree in trees:
            if name in tree and name in names:
                rows = _rows(config.prompt, length, vocabulary, [seed, PATHS.index(name)])

                def take(table: Array, scale: Array | None, rows: Array = rows) -> Array:
                    return table[rows] if scale is None else table[rows] * scale[rows]

                # Compiled, so that the parts of an array may lie on several hosts.
                tree[name] = jax.jit(take, out_shardings=tree[name].sharding)(table, scale)
    made = (unflatten_dict(tree, sep="/") for tree in trees)
    return next(made), next(made)


def _rows(
    config: PromptConfig, length: int, vocabulary: Vocabulary, seed: list[int]
) -> Int[np.ndarray, " rows"]:
    """Ids of the words that all prompts start from, one prompt after the other."""
    return np.concatenate(
        [
            _drawn(vocabulary, length, np.random.default_rng([*seed, number]))
            if config.init == "vocabulary"
            else _of_text(vocabulary, length, text)
            for number, text in enumerate(config.texts)
        ]
    )


def _drawn(vocabulary: Vocabulary, length: int, rng: Any) -> Int[np.ndarray, " rows"]:
    """Pieces drawn without replacement from the most frequent ones."""
    pieces = (i for i in range(vocabulary.size) if _is_word(vocabulary, i))
    frequent = np.array(list(itertools.islice(pieces, FREQUENT)))
    if length > len(frequent):
        raise ValueError(
            f"{vocabulary.path} has {len(frequent)} pieces, fewer than the {length} positions of "
            "a soft prompt; use a shorter one or PROMPT_INIT = 'random'"
        )
    return rng.choice(frequent, length, replace=False)


def _is_word(vocabulary: Vocabulary, token: int) -> bool:
    """Whether a piece is text of its own: not reserved, unknown or one byte of a character."""
    byte_or_unused = vocabulary.processor.is_byte(token) or vocabulary.processor.is_unused(token)
    return not (vocabulary.is_reserved(token) or token == vocabulary.unk_id or byte_or_unused)


def _of_text(vocabulary: Vocabulary, length: int, text: str) -> Int[np.ndarray, " rows"]:
    tokens = vocabulary.encode(text)
    if not tokens:
        raise ValueError(f"PROMPT_TEXT {text!r} has no tokens; give a text of words")
    return np.resize(np.array(tokens), length)  # repeats
