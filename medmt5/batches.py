"""From tables of examples to batches: an endless stream of rows, resumable by a few integers.

Everything is numpy and a pure function of (seed, position): which task, which example, which
corruption, which row of which pack. A window of examples is planned from their sizes alone, the
same plan on every host; a host then makes only the rows that its devices hold. So the position is
all that a restart needs, on any number of hosts.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt64

from medmt5 import shuffling
from medmt5.packing import pack
from medmt5.partitioning import batch_sharding
from medmt5.step import Batch
from medmt5.tables import DatasetConfig, Table
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

# Examples drawn, mixed and packed together. Large enough that packing finds good partners and that
# mixture rates are met closely; small enough to be planned again in milliseconds at a restart.
WINDOW = 1024

# What a key is for: the same seed never gives two of them the same numbers.
_DRAWS, _EPOCHS, _EXAMPLES, _ORDER, _ROWS, _EVALUATION = range(1, 7)


def read_tables(config: DatasetConfig, vocabulary: Vocabulary | None) -> list[Table]:
    """Read a task, or every task of a mixture, with its rate.

    Args:
      config: names, split and lengths; from the source or from the cache.
      vocabulary: replaces the one the tasks were registered with; None keeps it. A cache must have
        been made with it.

    Raises:
      ValueError: an unregistered name, a missing split, or broken data (with file and line).
    """
    if config.use_cached:
        from medmt5 import token_cache

        return token_cache.read_tables(config, vocabulary)
    from medmt5 import task_modules

    task_modules.import_seqio()
    from medmt5.formats import task

    return task.read_tables(config, vocabulary)


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


class Plan(NamedTuple):
    """Which examples make up which rows; none of them is made yet.

    Attributes:
      table, index, key, size: of each example; sizes are those in the row, where the text is cut
        and a soft prompt counts.
      rows: the examples of each row, as places in these arrays.
    """

    table: Int[np.ndarray, " examples"]
    index: Int[np.ndarray, " examples"]
    key: UInt64[np.ndarray, " examples"]
    size: Int[np.ndarray, "examples 2"]
    rows: list[list[int]]

    def make(
        self, tables: Sequence[Table], rows: Sequence[int], lengths: Mapping[str, int]
    ) -> list[list[dict[str, Any]]]:
        """The examples of some rows, cut to the lengths of text, behind their soft prompts."""
        places = np.array([place for row in rows for place in self.rows[row]], np.int64)
        made: dict[int, dict[str, Any]] = {}
        for number, table in enumerate(tables):
            mine = places[self.table[places] == number]
            examples = table.examples(self.index[mine], self.key[mine])
            made |= zip(mine.tolist(), (_prompted(trim(e, lengths), table) for e in examples))
        return [[made[place] for place in self.rows[row]] for row in rows]


class Share(NamedTuple):
    """The rows of a global batch that this process makes; see `local_share`.

    Attributes:
      rows: their numbers, ascending.
      batch_size: rows of the global batch.
    """

    rows: Int[np.ndarray, " rows"]
    batch_size: int


class Stream:
    """An endless, deterministic stream of batches.

    Args:
      tables: from `read_tables`.
      config: lengths, batch size, seed, packing.
      share: the rows to make; None for all. The order is the same whatever the share.

    `position()` and `restore()` save and set the place; the batches after it are the same ones.

    Attributes:
      lengths: of rows; those of text, and room for a soft prompt.
      seen, trimmed: examples planned, and those among them that are cut to the lengths of text.
      filled: share of real tokens in inputs and in targets, summed over the global batches taken.
    """

    def __init__(
        self, tables: Sequence[Table], config: DatasetConfig, *, share: Share | None = None
    ):
        self.tables, self.config = tables, config
        self.lengths = row_lengths(tables, config)
        self.share = share or Share(np.arange(config.batch_size), config.batch_size)
        self._rates = np.array([table.rate for table in tables], np.float64)
        self._rates /= self._rates.sum()
        self._position = Position(0, 0, [0] * len(tables))
        self._plan: Plan | None = None
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
        self._position, self._plan = restored, None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        lengths, size = self.lengths, self.config.batch_size
        rows: list[list[dict[str, Any]]] = []
        done, filled = 0, np.zeros(2)
        while done < size:
            if self._plan is None:
                self._plan = self._window()
            plan, at = self._plan, self._position.row
            end = min(at + size - done, len(plan.rows))
            if end <= at:
                raise ValueError(
                    f"the checkpoint's input position is row {at} of a window that has "
                    f"{len(plan.rows)}; the data or TASK_FEATURE_LENGTHS changed: keep them, or "
                    "start from INITIAL_CHECKPOINT_PATH"
                )
            mine = self.share.rows - done + at
            here = mine[(mine >= at) & (mine < end)].tolist()
            rows += plan.make(self.tables, here, self.config.task_feature_lengths)
            filled += plan.size[[place for row in plan.rows[at:end] for place in row]].sum(axis=0)
            done += end - at
            self._position.row = end
            if end == len(plan.rows):
                drawn = [n + int(k) for n, k in zip(self._position.drawn, self._draws())]
                self._position = Position(self._position.window + 1, 0, drawn)
                self._plan = None
        self.filled += filled / [size * lengths["inputs"], size * lengths["targets"]]
        return make_batch(rows, lengths, packed=self.config.pack)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *key])

    def _draws(self) -> np.ndarray:
        """How many examples of each table the current window holds."""
        return self._rng(_DRAWS, self._position.window).multinomial(WINDOW, self._rates)

    def _indices(self, table: int, numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Members of a table's endless sequence of shuffled epochs."""
        size = len(self.tables[table].raws)
        epochs, indices = np.divmod(numbers, size)
        if self.config.shuffle:
            for epoch in np.unique(epochs):
                key = shuffling.key(self.config.seed, _EPOCHS, table, int(epoch))
                here = epochs == epoch
                indices[here] = shuffling.permuted(indices[here], size, key)
        return indices

    def _window(self) -> Plan:
        """The current window: its examples in mixed order, and their rows."""
        window, seed = self._position.window, self.config.seed
        parts = []
        for table, (before, count) in enumerate(zip(self._position.drawn, self._draws())):
            numbers = np.arange(before, before + count)
            indices = self._indices(table, numbers)
            keys = shuffling.key(seed, _EXAMPLES, table, numbers)
            sizes = self.tables[table].sizes(indices, keys)
            parts.append((np.full(count, table), indices, keys, sizes))
        order = self._rng(_ORDER, window).permutation(WINDOW)
        tables, indices, keys, sizes = (np.concatenate(each)[order] for each in zip(*parts))
        sizes = self._cut(sizes) + _prompt_sizes(self.tables)[tables]
        if not self.config.pack:
            return Plan(tables, indices, keys, sizes, [[i] for i in range(WINDOW)])
        rows = pack(sizes, self.lengths)
        rows = [rows[i] for i in self._rng(_ROWS, window).permutation(len(rows))]
        return Plan(tables, indices, keys, sizes, rows)

    def _cut(self, sizes: Int[np.ndarray, "examples 2"]) -> Int[np.ndarray, "examples 2"]:
        lengths = self.config.task_feature_lengths
        cut = np.minimum(sizes, [lengths["inputs"], lengths["targets"]])
        before = self.trimmed
        self.seen += len(sizes)
        self.trimmed += int((cut != sizes).any(axis=1).sum())
        if self.trimmed.bit_length() > before.bit_length():  # twice as many as last time
            log.warning(
                "%d of %d examples were longer than TASK_FEATURE_LENGTHS and were cut",
                self.trimmed, self.seen,
            )  # fmt: skip
        return cut


def row_lengths(tables: Sequence[Table], config: DatasetConfig) -> dict[str, int]:
    """Lengths of the rows of a mixture: those of text, and room for the longest soft prompt."""
    lengths = dict(config.task_feature_lengths)
    lengths["inputs"] += int(_prompt_sizes(tables)[:, 0].max())
    return lengths


def _prompt_sizes(tables: Sequence[Table]) -> Int[np.ndarray, "tables 2"]:
    """What soft prompts add to the inputs and targets of each table."""
    return np.array([[len(table.soft_prompt), 0] for table in tables])


def _prompted(example: dict[str, Any], table: Table) -> dict[str, Any]:
    if not len(table.soft_prompt):
        return example
    return example | {"inputs": np.concatenate([table.soft_prompt, example["inputs"]])}


def trim(example: Mapping[str, Any], lengths: Mapping[str, int]) -> dict[str, Any]:
    """What a batch needs of an example, cut to the row lengths."""
    limits = dict(lengths) | {"target_weights": lengths["targets"]}
    return {key: example[key][:limit] for key, limit in limits.items() if key in example}


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


def evaluation_batches(
    tables: Sequence[Table], config: DatasetConfig, *, share: Share | None = None
) -> Iterator[Batch]:
    """Every example once; the last batch is filled up with empty rows.

    Args:
      tables: from `read_tables`.
      config: lengths, batch size, seed. Unless it packs, examples keep their order.
      share: the rows to make; None for all.
    """
    share = share or Share(np.arange(config.batch_size), config.batch_size)
    lengths = row_lengths(tables, config)
    waiting: list[tuple[Plan, int]] = []

    def batch() -> Batch:
        mine = [waiting[row] for row in share.rows if row < len(waiting)]
        rows: list[list[dict[str, Any]]] = []
        for _, group in itertools.groupby(mine, key=lambda each: id(each[0])):
            plans, places = zip(*group)
            rows += plans[0].make(tables, places, config.task_feature_lengths)
        rows += [[]] * (len(share.rows) - len(rows))
        return make_batch(rows, lengths, packed=config.pack)

    for plan in _evaluation_plans(tables, config):
        waiting += [(plan, row) for row in range(len(plan.rows))]
        while len(waiting) >= config.batch_size:
            yield batch()
            del waiting[: config.batch_size]
    if waiting:
        yield batch()


def _evaluation_plans(tables: Sequence[Table], config: DatasetConfig) -> Iterator[Plan]:
    lengths = config.task_feature_lengths
    for number, table in enumerate(tables):
        for begin in range(0, len(table.raws), WINDOW):
            indices = np.arange(begin, min(begin + WINDOW, len(table.raws)))
            keys = shuffling.key(config.seed, _EVALUATION, indices)
            rows = [[i] for i in range(len(indices))]
            sizes = np.zeros((len(indices), 2), np.int64)
            if config.pack:
                sizes = table.sizes(indices, keys)
                sizes = np.minimum(sizes, [lengths["inputs"], lengths["targets"]])
                sizes = sizes + _prompt_sizes(tables)[number]
                rows = pack(sizes, row_lengths(tables, config))
            yield Plan(np.full(len(indices), number), indices, keys, sizes, rows)


def local_share(batch_size: int, mesh: jax.sharding.Mesh) -> Share:
    """The rows of a global batch that the devices of this process hold."""
    places = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    return share_of((place[0] for place in places.values() if place), batch_size)


def share_of(slices: Iterable[slice], batch_size: int) -> Share:
    """The rows of some devices, several of which may hold the same ones."""
    held = np.zeros(batch_size, bool)
    for rows in slices:
        held[rows] = True
    return Share(np.flatnonzero(held), batch_size)


def to_devices(batch: Batch, mesh: jax.sharding.Mesh, share: Share | None = None) -> Batch:
    """The batch as global arrays, its rows split over the mesh.

    Args:
      batch: the rows of `share`.
      mesh: of all processes.
      share: as given to `Stream`; None if `batch` has all rows.
    """
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    size = len(batch.encoder_input_tokens)
    share = share or Share(np.arange(size), size)
    return jax.tree.map(lambda rows: global_array(rows, sharding, share), batch)


def global_array(rows: np.ndarray, sharding: jax.sharding.Sharding, share: Share) -> jax.Array:
    """One global array, of which this process has the rows of its share."""

    def part(place: tuple[slice, ...]) -> np.ndarray:
        start, stop, _ = place[0].indices(share.batch_size)
        at = int(np.searchsorted(share.rows, start))
        return rows[at : at + stop - start]

    return jax.make_array_from_callback((share.batch_size, *rows.shape[1:]), sharding, part)
