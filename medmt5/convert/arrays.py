"""Zarr arrays on disk or in a bucket, through TensorStore: one folder each, or within OCDBT.

What the arrays mean is left to `t5x` and `own`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorstore as ts

from medmt5.files import absolute, is_remote

ORBAX_INDEX = "state/_METADATA"
_EMPTY_NODES = ("Dict", "List", "Tuple", "NamedTuple", "None")

MAX_CHUNKS = 1_000_000
BLOCK_BYTES = 64 * 2**20  # As much is written, or held twice, at a time.

# Nothing is kept after use, and few chunks are in flight: memory is the largest array's.
_CONTEXT = {"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": 2}}


def kvstore(folder: str) -> dict[str, Any]:
    """TensorStore's description of a folder: local or `gs://bucket/path`."""
    if not is_remote(folder):
        return {"driver": "file", "path": absolute(folder).rstrip("/") + "/"}
    scheme, rest = folder.split("://", 1)
    if scheme not in ("gs", "gcs"):
        raise ValueError(f"{folder}: only local paths and gs:// are read")
    bucket, _, path = rest.partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": path.rstrip("/") + "/" if path else ""}


def read_file(folder: str, name: str) -> bytes | None:
    """A file's content; None if there is no such file.

    Raises:
      ValueError: the bucket or disk cannot be read.
    """
    if not is_remote(folder):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return file.read()
    try:
        found = ts.KvStore.open(kvstore(folder)).result().read(name).result()
    except (ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"{folder}/{name} cannot be read: {reason(error)}") from error
    return found.value if found.state == "value" else None


class Stored(NamedTuple):
    """An array of a checkpoint, not read yet. `read` raises ValueError where bytes are damaged."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[..., np.ndarray]  # an index may be given, to read a part


def open_array(
    folder: str,
    name: str,
    *,
    ocdbt: bool,
    zarr3: bool = False,
    metadata: Any = None,
    whole: bool = False,
) -> Stored:
    """Open one array for reading.

    Args:
      folder: of the checkpoint's arrays.
      name: path of the array within it.
      ocdbt: the folder is one OCDBT database, not a folder per array.
      zarr3: of zarr's third version.
      metadata: what its metadata must say, at least.
      whole: a chunk that is not there is an error; otherwise it is zeros, as zarr has it.

    Raises:
      ValueError: it is missing, damaged, or its metadata says something else.
    """
    store = kvstore(folder)
    store = {"driver": "ocdbt", "base": store} if ocdbt else store
    spec = {
        "driver": "zarr3" if zarr3 else "zarr",
        "kvstore": store | {"path": store.get("path", "") + name.rstrip("/") + "/"},
        "fill_missing_data_reads": not whole,
    }
    if metadata:
        spec["metadata"] = metadata

    def call(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            raise ValueError(f"{folder}: array {name} cannot be read: {reason(error)}") from error

    array: ts.TensorStore = call(
        lambda: ts.open(spec, read=True, open=True, context=ts.Context(_CONTEXT)).result()
    )
    # Chunks far larger than the array, or millions of them, would end the process, not the call.
    chunk = array.chunk_layout.read_chunk.shape or ()  # a scalar has none
    counts = [-(-n // c) for n, c in zip(array.shape, chunk, strict=True)]
    itemsize = array.dtype.numpy_dtype.itemsize
    if math.prod(chunk) * itemsize > 2 * math.prod(array.shape) * itemsize + BLOCK_BYTES or (
        math.prod(counts) > MAX_CHUNKS
    ):
        raise ValueError(
            f"{folder}: array {name} of shape {tuple(array.shape)} has chunks of {tuple(chunk)}; "
            "its metadata is damaged"
        )
    return Stored(
        tuple(array.shape), array.dtype.name, lambda index=(): call(lambda: _read(array[index]))
    )


def _read(array: ts.TensorStore) -> np.ndarray:
    """The whole array; a large one chunk by chunk, or all its chunks are held beside it."""
    dtype = array.dtype.numpy_dtype
    if math.prod(array.shape) * dtype.itemsize <= 4 * BLOCK_BYTES:
        return np.asarray(array.read().result())
    out = np.empty(array.shape, dtype)
    chunk = array.chunk_layout.read_chunk.shape or ()  # a scalar has none
    starts = (range(0, n, c) for n, c in zip(array.shape, chunk, strict=True))
    for corner in itertools.product(*starts):
        part = tuple(
            slice(i, min(i + c, n)) for i, c, n in zip(corner, chunk, array.shape, strict=True)
        )
        out[part] = array[part].read().result()
    return out


def open_orbax(checkpoint: str, *, whole: str | tuple[str, ...] = "") -> dict[str, Stored]:
    """All arrays of an Orbax checkpoint's item `state`, by name (`target/encoder/...`).

    Args:
      checkpoint: local or `gs://`.
      whole: arrays whose name starts so must have all their chunks.

    Raises:
      ValueError: an array is missing, or the table of names is damaged.
    """
    state = f"{checkpoint.rstrip('/')}/state"
    try:
        description = json.loads(read_file(checkpoint, ORBAX_INDEX) or b"")
        leaves = {
            "/".join(str(key["key"]) for key in leaf["key_metadata"]): leaf["value_metadata"]
            for leaf in description["tree_metadata"].values()
        }
        layout = dict(
            ocdbt=description.get("use_ocdbt", True), zarr3=description.get("use_zarr3", False)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{checkpoint}/{ORBAX_INDEX} is not Orbax's: {reason(error)}") from error
    return {
        name: open_array(state, name.replace("/", "."), whole=name.startswith(whole), **layout)
        for name, leaf in leaves.items()
        if leaf.get("value_type") not in _EMPTY_NODES
    }


def create_array(
    folder: str,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    ocdbt: bool,
    chunks: tuple[int, ...] | None = None,
) -> ts.TensorStore:
    """Make an array to be written to; zarr's second version.

    Args:
      folder: of the checkpoint's arrays.
      name: path of the array within it.
      shape: of the array.
      dtype: of the array.
      ocdbt: put it into the folder's OCDBT database; otherwise into a folder of its own.
      chunks: shape of a chunk; by default whole rows of the first axis, up to 64 MiB.
    """
    store = kvstore(folder)
    store = {"driver": "ocdbt", "base": store} if ocdbt else store
    spec = {
        "driver": "zarr",
        "kvstore": store | {"path": store.get("path", "") + name + "/"},
        "metadata": {
            "shape": list(shape),
            "chunks": list(_default_chunks(shape, dtype) if chunks is None else chunks),
            # As Orbax and T5X write them.
            "compressor": {"id": "zstd" if ocdbt else "gzip", "level": 1},
        },
        # Zeros are written like any number, so that a missing chunk shows.
        "store_data_equal_to_fill_value": True,
    }
    options = dict(dtype=np.dtype(dtype), create=True, open=True, write=True, read=True)
    return ts.open(spec, **options, context=ts.Context(_CONTEXT)).result()


def write_array(store: ts.TensorStore, array: np.ndarray) -> None:
    """Write chunk by chunk along the first axis, so that little is held twice."""
    if not array.shape:
        store.write(array).result()
        return
    rows = store.chunk_layout.write_chunk.shape[0]
    for start in range(0, array.shape[0], rows):
        block = slice(start, min(start + rows, array.shape[0]))
        store[block].write(array[block]).result()


def _default_chunks(shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
    if not shape:
        return ()
    size = math.prod(shape) * np.dtype(dtype).itemsize
    # An even split, not full chunks and a remainder: a short last chunk is stored full size.
    parts = min(shape[0], math.ceil(size / BLOCK_BYTES) or 1)
    return (math.ceil(shape[0] / parts), *shape[1:])


def reason(error: Exception) -> str:
    """The first line of a library's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
