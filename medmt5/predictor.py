"""Runs a model over many examples: sorted by length, padded to a few shapes, compiled once each.

Also says what is searched for, and what a score is. Under a mesh (`jax.set_mesh`) the rows of a
batch are split over its batch axes where they divide; every process gives the same examples and
gets all answers.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medmt5 import decoding
from medmt5.likelihood import log_likelihood
from medmt5.partitioning import gather, on_all_devices
from medmt5.progress import Clock
from medmt5.search import ExactSearch
from medmt5.state import Architecture, Params

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Search:
    """How an answer is sought, and what its score is.

    Attributes:
      method: "greedy", the most probable token at each step; "beam", the best of `num_beams`
        beginnings at each step; "exact", the best of all that a constraint allows, within `passes`.
      num_beams: beginnings that beam search keeps, and answers that it gives.
      score: what beam and exact search maximise; log p of a token is that among the whole
        vocabulary unless said otherwise, and the end of sequence counts as a token.

        "sum": the sum of log p, so the most probable answer.
        "mean": that sum divided by the number of tokens, as the published constrained decoder
        does; beam search only.
        "brevity": that sum divided by ((5 + tokens) / 6) ** 0.6, as T5X does; beam search only.
        "renormalised": the sum with p among the tokens that the constraint allows; only their rows
        of the output matrix are multiplied. Greedy search takes the same tokens under all four,
        and scores its answer so.
      passes: rows that exact search may send through the decoder per sentence.

    The score of a labelled span is, from one answer, the product of its tokens' p from the first
    of its opening tag to the last of its closing one; from several beams, the share of their
    probability that has the span.
    """

    method: str = "greedy"
    num_beams: int = 4
    score: str = "sum"
    passes: int = 1000

    def __post_init__(self):
        scores = {
            "greedy": ("sum", "mean", "brevity", "renormalised"),
            "beam": ("sum", "mean", "brevity", "renormalised"),
            "exact": ("sum", "renormalised"),
        }
        if self.method not in scores:
            raise ValueError(f"search {self.method!r} is unknown; use one of {', '.join(scores)}")
        if self.score not in scores[self.method]:
            raise ValueError(
                f"score {self.score!r} is not for {self.method} search; use one of "
                f"{', '.join(scores[self.method])}"
            )
        if self.num_beams < 1 or self.passes < 1:
            raise ValueError(
                f"num_beams is {self.num_beams} and passes {self.passes}; both must be at least 1"
            )


class Prediction(NamedTuple):
    """An answer.

    Attributes:
      tokens: ids up to and including the end of sequence.
      log_probs: of each token.
      finished: it ended before its longest length.
      score: as `Search` says.
      proven: no answer has a higher score; only exact search can tell.
      others: the next best, where beam search found more than one.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    finished: bool
    score: float = 0.0
    proven: bool = False
    others: tuple[Prediction, ...] = ()


def bucket(length: int, multiple: int = 32) -> int:
    """The length rounded up, so that few different shapes are compiled."""
    return -(-length // multiple) * multiple


# Batches that greedy search takes at once: rows that have ended make room for the next ones. With
# 4, sentences of 30 words take 1.2 to 1.3 times less time on a CPU (batch 8).
TURNS = 4


def default_width(batch_size: int, backend: str) -> int:
    """Tokens to feed per pass and row, where the constraint can guess them.

    More tokens per pass are nearly free until the device's arithmetic is busy. On two CPU cores
    (mT5-small's shape, 30 words) 16 is fastest for single sentences; 4 to 16 are alike at batch 8,
    4 and 8 at batch 32. GPUs and TPUs have more arithmetic to spare; there it is not yet measured.
    """
    return 8 if backend == "cpu" and batch_size > 4 else 16


class _Progress:
    """Says how far a long list is, every ten seconds."""

    def __init__(self, name: str | None, total: int):
        self.name, self.total, self.count = name, total, 0
        self.clock = Clock()

    def done(self, count: int) -> None:
        self.count += count
        if self.name and self.clock.due():
            eta = self.clock.eta(self.count, self.total)
            log.info("%s %d/%d  %s", self.name, self.count, self.total, eta)


def _padded(
    examples: Sequence[Mapping[str, Any]], size: int, soft_prompt: Sequence[int]
) -> tuple[list[Mapping[str, Any]], np.ndarray]:
    """Examples and their sources, filled up to `size` rows: a new shape would compile again.

    Only the sources have the prompt: constraints copy and answers are read from the examples.
    """
    before = len(soft_prompt)
    source = np.zeros((size, bucket(before + max(len(e["inputs"]) for e in examples))), np.int32)
    source[: len(examples), :before] = soft_prompt
    for row, example in enumerate(examples):
        source[row, before : before + len(example["inputs"])] = example["inputs"]
    return [*examples, *[examples[-1]] * (size - len(examples))], source


class Predictor:
    """Decoding for lists of examples.

    Args:
      architecture: the model.
      params: its parameters; `predictor.params` may be set again later, nothing is recompiled.
      eos_id: ends a sequence.
      batch_size: rows decoded side by side.
      search: what is searched for.
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
        search: Search = Search(),
        width: int | None = None,
    ):
        self.architecture, self.params = architecture, params
        self.eos_id, self.batch_size, self.search = eos_id, batch_size, search
        self.width = default_width(batch_size, jax.default_backend()) if width is None else width
        self._decode = jax.jit(self._run, static_argnames="max_length")
        self._likelihood = jax.jit(
            lambda params, source, answers: gather(
                log_likelihood(architecture.merge(params), source, answers)
            )
        )

    def _run(self, params: Params, source: Any, constraint: Any, *, max_length: int):
        model, search = self.architecture.merge(params), self.search
        given: dict[str, Any] = dict(
            max_length=max_length, eos_id=self.eos_id, constraint=constraint
        )
        if search.method == "greedy":
            slots = min(self.batch_size, source.shape[0])
            decoded = decoding.greedy(model, source, width=self.width, slots=slots, **given)
        else:
            decoded = decoding.beam_search(
                model,
                source,
                num_beams=search.num_beams,
                alpha={"mean": None, "brevity": 0.6}.get(search.score, 0.0),
                renormalise=search.score == "renormalised",
                **given,
            )
        return gather(decoded)

    def predict(
        self,
        examples: Sequence[Mapping[str, Any]],
        *,
        format_: Any = None,
        max_length: int | None = None,
        soft_prompt: Sequence[int] = (),
        progress: str | None = None,
    ) -> list[Prediction]:
        """Decode every example.

        Args:
          examples: with `inputs`, ids that end in end of sequence.
          format_: its constraint is obeyed; None decodes freely.
          max_length: tokens at most per example; by default the longest that the format's
            constraint allows, so that nothing is cut.
          soft_prompt: ids that the model is shown before the inputs; see `soft_prompt.ids`.
          progress: name under which progress is logged every 10 seconds; None for silence.

        Returns:
          One prediction per example, in the given order.

        Raises:
          ValueError: free decoding without max_length, or with exact search.
        """
        if max_length is None and format_ is None:
            raise ValueError("free decoding needs max_length")
        if format_ is None and self.search.method == "exact":
            raise ValueError("exact search needs a constraint; use beam search to decode freely")
        decode = self._sentence if self.search.method == "exact" else self._batch
        size = self._rows()
        results: list[Prediction | None] = [None] * len(examples)
        steps = _Progress(progress, len(examples))
        lengths = [len(soft_prompt) + len(example["inputs"]) for example in examples]
        for chosen in self._groups(lengths):
            part = [examples[i] for i in chosen]
            padded, source = _padded(part, size, soft_prompt)
            constraint, limit = None, max_length
            if format_ is not None:
                constraint = format_.constraint(padded, source.shape[1])
            if limit is None:
                limit = bucket(max(format_.max_target_length(e) for e in part))
            source, constraint = on_all_devices((jnp.asarray(source), constraint))
            predictions = decode(source, constraint, limit)
            for i, prediction in zip(chosen, predictions, strict=False):
                results[i] = prediction
            steps.done(len(chosen))
        return [result for result in results if result is not None]

    def rank(
        self,
        examples: Sequence[Mapping[str, Any]],
        candidates: Sequence[Sequence[Sequence[int]]],
        *,
        soft_prompt: Sequence[int] = (),
        progress: str | None = None,
    ) -> list[np.ndarray]:
        """The score of each of an example's candidate answers, higher where likelier.

        Args:
          examples: with `inputs`, ids that end in end of sequence.
          candidates: ids of the answers of each example, without end of sequence.
          soft_prompt: as for `predict`.
          progress: as for `predict`.

        Returns:
          Per example one score per candidate, as `Search.score` says: "sum" or "mean" of log p.

        Raises:
          ValueError: another score.
        """
        if self.search.score not in ("sum", "mean"):
            raise ValueError(f"answers are ranked by 'sum' or 'mean', not {self.search.score!r}")
        results: list[np.ndarray] = [np.zeros(0)] * len(examples)
        steps = _Progress(progress, len(examples))
        lengths = [len(example["inputs"]) for example in examples]
        order = sorted(range(len(examples)), key=lengths.__getitem__)
        for begin in range(0, len(order), self.batch_size):
            chosen = order[begin : begin + self.batch_size]
            padded, source = _padded([examples[i] for i in chosen], self.batch_size, soft_prompt)
            answers = [[[*ids, self.eos_id] for ids in candidates[i]] for i in chosen]
            count = bucket(max(map(len, answers)), 4)
            longest = bucket(max(len(ids) for each in answers for ids in each), 8)
            ids = np.zeros((len(padded), count, longest), np.int32)
            for row, each in enumerate(answers):
                for place, answer in enumerate(each):
                    ids[row, place, : len(answer)] = answer
            arrays = on_all_devices((jnp.asarray(source), jnp.asarray(ids)))
            sums = np.asarray(self._likelihood(self.params, *arrays))
            for i, row, each in zip(chosen, sums, answers, strict=False):
                sizes = [len(answer) if self.search.score == "mean" else 1 for answer in each]
                results[i] = row[: len(each)] / sizes
            steps.done(len(chosen))
        return results

    def _rows(self) -> int:
        """Examples that are sent to the device at once."""
        # Exact search takes one sentence at a time: its nodes fill the batch.
        turns = {"greedy": TURNS * self.batch_size, "beam": self.batch_size, "exact": 1}
        return turns[self.search.method]

    def _groups(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """What is sent at once, shortest first: a batch, and more that needs no more padding."""
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        done = 0
        while done < len(order):
            group = order[done : done + self._rows()]
            least = group[: self.batch_size]
            longest = bucket(lengths[least[-1]])
            more = [i for i in group[len(least) :] if lengths[i] <= longest]
            yield least + more
            done += len(least) + len(more)

    def _batch(self, source: Any, constraint: Any, limit: int) -> list[Prediction]:
        decoded = jax.device_get(self._decode(self.params, source, constraint, max_length=limit))
        if self.search.method == "greedy":
            return [
                _prediction(tokens, log_probs, finished, float(log_probs.sum()))
                for tokens, log_probs, finished in zip(*decoded[:3], strict=True)
            ]
        results = []
        for beams in zip(*decoded, strict=True):
            best, *others = (
                _prediction(tokens, log_probs, finished, float(score))
                for tokens, log_probs, score, finished in zip(*beams, strict=True)
                if score > -np.inf
            )
            results.append(best._replace(others=tuple(others)))
        return results

    @functools.cached_property
    def _exact(self) -> ExactSearch:
        renormalise = self.search.score == "renormalised"
        return ExactSearch(
            self.architecture, self.params, eos_id=self.eos_id, renormalise=renormalise
        )

    def _sentence(self, source: Any, constraint: Any, limit: int) -> list[Prediction]:
        self._exact.params = self.params
        passes = self.search.passes
        best = self._exact.search(source, constraint, max_length=limit, passes=passes)
        return [Prediction(best.tokens, best.log_probs, True, best.score, best.proven)]


def _prediction(
    tokens: np.ndarray, log_probs: np.ndarray, finished: bool, score: float
) -> Prediction:
    # Not the number of non-zeros: free decoding may put a 0 before the end.
    written = np.flatnonzero(tokens)
    count = int(written[-1]) + 1 if len(written) else 0
    return Prediction(tokens[:count], log_probs[:count], bool(finished), score)
