"""From tasks to batches: an endless stream of rows, resumable by a few integers.

SeqIO names and defines the data; its examples are read once per run. From there on everything is
numpy and a pure function of (seed, position): which task, which example, which corruption, which
row of which pack. So the position is all that a restart needs, and any host could make any row.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medmt5.partitioning import batch_sharding
from medmt5.step import Batch
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

# Examples drawn, mixed and packed together. Large enough that packing finds good partners and that
# mixture rates are met closely; small enough to be made again in milliseconds at a restart.
WINDOW = 1024


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """What to read; field names as in T5X.

    Attributes:
      mixture_or_task_name: a registered name.
      task_feature_lengths: row lengths in tokens, {"inputs": ..., "targets": ...}.
      split: "train", "validation", ...
      batch_size: rows per global batch.
      shuffle: a new order in each epoch.
      seed: of order, mixing and corruption.
      pack: put several examples into a row, kept apart by segment ids.
      module: Python module to import first, which registers the task.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    split: str = "train"
    batch_size: int = 128
    shuffle: bool = True
    seed: int = 0
    pack: bool = False
    module: str | None = None

    def __post_init__(self):
        if set(self.task_feature_lengths) != {"inputs", "targets"}:
            raise ValueError(
                f"TASK_FEATURE_LENGTHS is {dict(self.task_feature_lengths)}; give "
                "{'inputs': tokens, 'targets': tokens}"
            )


class Table:
    """All raw examples of one task's split, and how they become ids.

    Attributes:
      name: of the task.
      rate: its share in the mixture, relative to the others'.
      format: makes ids.
      raws: what `format.example` takes.
    """

    def __init__(self, name: str, rate: float, format_: Any, raws: Sequence[Mapping[str, Any]]):
        if not raws:
            raise ValueError(f"task {name} has no examples")
        self.name, self.rate, self.format, self.raws = name, rate, format_, raws


class Identity:
    """The format of a plain SeqIO task: its preprocessors have made the ids already."""

    kind = "seqio"

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def example(self, raw: Mapping[str, Any], rng) -> dict[str, Any]:
        del rng
        return dict(raw)


def read_tables(config: DatasetConfig, vocabulary: Vocabulary | None) -> list[Table]:
    """Read a task, or every task of a mixture, with its rate.

    Args:
      config: names, split and lengths.
      vocabulary: replaces the one the tasks were registered with; None keeps it.

    Raises:
      ValueError: an unregistered name, a missing split, or broken data (with file and line).
    """
    import seqio

    from medmt5.formats import task as task_lib

    if config.module:
        importlib.import_module(config.module)
    provider = task_lib.get_task_or_mixture(config.mixture_or_task_name)
    if isinstance(provider, seqio.Mixture):
        tasks = [(task, float(provider.get_rate(task))) for task in provider.tasks]
    else:
        tasks = [(provider, 1.0)]
    tables = []
    for task, rate in tasks:
        if config.split not in task.splits:
            raise ValueError(
                f"task {task.name} has no split {config.split!r}; it has {', '.join(task.splits)}"
            )
        if isinstance(task, task_lib.Task):
            format_ = task.make_format(vocabulary or task_vocabulary(task))
            raws = format_.prepare(task.source.read(config.split), config.task_feature_lengths)
        else:
            format_ = Identity()
            dataset = task.get_dataset(
                config.task_feature_lengths, config.split, shuffle=False, seed=config.seed
            )
            raws = [task_lib.decode_strings(raw) for raw in dataset.as_numpy_iterator()]
        tables.append(Table(task.name, rate, format_, raws))
    return tables


def task_vocabulary(task: Any) -> Vocabulary:
    """The vocabulary a SeqIO task was registered with."""
    words = task.output_features["targets"].vocabulary
    # A SeqIO vocabulary with no sentinels at all may be T5's, which our default appends.
    return Vocabulary(words.sentencepiece_model_file, words.extra_ids or None)


@dataclasses.dataclass
class Position:
    """Where a stream stands; JSON on disk.

    Attributes:
      window: windows finished.
      row: rows already taken from the current window.
      drawn: examples drawn from each table before the current window.
    """

    window: int
    row: int
    drawn: list[int]


class Stream:
    """An endless, deterministic stream of batches.

    Args:
      tables: from `read_tables`.
      config: lengths, batch size, seed, packing.

    `position()` and `restore()` save and set the place; the batches after it are the same ones.
    """

    def __init__(self, tables: Sequence[Table], config: DatasetConfig):
        self.tables, self.config = tables, config
        self._rates = np.array([table.rate for table in tables], np.float64)
        self._rates /= self._rates.sum()
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self._position = Position(0, 0, [0] * len(tables))
        self._rows: list[list[dict[str, Any]]] | None = None
        self.trimmed = 0
        self.seen = 0
        self.filled = np.zeros(2)

    def position(self) -> dict[str, Any]:
        return dataclasses.asdict(self._position)

    def restore(self, position: Mapping[str, Any]) -> None:
        restored = Position(**position)
        if len(restored.drawn) != len(self.tables):
            raise ValueError(
                f"the checkpoint's input position is for {len(restored.drawn)} tasks, but the "
                f"mixture has {len(self.tables)}; keep the mixture, or start from "
                "INITIAL_CHECKPOINT_PATH"
            )
        self._position, self._rows = restored, None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        rows: list[list[dict[str, Any]]] = []
        while len(rows) < self.config.batch_size:
            if self._rows is None:
                self._rows = self._window_rows()
            at = self._position.row
            taken = self._rows[at : at + self.config.batch_size - len(rows)]
            rows += taken
            self._position.row += len(taken)
            if self._position.row == len(self._rows):
                drawn = [n + int(k) for n, k in zip(self._position.drawn, self._draws())]
                self._position = Position(self._position.window + 1, 0, drawn)
                self._rows = None
        batch = make_batch(rows, self.config.task_feature_lengths, packed=self.config.pack)
        self.filled += [
            (batch.encoder_input_tokens > 0).mean(), (batch.decoder_target_tokens > 0).mean()
        ]  # fmt: skip
        return batch

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *key])

    def _draws(self) -> np.ndarray:
        """How many examples of each table the current window holds."""
        return self._rng(1, self._position.window).multinomial(WINDOW, self._rates)

    def _raw(self, table: int, index: int) -> Mapping[str, Any]:
        """The index-th example of a table's endless sequence of shuffled epochs."""
        raws = self.tables[table].raws
        epoch, i = divmod(index, len(raws))
        if not self.config.shuffle:
            return raws[i]
        if (table, epoch) not in self._orders:
            # At most two epochs of a table are in one window unless it is tiny.
            self._orders = {k: v for k, v in self._orders.items() if k[0] != table}
            self._orders[table, epoch] = self._rng(2, table, epoch).permutation(len(raws))
        return raws[self._orders[table, epoch][i]]

    def _window_rows(self) -> list[list[dict[str, Any]]]:
        window = self._position.window
        counts = self._draws()
        examples = []
        for table, (before, count) in enumerate(zip(self._position.drawn, counts)):
            for index in range(before, before + int(count)):
                example = self.tables[table].format.example(
                    self._raw(table, index), self._rng(3, table, index)
                )
                examples.append(self._trim(example))
        order = self._rng(4, window).permutation(len(examples))
        examples = [examples[i] for i in order]
        if not self.config.pack:
            return [[example] for example in examples]
        rows = pack(examples, self.config.task_feature_lengths)
        return [rows[i] for i in self._rng(5, window).permutation(len(rows))]

    def _trim(self, example: dict[str, Any]) -> dict[str, Any]:
        lengths = self.config.task_feature_lengths
        self.seen += 1
        if len(example["inputs"]) > lengths["inputs"] or (
            len(example["targets"]) > lengths["targets"]
        ):
            self.trimmed += 1
            if self.trimmed & (self.trimmed - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.warning(
                    "%d of %d examples were longer than TASK_FEATURE_LENGTHS and were cut",
                    self.trimmed, self.seen,
                )  # fmt: skip
        return trim(example, lengths)


def trim(example: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, Any]:
    """What a batch needs of an example, cut to the row lengths."""
    limits = dict(lengths) | {"target_weights": lengths["targets"]}
    return {key: example[key][:limit] for key, limit in limits.items() if key in example}


def pack(
    examples: Sequence[Mapping[str, Any]], lengths: Mapping[str, int]
) -> list[list[Mapping[str, Any]]]:
    """Group examples into rows: longest first, each into the fullest row that still takes it.

    Args:
      examples: `inputs` and `targets`, none longer than `lengths`.
      lengths: of a row.

    Returns:
      Rows of one or more examples; no example is lost.
    """
    sizes = np.array([[len(e["inputs"]), len(e["targets"])] for e in examples])
    capacity = np.array([lengths["inputs"], lengths["targets"]])
    room = np.empty((len(examples), 2), np.int64)  # of each open row
    rows: list[list[Mapping[str, Any]]] = []
    for i in np.argsort(-(sizes / capacity).max(axis=1), kind="stable"):
        left = room[: len(rows)] - sizes[i]
        waste = np.where((left >= 0).all(axis=1), (left / capacity).sum(axis=1), np.inf)
        best = int(waste.argmin()) if len(rows) else 0
        if len(rows) and np.isfinite(waste[best]):
            rows[best].append(examples[i])
            room[best] -= sizes[i]
        else:
            room[len(rows)] = capacity - sizes[i]
            rows.append([examples[i]])
    return rows


def make_batch(
    rows: Sequence[Sequence[Mapping[str, Any]]], lengths: Mapping[str, int], *, packed: bool
) -> Batch:
    """Pad rows of examples into arrays.

    Args:
      rows: the examples of each row; one per row unless packed. An empty row is all padding.
      lengths: row lengths in tokens.
      packed: also make segment ids.
    """
    size = len(rows)
    source = np.zeros((size, lengths["inputs"]), np.int32)
    target = np.zeros((size, lengths["targets"]), np.int32)
    shifted = np.zeros_like(target)
    weights = np.zeros(target.shape, np.float32)
    source_segments, target_segments = np.zeros_like(source), np.zeros_like(target)
    for r, row in enumerate(rows):
        i = j = 0
        for segment, example in enumerate(row, 1):
            inputs, targets = example["inputs"], example["targets"]
            end_i, end_j = i + len(inputs), j + len(targets)
            source[r, i:end_i] = inputs
            target[r, j:end_j] = targets
            shifted[r, j + 1 : end_j] = targets[:-1]
            weights[r, j:end_j] = example.get("target_weights", 1.0)
            source_segments[r, i:end_i] = segment
            target_segments[r, j:end_j] = segment
            i, j = end_i, end_j
    segments = (source_segments, target_segments) if packed else (None, None)
    return Batch(source, shifted, target, weights, *segments)


def evaluation_batches(tables: Sequence[Table], config: DatasetConfig) -> Iterator[Batch]:
    """Every example once, in order; the last batch is filled up with empty rows."""
    lengths = config.task_feature_lengths
    rows = []
    for table in tables:
        for i, raw in enumerate(table.raws):
            example = table.format.example(raw, np.random.default_rng([config.seed, i]))
            rows.append([trim(example, lengths)])
            if len(rows) == config.batch_size:
                yield make_batch(rows, lengths, packed=False)
                rows = []
    if rows:
        rows += [[]] * (config.batch_size - len(rows))
        yield make_batch(rows, lengths, packed=False)


def to_devices(batch: Batch, mesh: jax.sharding.Mesh) -> Batch:
    """The batch as global arrays, its rows split over the mesh."""
    return jax.device_put(batch, batch_sharding(mesh))
