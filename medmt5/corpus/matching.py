"""Duplicates among all files: keys of every document, and what of a partition of keys goes.

`clean` writes the keys of its documents, partition by partition; `find` decides about a partition
and writes what goes, file by file; `going` is what `finish` reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from medmt5.corpus import duplicates
from medmt5.corpus.config import CorpusConfig
from medmt5.corpus.documents import Document
from medmt5.corpus.rows import RowWriter, read_group
from medmt5.files import write_text

# What a document is, a row of exact keys each, and of near ones for each band. An id is cut: it
# is only shown.
_DOCUMENT = [("bucket", "<u8"), ("order", "u1", 20), ("number", "<u4"), ("id", "S32")]
_EXACT = np.dtype(_DOCUMENT)
# Of each number of a signature the last four bits: two that differ look equal in one case of 16,
# so that 64 bytes tell nearly what all 1,024 do.
_BITS = 4
_NEAR = np.dtype([*_DOCUMENT, ("signature", "u1", duplicates.PERMUTATIONS * _BITS // 8)])
_KINDS = {"exact": _EXACT, "near": _NEAR}
# Which document goes, why, and the one that stays.
_FOUND = np.dtype(
    [("number", "<u4"), ("near", "u1"), ("order", "u1", 20), ("file", "<u4"), ("id", "S32")]
)


@dataclasses.dataclass(frozen=True)
class PartitionJob:
    """One partition of the keys."""

    config: CorpusConfig
    work: str
    partition: int

    @property
    def name(self) -> str:
        return f"partition-{self.partition:05d}"


class Keys:
    """Writes the keys of the documents of one file, as a context manager.

    Args:
      name: of the file.
      partitions: into which keys are split.
    """

    def __init__(self, config: CorpusConfig, work: str, name: str, partitions: int, priority: int):
        self._partitions, self._priority, self._number = partitions, priority, 0
        self._writers = {
            kind: RowWriter(_keys_path(work, name, kind), _KINDS[kind], partitions)
            for kind in config.duplicates.kinds
        }
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Keys:
        for writer in self._writers.values():
            self._files.enter_context(writer)
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def add(self, document: Document) -> None:
        order = duplicates.order_key(self._priority, document.source, document.id)
        fields = {
            "order": np.frombuffer(order, np.uint8),
            "number": self._number,
            "id": document.id.encode()[:32],
        }
        self._number += 1
        if "exact" in self._writers:
            self._write("exact", [duplicates.exact_key(document.text)[:8]], fields)
        if "near" in self._writers:
            signature = duplicates.signature(document.text, document.language)
            fields["signature"] = _packed(signature)
            self._write("near", duplicates.bands(signature), fields)

    def _write(self, kind: str, keys: Sequence[bytes], fields: dict[str, Any]) -> None:
        rows = np.zeros(len(keys), _KINDS[kind])
        rows["bucket"] = np.frombuffer(b"".join(keys), "<u8")
        for name, value in fields.items():
            rows[name] = value
        self._writers[kind].add(rows, rows["bucket"] % self._partitions)


def _packed(signature: np.ndarray) -> np.ndarray:
    low = (signature & np.uint64(15)).astype(np.uint8)
    return low[::2] << _BITS | low[1::2]


def _unpacked(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> _BITS, packed & 15], axis=-1).reshape(len(packed), -1)


def find(job: PartitionJob) -> dict[str, int]:
    """Decide about the documents whose keys are in a partition.

    Returns:
      How many go, by kind.
    """
    names = read_names(job.work)
    counts: Counter[str] = Counter()
    with RowWriter(_found_path(job.work, job.partition), _FOUND, len(names)) as writer:
        for kind in job.config.duplicates.kinds:
            paths = [_keys_path(job.work, name, kind) for name in names]
            parts = [read_group(path, _KINDS[kind], job.partition) for path in paths]
            files = np.repeat(np.arange(len(parts), dtype=np.uint32), list(map(len, parts)))
            rows = np.concatenate(parts)
            best = _found(rows, files, kind, job.config.duplicates.threshold)
            for (file, number), (order, stays) in sorted(best.items()):
                row = np.zeros(1, _FOUND)
                row["number"], row["near"] = number, kind == "near"
                row["order"], row["file"] = np.frombuffer(order, np.uint8), files[stays]
                row["id"] = rows[stays]["id"]
                writer.add(row, np.array([file]))
            counts[kind] = len(best)
    return dict(counts)


def _found(
    rows: np.ndarray, files: np.ndarray, kind: str, threshold: float
) -> dict[tuple[int, int], tuple[bytes, int]]:
    """File and number of what goes -> order key and row of what stays."""
    best: dict[tuple[int, int], tuple[bytes, int]] = {}
    for bucket in _buckets(rows["bucket"]):
        inside = rows[bucket]
        orders = [order.tobytes() for order in inside["order"]]
        if kind == "exact":
            first = min(range(len(bucket)), key=orders.__getitem__)
            pairs = [(n, first) for n in range(len(bucket)) if n != first]
        else:
            least = threshold + (1 - threshold) / 2**_BITS
            pairs = duplicates.removals(orders, _unpacked(inside["signature"]), threshold=least)
        for goes, stays in pairs:
            place = int(files[bucket[goes]]), int(inside["number"][goes])
            found = orders[stays], int(bucket[stays])
            best[place] = min(best.get(place, found), found)
    return best


def _buckets(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of equal keys, where there are several."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    counts = np.diff(starts, append=len(order))
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        yield order[start : start + count]


def going(work: str, index: int, partitions: int) -> dict[int, tuple[str, str]]:
    """Of one file: number of each document that goes -> reason and what stays.

    Args:
      index: of the file among `read_names`.
    """
    parts = [read_group(_found_path(work, part), _FOUND, index) for part in range(partitions)]
    rows = np.concatenate([np.zeros(0, _FOUND), *parts])
    names = read_names(work)
    best: dict[int, tuple] = {}
    for row in rows:
        found = bool(row["near"]), row["order"].tobytes(), int(row["file"]), bytes(row["id"])
        number = int(row["number"])
        best[number] = min(best.get(number, found), found)
    return {
        number: (
            "near duplicate" if near else "exact duplicate",
            f"of {id.decode('utf-8', 'ignore')} in {names[file]}",
        )
        for number, (near, _, file, id) in best.items()
    }


def write_names(work: str, names: Sequence[str]) -> None:
    """Keep the order of the files, which rows refer to."""
    write_text(os.path.join(work, "names.json"), json.dumps(list(names)))


def read_names(work: str) -> list[str]:
    return json.loads(epath.Path(os.path.join(work, "names.json")).read_text())


def _keys_path(work: str, name: str, kind: str) -> str:
    return os.path.join(work, "keys", f"{name}.{kind}")


def _found_path(work: str, partition: int) -> str:
    return os.path.join(work, "found", f"{partition:05d}")
