"""Tasks tokenised once, read from disk without SeqIO or TensorFlow. `cache_task` writes them.

    CACHE_DIR/<mixture>/mixture.json             {"tasks": {name: rate}}
    CACHE_DIR/<task>/<split>/manifest.json       what is here; written last
                             sentencepiece.model the vocabulary
                             00000.tokens        joined documents, or
                             00000.records       examples: ids, weights and raw fields of each, and
                             00000.index         where each begins, and its sizes
                             00000.json          counts and checksums: this shard is whole

Nothing is shuffled on disk: epochs are permuted by index (`shuffling`), so training from the cache
takes the steps that training from the source takes. What is asked for is read from open files and
nothing is kept, so a corpus may be larger than memory.
"""

from __future__ import annotations

import bisect
import difflib
import hashlib
import importlib
import inspect
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Int

from medmt5.files import is_remote
from medmt5.tables import DatasetConfig, Identity, Table
from medmt5.vocabulary import Vocabulary

VERSION = 1
MANIFEST, MIXTURE, VOCABULARY = "manifest.json", "mixture.json", "sentencepiece.model"
# One example: where its record begins among all records; its input ids, target ids, weights, and
# bytes of JSON. An example that is random has no ids here: it is made from its JSON each time.
INDEX = np.dtype(
    [("begin", "<i8"), ("inputs", "<i4"), ("targets", "<i4"), ("weights", "<i4"), ("raw", "<i4")]
)
FORMATS = "medmt5.formats."  # a manifest may have modules of this package imported, and no others


def describe(
    name: str, split: str, format_: Any, vocabulary: Vocabulary, lengths: Mapping[str, int]
) -> dict[str, Any]:
    """What a cache is of, as plain JSON.

    Args:
      name, split: of the task.
      format_: keeps its constructor's arguments as attributes of the same names.
      vocabulary: of the ids.
      lengths: that a plain SeqIO task was given; ours are cut to rows when they are read.
    """
    settings = {
        name: getattr(format_, name)
        for name in inspect.signature(type(format_)).parameters
        if name != "vocabulary"
    }
    about = {
        "version": VERSION,
        "task": name,
        "split": split,
        "format": f"{type(format_).__module__}:{type(format_).__qualname__}",
        "settings": settings,
        "vocabulary": fingerprint(vocabulary),
        "ids": "<u2" if vocabulary.rows <= 2**16 else "<u4",
        "lengths": dict(lengths) if isinstance(format_, Identity) else None,
    }
    return json.loads(json.dumps(about))  # as it will be read back: tuples are lists


def fingerprint(vocabulary: Vocabulary) -> dict[str, Any]:
    """What makes two vocabularies give the same ids."""
    content = epath.Path(vocabulary.path).read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "extra_ids": vocabulary.extra_ids}


def read_tables(config: DatasetConfig, vocabulary: Vocabulary | None) -> list[Table]:
    """`batches.read_tables` from the cache.

    Raises:
      ValueError: a cache that is not there, not finished, not whole, or made with another
        vocabulary, other lengths or other code.
    """
    assert config.cache_dir is not None
    root, name = config.cache_dir, config.mixture_or_task_name
    if is_remote(root):
        raise ValueError(f"CACHE_DIR {root} is remote; copy it to a local disk of each host")
    if not os.path.isdir(root):
        raise ValueError(f"CACHE_DIR {root} does not exist; write it: {_command(name, root)}")
    mixture = os.path.join(root, name, MIXTURE)
    rates = read_json(mixture)["tasks"] if os.path.exists(mixture) else {name: 1.0}
    return [_read_table(task, rate, config, vocabulary) for task, rate in rates.items()]


def read_manifest(root: str, task: str, split: str) -> dict[str, Any]:
    """The manifest of a split whose files all have the sizes that it lists.

    Raises:
      ValueError: it is missing or unfinished, or a file is not whole.
    """
    folder = os.path.join(root, task, split)
    path = os.path.join(folder, MANIFEST)
    if not os.path.exists(path):
        if os.path.isdir(folder):
            raise ValueError(f"{folder} is not finished; go on: {_command(task, root, split)}")
        above, what = (root, "task") if not os.path.isdir(os.path.join(root, task)) else (
            os.path.join(root, task), "split"
        )  # fmt: skip
        asked = task if what == "task" else split
        there = sorted(entry.name for entry in os.scandir(above) if entry.is_dir())
        near = difflib.get_close_matches(asked, there, n=3, cutoff=0.5) or there
        raise ValueError(
            f"{above} has no {what} {asked!r}; it has {', '.join(near) or 'none'}. Write it: "
            f"{_command(task, root, split)}"
        )
    manifest = read_json(path)
    if manifest.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {manifest.get('version')}, this code reads {VERSION}; write it "
            f"anew: {_command(task, root, split)} --overwrite"
        )
    for path, size, _ in listed_files(folder, manifest):
        found = os.path.getsize(path) if os.path.exists(path) else None
        if found != size:
            raise ValueError(
                f"{path} {'is missing' if found is None else f'has {found:,} bytes'}, its manifest "
                f"lists {size:,}: copy it again, or write it: "
                f"{_command(task, root, split)} --overwrite"
            )
    return manifest


def listed_files(folder: str, manifest: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Path, bytes and SHA-256 of every file of ids."""
    return [
        (os.path.join(folder, f"{number:05}.{column}"), size, shard["sha256"][column])
        for number, shard in enumerate(manifest["shards"])
        for column, size in shard["bytes"].items()
    ]


def read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); copy it again") from error


def _command(task: str, root: str, split: str | None = None) -> str:
    only = f" --split {split}" if split else ""
    return f"medmt5 cache {task} --output_cache_dir {root}{only}"


def _read_table(
    task: str, rate: float, config: DatasetConfig, vocabulary: Vocabulary | None
) -> Table:
    root, lengths = str(config.cache_dir), config.task_feature_lengths
    folder = os.path.join(root, task, config.split)
    manifest = read_manifest(root, task, config.split)
    own = Vocabulary(os.path.join(folder, VOCABULARY), manifest["vocabulary"]["extra_ids"])
    for each in (own, vocabulary):
        if each is not None and fingerprint(each) != manifest["vocabulary"]:
            raise ValueError(
                f"{folder} was made with another vocabulary than {each.path}; make a cache with "
                f"it: {_command(task, root, config.split)} --overwrite --vocabulary {each.path}"
            )
    if manifest["lengths"] not in (None, dict(lengths)):
        raise ValueError(
            f"{folder} is of a plain SeqIO task, whose preprocessors were given the lengths "
            f"{manifest['lengths']}; TASK_FEATURE_LENGTHS is {dict(lengths)}: use the former, or "
            f"{_command(task, root, config.split)} --overwrite --inputs {lengths['inputs']} "
            f"--targets {lengths['targets']}"
        )
    format_ = _format(manifest, vocabulary or own, folder)
    shards, ids = manifest["shards"], np.dtype(manifest["ids"])

    def column(name: str, dtype: np.dtype) -> Column:
        paths = [os.path.join(folder, f"{number:05}.{name}") for number in range(len(shards))]
        return Column(paths, [shard["bytes"][name] // dtype.itemsize for shard in shards], dtype)

    if "tokens" in shards[0]["bytes"]:
        return Table(task, rate, format_, format_.chunks(column("tokens", ids), lengths))
    index, content = column("index", INDEX), column("records", np.dtype(np.uint8))
    fitted = getattr(format_, "fitted", None)
    records = Records(index, content, ids, fitted=fitted, lengths=lengths)
    return StoredTable(task, rate, format_, records)


def _format(manifest: Mapping[str, Any], vocabulary: Vocabulary, folder: str) -> Any:
    """The format, made again from its class and settings."""
    module, _, name = manifest["format"].partition(":")
    if module == Identity.__module__:
        return Identity(vocabulary)
    if not module.startswith(FORMATS) and module not in sys.modules:
        raise ValueError(
            f"{folder} needs the format {manifest['format']}; import {module} in the gin file, if "
            "you trust it"
        )
    try:
        made = getattr(importlib.import_module(module), name)
        return made(vocabulary, **manifest["settings"])
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{folder} was made with a format that this code has not: {manifest['format']} with "
            f"{manifest['settings']} ({error}); write it anew with --overwrite"
        ) from error


class Column:
    """Items of one size in several files, seen as one array; nothing is kept in memory.

    Read, not mapped: mapped pages count as the process's memory until others need it, and a mapped
    file that becomes shorter kills the process.

    Args:
      paths: of the files.
      counts: items in each.
      dtype: of an item.
    """

    def __init__(self, paths: Sequence[str], counts: Sequence[int], dtype: np.dtype):
        self.dtype = dtype
        self._paths = paths
        self._begins = [0, *itertools.accumulate(counts)]
        self._files: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._begins[-1]

    def __getitem__(self, part: slice) -> np.ndarray:
        begin, end, _ = part.indices(len(self))
        parts = []
        while begin < end:
            file = bisect.bisect_right(self._begins, begin) - 1
            stop = min(end, self._begins[file + 1])
            parts.append(self._read(file, begin - self._begins[file], stop - begin))
            begin = stop
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def _read(self, number: int, begin: int, count: int) -> np.ndarray:
        if number not in self._files:
            # Unbuffered, and closed when this object goes.
            self._files[number] = open(self._paths[number], "rb", buffering=0)  # noqa: SIM115
        size = self.dtype.itemsize
        content = os.pread(self._files[number].fileno(), count * size, begin * size)
        if len(content) != count * size:
            raise ValueError(f"{self._paths[number]} has become shorter while it is read")
        return np.frombuffer(content, self.dtype)


class _Entry(NamedTuple):
    """An item of INDEX."""

    begin: int
    inputs: int
    targets: int
    weights: int
    raw: int


class Records(Sequence[Mapping[str, Any]]):
    """Stored examples; as a sequence, their raw fields.

    Args:
      index: items of INDEX.
      content: bytes of all records.
      ids: their type.
      fitted: raw example, lengths -> one that fits, for formats that shorten what is too long.
      lengths: of rows. Ids that are longer are then made again, of the fitted example.
    """

    def __init__(
        self,
        index: Column,
        content: Column,
        ids: np.dtype,
        *,
        fitted: Callable[[Any, Mapping[str, int]], Any] | None = None,
        lengths: Mapping[str, int] = {},
    ):
        self._index, self._content, self._ids = index, content, ids
        self._fitted, self._lengths = fitted, lengths

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        entry = self._entry(i)
        end = self._end(entry)
        raw = json.loads(self._content[end - entry.raw : end].tobytes())
        return self._fitted(raw, self._lengths) if self._fitted else raw

    def sizes(self, indices: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows 2"]:
        """Tokens of inputs and targets; 0 where no ids are stored."""
        entries = map(self._entry, indices.tolist())
        sizes = [(e.inputs, e.targets) if self._usable(e) else (0, 0) for e in entries]
        return np.array(sizes, np.int64).reshape(-1, 2)

    def example(self, i: int) -> dict[str, np.ndarray] | None:
        """The stored ids and weights, if any."""
        entry = self._entry(i)
        if not self._usable(entry):
            return None
        content = self._content[entry.begin : self._end(entry) - entry.raw]
        ids = np.frombuffer(content, self._ids, entry.inputs + entry.targets)
        example = {"inputs": ids[: entry.inputs], "targets": ids[entry.inputs :]}
        if entry.weights:
            example["target_weights"] = np.frombuffer(content, "<f4", offset=ids.nbytes)
        return example

    def _entry(self, i: int) -> _Entry:
        if not 0 <= i < len(self):
            raise IndexError(f"example {i} of {len(self)}")
        return _Entry(*self._index[i : i + 1].item())

    def _usable(self, entry: _Entry) -> bool:
        """Whether ids are stored, and are those of the example as it is in these rows."""
        if not self._fitted:
            return entry.inputs > 0
        lengths = self._lengths
        return 0 < entry.inputs <= lengths["inputs"] and entry.targets <= lengths["targets"]

    def _end(self, entry: _Entry) -> int:
        ids = self._ids.itemsize * (entry.inputs + entry.targets)
        return entry.begin + ids + 4 * entry.weights + entry.raw


class StoredTable(Table):
    """A table of `Records`: ids are read where they are stored and made where they are not."""

    raws: Records

    def known_sizes(self, indices: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows 2"]:
        return self.raws.sizes(indices)

    def remember(self, index: int, size: Int[np.ndarray, " 2"]) -> None:
        """Nothing: what can be known is stored."""

    def example(self, index: int, key: int) -> dict[str, Any]:
        return self.raws.example(index) or super().example(index, key)
