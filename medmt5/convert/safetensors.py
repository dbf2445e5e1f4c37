"""The safetensors format: a JSON header and raw numbers, read and written piece by piece.

The library of that name maps a file whole when it reads and wants all tensors in memory when it
writes; here no more than one array and 64 MiB are held. Which tensors there are is left to
`huggingface`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_BLOCK_BYTES = 64 * 2**20
_MAX_HEADER = 100 * 2**20  # the format's own limit


class Tensor(NamedTuple):
    """Where a tensor's numbers are: `start` is the byte's place in the file."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int


def read_header(path: str) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Raises:
      ValueError: the file is truncated or no safetensors file, or a type is not read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise ValueError(
                f"{path} is truncated or no safetensors file: it has {size:,} bytes and announces "
                f"a header of {length:,}"
            )
        text = file.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        tensors, spans = {}, []
        for name, entry in header.items():
            shape, (begin, end) = tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
            if entry["dtype"] not in DTYPES:
                raise ValueError(f"{name} has type {entry['dtype']}; {', '.join(DTYPES)} are read")
            dtype = DTYPES[entry["dtype"]]
            if min(shape, default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name}: {end - begin} bytes do not hold {dtype} {shape}")
            tensors[name] = Tensor(path, shape, dtype, 8 + length + begin)
            spans.append((begin, end, name))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path} has a damaged header: {error!r:.200}") from error
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at:
            raise ValueError(f"{path} has a damaged header: {name} starts at {begin}, not at {at}")
        at = end
    if 8 + length + at != size:
        raise ValueError(
            f"{path} has {size:,} bytes, its header describes {8 + length + at:,}: it is truncated "
            "or damaged; copy it again"
        )
    return tensors


def read(tensor: Tensor, *, transpose: bool = False) -> np.ndarray:
    """A tensor as float32, which holds every bfloat16 and float16 exactly.

    Args:
      tensor: of two axes if it is transposed.
      transpose: swap the axes.
    """
    shape = tensor.shape[::-1] if transpose else tensor.shape
    out = np.empty(shape, np.float32)
    if out.size == 0:
        return out
    rows = out.T if transpose else out.reshape(tensor.shape[0] if tensor.shape else 1, -1)
    row_bytes = rows[0].size * tensor.dtype.itemsize
    step = max(1, _BLOCK_BYTES // row_bytes)
    with open(tensor.path, "rb") as file:
        file.seek(tensor.start)
        for first in range(0, len(rows), step):
            block = rows[first : first + step]
            numbers = np.fromfile(file, tensor.dtype, block.size)
            if numbers.size != block.size:
                raise ValueError(f"{tensor.path} ended while it was read")
            block[...] = numbers.reshape(block.shape)
    return out


class Writer:
    """Writes one file; tensors may come in any order.

    Args:
      path: of the file.
      shapes: of all tensors, by name.
      dtype: of all tensors, one of float32, bfloat16, float16.
    """

    def __init__(self, path: str, shapes: Mapping[str, tuple[int, ...]], dtype: Any):
        self.path, self.dtype = path, np.dtype(dtype)
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name in sorted(shapes):
            end = at + math.prod(shapes[name]) * self.dtype.itemsize
            header[name] = {
                "dtype": _NAMES[self.dtype],
                "shape": list(shapes[name]),
                "data_offsets": [at, end],
            }
            at = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the numbers start at a multiple of 8 bytes
        self._tensors = {
            name: Tensor(
                path, tuple(shape), self.dtype, 8 + len(text) + header[name]["data_offsets"][0]
            )
            for name, shape in shapes.items()
        }
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + at)

    def write(self, name: str, array: np.ndarray, *, transpose: bool = False) -> None:
        """Write one tensor; with transpose, the array's axes are swapped."""
        shape = self._tensors[name].shape
        rows = array.T if transpose else array
        assert rows.shape == shape, (name, rows.shape, shape)
        rows = rows.reshape(shape[0] if shape else 1, -1) if not transpose else rows
        step = max(1, _BLOCK_BYTES // max(1, rows[:1].size * self.dtype.itemsize))
        with open(self.path, "r+b") as file:
            file.seek(self._tensors[name].start)
            for first in range(0, len(rows), step):
                block = rows[first : first + step]
                np.ascontiguousarray(block, self.dtype).tofile(file)
