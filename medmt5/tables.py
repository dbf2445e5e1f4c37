"""A task's examples, addressed by index: how long each will be, and what it holds.

Rows are planned from sizes, so that a host makes only the examples of its own rows. Where raw
examples come from is left to `formats.task` and `token_cache`, who shares a row to `packing`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from medmt5.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """What to read; field names as in T5X.

    Attributes:
      mixture_or_task_name: a registered name, or one that was cached.
      task_feature_lengths: row lengths in tokens, {"inputs": ..., "targets": ...}; a soft prompt
        comes on top.
      split: "train", "validation", ...
      batch_size: rows per global batch.
      shuffle: a new order in each epoch.
      seed: of order, mixing and corruption.
      pack: put several examples into a row, kept apart by segment ids.
      module: Python module to import first, which registers the task.
      use_cached: read what `medmt5 cache` wrote; neither SeqIO nor the task's module is imported.
      cache_dir: not T5X's: where that is.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    split: str = "train"
    batch_size: int = 128
    shuffle: bool = True
    seed: int = 0
    pack: bool = False
    module: str | None = None
    use_cached: bool = False
    cache_dir: str | None = None

    def __post_init__(self):
        if set(self.task_feature_lengths) != {"inputs", "targets"}:
            raise ValueError(
                f"TASK_FEATURE_LENGTHS is {dict(self.task_feature_lengths)}; give "
                "{'inputs': tokens, 'targets': tokens}"
            )
        if self.use_cached and not self.cache_dir:
            raise ValueError(
                "USE_CACHED_TASKS is True, but CACHE_DIR is not set; give the folder that "
                "`medmt5 cache` wrote"
            )


class Table:
    """All raw examples of one task's split, and how they become ids.

    A format that makes many examples at once has `examples` and `example_sizes`; of any other,
    each example is made once to see its size, and again only if it asks its generator for
    something.

    Attributes:
      name: of the task.
      rate: its share in the mixture, relative to the others'.
      format: makes ids.
      raws: what `format.example` takes.
      soft_prompt: ids that rows carry before the inputs; sizes and examples are without them.
    """

    def __init__(self, name: str, rate: float, format_: Any, raws: Sequence[Mapping[str, Any]]):
        if not len(raws):
            raise ValueError(f"task {name} has no examples")
        self.name, self.rate, self.format, self.raws = name, rate, format_, raws
        self.soft_prompt: Int[np.ndarray, " positions"] = np.zeros(0, np.int32)
        self._at_once = hasattr(format_, "examples")
        self._sizes: Any = None
        self._made: dict[tuple[int, int], dict[str, Any]] = {}

    def sizes(
        self, indices: Int[np.ndarray, " rows"], keys: UInt64[np.ndarray, " rows"]
    ) -> Int[np.ndarray, "rows 2"]:
        """Tokens of inputs and targets that `examples` would make."""
        if self._at_once:
            return self.format.example_sizes(self.raws, indices, keys)
        sizes = self.known_sizes(indices)
        self._made.clear()
        for row in np.flatnonzero(sizes[:, 0] == 0):
            index, rng = int(indices[row]), Seeded(int(keys[row]))
            example = self.format.example(self.raws[index], rng)
            sizes[row] = len(example["inputs"]), len(example["targets"])
            self._made[index, int(keys[row])] = example
            if not rng.used:
                self.remember(index, sizes[row])
        return sizes

    def examples(
        self, indices: Int[np.ndarray, " rows"], keys: UInt64[np.ndarray, " rows"]
    ) -> list[dict[str, Any]]:
        """Examples by index; what is random in one is a function of its key."""
        if self._at_once:
            return self.format.examples(self.raws, indices, keys)
        return [
            self._made.pop((index, key), None) or self.example(index, key)
            for index, key in zip(indices.tolist(), keys.tolist(), strict=True)
        ]

    def example(self, index: int, key: int) -> dict[str, Any]:
        return self.format.example(self.raws[index], Seeded(key))

    def known_sizes(self, indices: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows 2"]:
        """As `sizes`; 0 where the example has to be made to know."""
        if self._sizes is None:
            self._sizes = np.zeros((len(self.raws), 2), np.int64)
        return self._sizes[indices]

    def remember(self, index: int, size: Int[np.ndarray, " 2"]) -> None:
        """Keep the size of an example that is the same each time."""
        self._sizes[index] = size


class Seeded:
    """A numpy generator that is made when something is first asked of it.

    Making one takes as long as corrupting a hundred tokens, and an example that never asks is the
    same each time.
    """

    def __init__(self, key: int):
        self._key = key

    def __getattr__(self, name: str) -> Any:
        self.__dict__.setdefault("generator", np.random.default_rng(self._key))
        return getattr(self.generator, name)

    @property
    def used(self) -> bool:
        return "generator" in self.__dict__


class Identity:
    """The format of a plain SeqIO task: its preprocessors have made the ids already."""

    kind = "seqio"

    def __init__(self, vocabulary: Vocabulary | None = None):
        if vocabulary is not None:
            self.vocabulary = vocabulary

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def prepare(
        self, raws: Iterable[Mapping[str, Any]], lengths: Mapping[str, int]
    ) -> list[Mapping[str, Any]]:
        del lengths  # SeqIO has been given them
        return list(raws)

    def example(self, raw: Mapping[str, Any], rng) -> dict[str, Any]:
        del rng
        return dict(raw)


def task_vocabulary(task: Any) -> Vocabulary:
    """The vocabulary a SeqIO task was registered with."""
    words = task.output_features["targets"].vocabulary
    # A SeqIO vocabulary with no sentinels at all may be T5's, which our default appends.
    return Vocabulary(words.sentencepiece_model_file, words.extra_ids or None)
