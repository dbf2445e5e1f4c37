"""Soft prompts: trained vectors before the embedded source, in place of words.

T5 knows positions by distance alone, so a prompt shifts nothing. It starts from random numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from medmt5.models.layers import parameter

PATH = "encoder/prompt/embedding"  # its full name


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """A prompt before the encoder's input.

    Attributes:
      length: positions.
      init_scale: entries start uniform in [-init_scale, init_scale].

    Raises:
      ValueError: fewer than one position.

    Source: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning"; length
    and scale are the defaults of their library.
    """

    length: int = 100
    init_scale: float = 0.5

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"PromptConfig.length is {self.length}; use 1 or more positions")


class SoftPrompt(nnx.Module):
    """The vectors; `encoder/prompt/embedding` is (length, embed)."""

    def __init__(self, config: Any, *, rngs: nnx.Rngs):
        def uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            numbers = nnx.initializers.uniform(2 * config.prompt.init_scale)(key, shape, dtype)
            return numbers - config.prompt.init_scale

        shape = (config.prompt.length, config.emb_dim)
        self.embedding = parameter(rngs, shape, ("prompt", "embed"), uniform)
        self.length, self.dtype = config.prompt.length, config.dtype

    def before(
        self, embedded: Float[Array, "batch source embed"]
    ) -> Float[Array, "batch positions embed"]:
        """The prompt, then the embedded source of every row."""
        prompt = self.embedding[...].astype(self.dtype)
        rows = jnp.broadcast_to(prompt, (embedded.shape[0], *prompt.shape))
        return jnp.concatenate([rows, embedded], axis=1)

    def seen(self, segments: Int[Array, "batch source"]) -> Int[Array, "batch positions"]:
        """Segments of prompt and source: the prompt is the source's own, and never padding."""
        return jnp.pad(segments, ((0, 0), (self.length, 0)), constant_values=1)
