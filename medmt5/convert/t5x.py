"""T5X's checkpoints: both layouts read, the older one written.

One table says where T5X keeps each array of ours; it serves both directions. `examples/t5` has our
names; `examples/scalable_t5` stacks all layers of a kind on axis 1 (and has a relative bias per
layer, as umT5).
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict

from medmt5.adafactor import SLOTS, factored_axes
from medmt5.convert import arrays
from medmt5.convert.source import (
    Source,
    check_parameters,
    config_of,
    expected_shapes,
    vocabulary_beside,
)
from medmt5.files import is_remote
from medmt5.models.t5 import T5Config

INDEX = "checkpoint"
VERSION = 3
MAX_INDEX_BYTES = 2**31  # a file that holds arrays itself is of a small model
FLOATS = ("float32", "bfloat16", "float16", "float64")

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where T5X keeps an array of ours.

    Attributes:
      stored: name, `target/...` or `state/param_states/...`.
      shape: of the stored array, all layers included.
      axis: of the layers in the stored array; None if it is not stacked.
      layer: index on that axis.
    """

    stored: str
    shape: tuple[int, ...]
    axis: int | None = None
    layer: int = 0

    @property
    def index(self) -> tuple[Any, ...]:
        """What selects our array from the stored one."""
        return () if self.axis is None else (*[slice(None)] * self.axis, self.layer)


def places(config: T5Config, *, scanned: bool) -> dict[str, Place]:
    """For every key of ours (`params/...`, `opt_state/v_row/...`, ...), where T5X keeps it.

    Every slot that Adafactor may have is listed; a checkpoint has some of them.
    """
    # Adafactor's own count is T5X's one step.
    table: dict[str, Place] = dict.fromkeys(("step", "opt_state/count"), Place("state/step", ()))
    for name, shape in expected_shapes(config).items():
        match = re.fullmatch(r"(encoder|decoder)/layers_(\d+)/(.+)", name) if scanned else None
        if match is None:
            kept = factored_axes(shape, 0)
            slots = {"m": shape, "v": shape}
            if kept:
                slots |= {"v_row": (shape[kept[0]],), "v_col": (shape[kept[1]],)}
            table[f"params/{name}"] = Place(f"target/{name}", shape)
            for slot, size in slots.items():
                table[f"opt_state/{slot}/{name}"] = Place(f"state/param_states/{name}/{slot}", size)
        else:
            table |= _stacked(config, name, *match.groups(), shape)
    return table


def _stacked(config: T5Config, name: str, stack: str, layer: str, rest: str, shape) -> dict:
    layers = getattr(config, f"num_{stack}_layers")
    inner, i = f"{stack}/{stack}/{rest}", int(layer)
    axes = _axes(rest)
    sizes = {
        "embed": config.emb_dim,
        "heads": config.num_heads,
        "kv": config.head_dim,
        "mlp": config.mlp_dim,
        "relpos_buckets": shape[-1],
        "layers": layers,
    }

    def place(stored: str, kept: Iterable[str]) -> Place:
        kept = tuple(kept)
        return Place(stored, tuple(sizes[a] for a in kept), kept.index("layers"), i)

    table = {
        f"params/{name}": place(f"target/{inner}", axes),
        f"opt_state/v/{name}": place(f"state/param_states/{inner}/v", axes),
        f"opt_state/m/{name}": place(f"state/param_states/{inner}/m", axes),
    }
    if name.endswith("/kernel"):
        # T5X's rules: v_row keeps `embed`; v_col the other axes. Ours goes by length.
        embed_first = axes[0] == "embed"
        ours = ("v_row", "v_col") if (factored_axes(shape, 0)[0] == 0) == embed_first else (
            "v_col", "v_row",
        )  # fmt: skip
        kept = ([a for a in axes if a in ("embed", "layers")], [a for a in axes if a != "embed"])
        for our_slot, their_slot, names in zip(ours, ("v_row", "v_col"), kept, strict=True):
            stored = f"state/param_states/{inner}/{their_slot}"
            table[f"opt_state/{our_slot}/{name}"] = place(stored, names)
    return table


def _axes(rest: str) -> tuple[str, ...]:
    """Axes of a stacked parameter, by the part of its name after the layer."""
    if rest.endswith("norm/scale"):
        return ("embed", "layers")
    if rest.endswith("rel_embedding"):
        return ("heads", "layers", "relpos_buckets")
    if rest.startswith("mlp/"):
        return ("mlp", "layers", "embed") if "/wo/" in rest else ("embed", "layers", "mlp")
    if "/out/" in rest:
        return ("heads", "layers", "kv", "embed")
    return ("embed", "layers", "heads", "kv")


def unstacked_shape(stored: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Our parameter names and shapes, from T5X's stacked ones (without `target/`)."""
    out: dict[str, tuple[int, ...]] = {}
    for name, shape in stored.items():
        match = re.fullmatch(r"(encoder|decoder)/\1/(.+)", name)
        if match is None:
            out[name] = shape
            continue
        stack, rest = match.groups()
        axes = _axes(rest)
        if len(axes) != len(shape):
            raise ValueError(f"{name} has shape {shape}, not the axes ({', '.join(axes)})")
        size = dict(zip(axes, shape, strict=True))
        joined = size.get("heads", 1) * size.get("kv", 1)
        flat = {"embed": size.get("embed"), "mlp": size.get("mlp"), "heads": joined}
        if rest.endswith("rel_embedding"):
            ours = (size["heads"], size["relpos_buckets"])
        else:
            ours = tuple(flat[a] for a in axes if a not in ("layers", "kv"))
        for i in range(size["layers"]):
            out[f"{stack}/layers_{i}/{rest}"] = ours
    return out


class T5XSource(Source):
    """A T5X checkpoint of either layout."""

    stored: dict[str, arrays.Stored]
    table: dict[str, Place]

    def read(self, key: str) -> np.ndarray:
        place = self.table[key]
        return self._ours(key, self.stored[place.stored].read(place.index))

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        by_stored: dict[str, list[str]] = {}
        for key in keys:
            by_stored.setdefault(self.table[key].stored, []).append(key)
        for stored, members in by_stored.items():  # each is read once
            whole = self.stored[stored].read()
            for key in members:
                yield key, self._ours(key, whole[self.table[key].index])
            del whole  # not beside the next one

    def _ours(self, key: str, part: np.ndarray) -> np.ndarray:
        part = part.reshape(self.arrays[key])
        return part if part.shape == () else np.ascontiguousarray(part, np.float32)


def recognises(path: str) -> bool:
    """Whether a path looks like a T5X checkpoint."""
    if os.path.isfile(path):
        return True
    if arrays.read_file(path, arrays.ORBAX_INDEX) is not None:
        return True
    return arrays.read_file(path, INDEX) is not None


def open_source(path: str, **known: Any) -> T5XSource:
    """Open a checkpoint of T5X: `checkpoint_<step>` of either layout, or a lone msgpack file.

    Args:
      path: local or `gs://`.
      known: fields of T5Config that its arrays do not tell, as `mlp_activations`.

    Raises:
      ValueError: it is damaged or of another kind.
    """
    if not os.path.isfile(path) and arrays.read_file(path, arrays.ORBAX_INDEX) is not None:
        stored = arrays.open_orbax(path, whole="target/")
    else:
        stored = _legacy(path)
    names = {name.removeprefix("target/"): array.shape for name, array in stored.items()
             if name.startswith("target/")}  # fmt: skip
    if not names:
        raise ValueError(f"{path} holds no parameters: nothing in it is named target/...")
    scanned = any(re.match(r"(encoder|decoder)/\1/", name) for name in names)
    shapes = unstacked_shape(names)
    config = config_of(shapes, path, **known)
    if not known:
        log.info("T5X does not say the activation: %s is taken", ",".join(config.mlp_activations))
    for name, array in stored.items():
        if name.startswith("target/") and array.dtype not in FLOATS:
            raise ValueError(f"{path}: {name} has type {array.dtype}; {', '.join(FLOATS)} are read")
    table = places(config, scanned=scanned)
    known = {place.stored: place for place in table.values()}
    unused = []
    for name, array in stored.items():
        if name in known and array.shape == known[name].shape:
            continue
        if name.startswith("state/param_states/") and array.shape in ((1,), ()):
            continue  # T5X's placeholder for a slot that is not used
        unused.append(name)
    present = stored.keys() - set(unused)
    expected = expected_shapes(config)
    check_parameters(path, shapes, expected_shapes(config))
    ours: dict[str, tuple[int, ...]] = {}
    for key, place in table.items():
        if place.stored not in present or stored[place.stored].shape != place.shape:
            continue
        prefix, _, name = key.partition("/")
        if prefix == "params":
            ours[key] = expected[name]
        elif place.shape == ():
            ours[key] = ()
        else:
            slot, _, name = name.partition("/")
            kept = factored_axes(expected[name], 0)
            at = {"v_row": 0, "v_col": 1}.get(slot)
            ours[key] = expected[name] if at is None else (expected[name][kept[at]],)
    if not any(key.startswith("opt_state/") and key != "opt_state/count" for key in ours):
        ours.pop("opt_state/count", None)  # the step alone is no optimiser state
    source = T5XSource("t5x", path, config, ours, sorted(unused))
    source.stored, source.table = stored, table
    if not is_remote(path):
        folder = os.path.abspath(os.path.dirname(path) if os.path.isfile(path) else path)
        source.vocabulary = vocabulary_beside(folder, os.path.dirname(folder))
    return source


def _legacy(path: str) -> dict[str, arrays.Stored]:
    lone = os.path.isfile(path)
    folder, name = (os.path.dirname(path) or ".", os.path.basename(path)) if lone else (path, INDEX)
    index = f"{folder.rstrip('/')}/{name}"
    content = arrays.read_file(folder, name) or b""
    tree = _read_index(index, content)
    if tree.get("version") != VERSION:
        raise ValueError(
            f"{index} is of T5X's version {tree.get('version')}; version {VERSION} is read "
            "(June 2021 and later); save it again with a newer T5X"
        )
    out: dict[str, arrays.Stored] = {}
    for keys, leaf in flatten_dict(tree["optimizer"], is_leaf=_is_spec).items():
        key = "/".join(map(str, keys))
        if isinstance(leaf, dict) and leaf:
            out[key] = _open_spec(folder, index, key, leaf)
        elif leaf is not None and hasattr(leaf, "shape"):
            out[key] = arrays.Stored(
                tuple(leaf.shape),
                str(leaf.dtype),
                lambda index=(), leaf=leaf: np.asarray(leaf)[index],
            )
    return out


def _is_spec(_path: Any, value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("driver"), str)


def _read_index(index: str, content: bytes) -> dict[str, Any]:
    """The msgpack map, which holds data only; pickles and TensorFlow's files are told apart."""
    accepted = "the msgpack file `checkpoint` of a T5X checkpoint is accepted"
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(MAX_INDEX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{index} is damaged: {error}") from error
        if len(content) > MAX_INDEX_BYTES:
            raise ValueError(f"{index} unpacks to more than {MAX_INDEX_BYTES:,} bytes; {accepted}")
    if content.startswith(b"model_checkpoint_path"):
        raise ValueError(f"{index} is of TensorFlow (Mesh TensorFlow's T5), not of T5X; {accepted}")
    if content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise ValueError(f"{index} is a pickle, which would execute code; {accepted}")
    if content[:4] == b"PK\x03\x04":
        raise ValueError(f"{index} is a zip file (PyTorch's pickles are); {accepted}")
    try:
        tree = serialization.msgpack_restore(content)
    except Exception as error:  # flax and msgpack raise many kinds
        found = arrays.reason(error)
        raise ValueError(f"{index} is damaged or no msgpack ({found}); {accepted}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("optimizer"), dict):
        found = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
        raise ValueError(f"{index} holds {found}, not version and optimizer; {accepted}")
    return tree


def _open_spec(folder: str, index: str, key: str, spec: Mapping[str, Any]) -> arrays.Stored:
    """An array in a folder of its own. Its bucket, if it names one, is ignored: it has moved."""
    store = spec.get("kvstore")
    relative = store.get("path") if isinstance(store, dict) else spec.get("path")
    if spec["driver"] != "zarr" or not isinstance(relative, str):
        raise ValueError(f"{index}: {key} is stored by {spec['driver']!r}; zarr is read")
    parts = [part for part in relative.split("/") if part]
    if relative.startswith("/") or ".." in parts or set("\\\0") & set(relative) or not parts:
        raise ValueError(
            f"{index}: the path of {key} is {relative!r}; only paths within the checkpoint's own "
            "folder are read"
        )
    if not is_remote(folder):
        real = os.path.realpath(os.path.join(folder, *parts))
        if not real.startswith(os.path.realpath(folder) + os.sep):
            raise ValueError(f"{index}: {relative} leads out of the checkpoint's folder, to {real}")
    wanted = {k: v for k, v in dict(spec.get("metadata") or {}).items() if k in ("shape", "dtype")}
    return arrays.open_array(
        folder, "/".join(parts), ocdbt=False, metadata=wanted, whole=key.startswith("target/")
    )


class Writer:
    """Writes `checkpoint_<step>`-like folders in T5X's older layout, array by array.

    Args:
      folder: made; becomes the checkpoint.
      config: of the model. Per-layer relative biases are written stacked, for `scalable_t5`.
      keys: what will be written. Adafactor's slots that T5X expects and that are not among them
        start at zero, as in a fresh T5X run.
      dtype: of the parameters on disk.
    """

    def __init__(self, folder: str, config: T5Config, keys: Iterable[str], *, dtype: Any):
        self.folder = folder
        scanned = config.relative_bias_per_layer
        self.table = places(config, scanned=scanned)
        self.tree: dict[str, Any] = {}
        self._stores: dict[str, Any] = {}
        os.makedirs(folder)
        keys = set(keys)
        needed = _needed_slots(config, scanned)
        slots = {key for key in keys if key.startswith("opt_state/")}
        beside = {"opt_state/count"} | {key for key in slots if key.startswith("opt_state/m/")}
        if slots and slots - beside != needed:
            log.warning("the optimiser's slots are not those of T5X's Adafactor: left behind")
            keys -= slots
        self.keys = keys - {"opt_state/count"}  # T5X has one step for both
        for key in sorted(self.table.keys() & (self.keys | needed | {"step"})):
            self._declare(self.table[key], dtype if key.startswith("params/") else np.float32)
        for name in {self.table[k].stored.rsplit("/", 1)[0] for k in needed}:
            for slot in SLOTS:  # T5X wants all four, one zero for those without use
                self.tree.setdefault(f"{name}/{slot}", np.zeros((1,), np.float32))

    def _declare(self, place: Place, dtype: Any) -> None:
        if place.stored in self.tree:
            return
        if place.stored == "state/step":
            self.tree[place.stored] = np.zeros((), np.int32)
        elif place.stored.endswith(("/v_row", "/v_col")):
            self.tree[place.stored] = np.zeros(place.shape, np.float32)
        else:
            path = place.stored.replace("/", ".")
            chunks = None
            if place.axis is not None:
                chunks = tuple(1 if a == place.axis else n for a, n in enumerate(place.shape))
            store = arrays.create_array(
                self.folder, path, place.shape, dtype, ocdbt=False, chunks=chunks
            )
            self._stores[place.stored] = store
            self.tree[place.stored] = {
                "driver": "zarr",
                "dtype": np.dtype(dtype).name,
                "kvstore": {"driver": "file", "path": path + "/"},
                "metadata": {
                    "shape": list(place.shape),
                    "chunks": list(store.chunk_layout.write_chunk.shape),
                    "compressor": {"id": "gzip", "level": 1},
                },
            }

    def write(self, key: str, array: np.ndarray) -> None:
        """Write one array of ours; keys that T5X has no place for are passed over."""
        if key not in self.keys or key not in self.table:
            return
        place = self.table[key]
        stored = self._stores.get(place.stored)
        shape = tuple(n for a, n in enumerate(place.shape) if a != place.axis)
        if stored is None:
            self.tree[place.stored][place.index] = np.asarray(array).reshape(shape)
        else:
            target = stored[place.index] if place.axis is not None else stored
            arrays.write_array(target, np.asarray(array, stored.dtype.numpy_dtype).reshape(shape))

    def close(self) -> None:
        """Write the index, without which T5X sees no checkpoint."""
        tree = {"version": VERSION, "optimizer": unflatten_dict(self.tree, sep="/")}
        content = serialization.msgpack_serialize(tree)
        with open(os.path.join(self.folder, INDEX), "wb") as file:
            file.write(content)


def _needed_slots(config: T5Config, scanned: bool) -> set[str]:
    """Keys of the slots that T5X's Adafactor has by default, without momentum."""
    needed = set()
    for name, shape in expected_shapes(config).items():
        stacked = scanned and re.match(r"(encoder|decoder)/layers_", name)
        always = stacked and name.endswith("/kernel")
        slots = ("v_row", "v_col") if factored_axes(shape, 0 if always else 128) else ("v",)
        needed |= {f"opt_state/{slot}/{name}" for slot in slots}
    return needed
