"""Runs a model over many examples: sorted by length, padded to a few shapes, compiled once each."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medmt5 import decoding
from medmt5.reporting import duration
from medmt5.state import Architecture, Params

log = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """Token ids up to and including the end of sequence, and their log-probabilities."""

    tokens: np.ndarray
    log_probs: np.ndarray
    finished: bool


def bucket(length: int, multiple: int = 32) -> int:
    """The length rounded up, so that few different shapes are compiled."""
    return -(-length // multiple) * multiple


def default_width(batch_size: int, backend: str) -> int:
    """Tokens to feed per pass and row, where the constraint can guess them.

    More tokens per pass are nearly free until the device's arithmetic is busy. On two CPU cores
    (mT5-small's shape, 30 words) 16 is fastest for single sentences; 4 to 16 are alike at batch 8,
    4 and 8 at batch 32. GPUs and TPUs have more arithmetic to spare; there it is not yet measured.
    """
    return 8 if backend == "cpu" and batch_size > 4 else 16


class Predictor:
    """Greedy decoding for lists of examples.

    Args:
      architecture: the model.
      params: its parameters; `predictor.params` may be set again later, nothing is recompiled.
      eos_id: ends a sequence.
      batch_size: rows per batch.
      width: tokens fed per pass and row where the format's constraint guesses what comes next;
        the result does not depend on it. By default `default_width`; 1 decodes token by token.
    """

    def __init__(
        self,
        architecture: Architecture,
        params: Params | None,
        *,
        eos_id: int,
        batch_size: int = 32,
        width: int | None = None,
    ):
        self.architecture, self.params = architecture, params
        self.eos_id, self.batch_size = eos_id, batch_size
        self.width = default_width(batch_size, jax.default_backend()) if width is None else width
        self._decode = jax.jit(self._run, static_argnames="max_length")

    def _run(self, params: Params, source: Any, constraint: Any, *, max_length: int):
        return decoding.greedy(
            self.architecture.merge(params),
            source,
            max_length=max_length,
            eos_id=self.eos_id,
            constraint=constraint,
            width=self.width,
        )

    def predict(
        self,
        examples: Sequence[Mapping[str, Any]],
        *,
        format_: Any = None,
        max_length: int | None = None,
        progress: str | None = None,
    ) -> list[Prediction]:
        """Decode every example.

        Args:
          examples: with `inputs`, ids that end in end of sequence.
          format_: its constraint is obeyed; None decodes freely.
          max_length: tokens at most per example; by default the longest that the format's
            constraint allows, so that nothing is cut.
          progress: name under which progress is logged every 10 seconds; None for silence.

        Returns:
          One prediction per example, in the given order.
        """
        if max_length is None and format_ is None:
            raise ValueError("free decoding needs max_length")
        order = sorted(range(len(examples)), key=lambda i: len(examples[i]["inputs"]))
        results: list[Prediction | None] = [None] * len(examples)
        began = reported = time.monotonic()
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            part = [examples[i] for i in chosen]
            # A short last batch is filled up: a new shape would compile again.
            padded = part + [part[-1]] * (self.batch_size - len(part))
            length = bucket(max(len(e["inputs"]) for e in part))
            source = np.zeros((self.batch_size, length), np.int32)
            for row, example in enumerate(padded):
                source[row, : len(example["inputs"])] = example["inputs"]
            source[len(part) :] = 0
            constraint, limit = None, max_length
            if format_ is not None:
                constraint = format_.constraint(padded, length)
            if limit is None:
                limit = bucket(max(format_.max_target_length(e) for e in part))
            decoded = jax.device_get(
                self._decode(self.params, jnp.asarray(source), constraint, max_length=limit)
            )
            for row, i in enumerate(chosen):
                # Not the number of non-zeros: free decoding may put a 0 before the end.
                written = np.flatnonzero(decoded.tokens[row])
                count = int(written[-1]) + 1 if len(written) else 0
                results[i] = Prediction(
                    decoded.tokens[row, :count],
                    decoded.log_probs[row, :count],
                    bool(decoded.finished[row]),
                )
            now = time.monotonic()
            if progress and now - reported > 10:
                done = first + len(part)
                left = (now - began) / done * (len(order) - done)
                log.info("%s %d/%d  ETA %s", progress, done, len(order), duration(left))
                reported = now
        return [result for result in results if result is not None]
