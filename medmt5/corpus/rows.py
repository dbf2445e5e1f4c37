"""Files of rows of one size, of which a reader takes one group and leaves the others.

Rows are sorted by group in blocks that fit into memory. At the end is where in each block a group
lies, group by group, and at the very end the numbers of blocks and groups.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from etils import epath

from medmt5.corpus.storage import written

BLOCK_BYTES = 2**25
_END = np.dtype("<u8")


class RowWriter:
    """Takes rows in any order, as a context manager."""

    def __init__(self, path: str, dtype: np.dtype, groups: int):
        self._groups, self._most = groups, max(BLOCK_BYTES // dtype.itemsize, 1)
        self._stack, self._path = contextlib.ExitStack(), path
        self._rows: list[np.ndarray] = []
        self._of: list[np.ndarray] = []
        self._waiting = self._written = 0
        self._index: list[np.ndarray] = []

    def __enter__(self) -> RowWriter:
        self._file = self._stack.enter_context(written(self._path))
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None:
            self._flush()
            index = np.array(self._index, _END).reshape(-1, self._groups, 2).swapaxes(0, 1)
            self._file.write(index.tobytes())
            self._file.write(np.array([len(self._index), self._groups], _END).tobytes())
        self._stack.__exit__(kind, *error)

    def add(self, rows: np.ndarray, groups: np.ndarray) -> None:
        self._rows.append(rows)
        self._of.append(groups)
        self._waiting += len(rows)
        if self._waiting >= self._most:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows, groups = np.concatenate(self._rows), np.concatenate(self._of).astype(np.int64)
        self._file.write(rows[np.argsort(groups, kind="stable")].tobytes())
        counts = np.bincount(groups, minlength=self._groups)
        firsts = self._written + np.cumsum(counts) - counts
        self._index.append(np.stack([firsts, counts], axis=1))
        self._written += self._waiting
        self._rows, self._of, self._waiting = [], [], 0


def read_group(path: str, dtype: np.dtype, group: int) -> np.ndarray:
    """The rows of one group, in the order in which they were added."""
    with epath.Path(path).open("rb") as file:
        file.seek(0, 2)
        end = file.tell()  # `seek` of TensorFlow's files gives None
        file.seek(end - 2 * _END.itemsize)
        blocks, groups = np.frombuffer(file.read(2 * _END.itemsize), _END).tolist()
        line = 2 * _END.itemsize * blocks
        file.seek(end - 2 * _END.itemsize - line * (groups - group))
        index = np.frombuffer(file.read(line), _END).reshape(blocks, 2)
        parts = [np.zeros(0, dtype)]
        for first, count in index.tolist():
            if count:
                file.seek(first * dtype.itemsize)
                parts.append(np.frombuffer(file.read(count * dtype.itemsize), dtype))
    return np.concatenate(parts)
