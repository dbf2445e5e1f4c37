"""Our own checkpoints, read array by array and written without a training run.

The layout is Orbax's (an OCDBT database of zarr arrays and a table of names), so that a checkpoint
that was converted is one like any other. Saving while training is `checkpoints`' business.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from medmt5 import checkpoints
from medmt5.convert import arrays
from medmt5.convert.source import (
    Source,
    below,
    check_parameters,
    checked_formats,
    config_of,
    expected_shapes,
)
from medmt5.files import absolute, is_remote
from medmt5.models import quantized
from medmt5.optimizer_options import EMA_SLOT
from medmt5.state import parameter_of

log = logging.getLogger(__name__)


class OwnSource(Source):
    """A checkpoint of ours, saved by a run or converted.

    Attributes:
      stored: by key.
      averages: number of parameters that are read as their averages; 0 once that was logged.
      base: has the parameters that are not stored here; None if all are.
      base_fingerprint: of its numbers, as the run's card has it.
    """

    stored: dict[str, arrays.Stored]
    averages: int
    base: Source | None = None
    base_fingerprint: str = ""

    def read(self, key: str) -> np.ndarray:
        if self.averages and key.startswith("params/"):
            log.info("%s: %d parameters are their averages over training", self.path, self.averages)
            self.averages = 0
        if self.base is not None and key not in self.stored:
            return self.base.read(key)
        return self.stored[key].read()

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        if self.base is None:
            yield from super().stream(keys)
            return
        keys = list(keys)
        yield from super().stream(key for key in keys if key in self.stored)
        yield from self.base.stream(key for key in keys if key not in self.stored)


def recognises(path: str) -> bool:
    """Whether a path is a model directory or a checkpoint of ours."""
    if epath.Path(path, checkpoints.CARD).exists():
        return True
    try:
        tree = arrays.read_file(checkpoints.latest_checkpoint(path), arrays.ORBAX_INDEX)
    except ValueError:
        return False
    return tree is not None and b"\"('params'" in tree


def open_source(path: str, *, averaged: bool = True, verify: bool = True) -> OwnSource:
    """Open a model directory's newest checkpoint, or a given one.

    Args:
      path: of it.
      averaged, verify: as for `source.open_source`.

    Raises:
      ValueError: it is damaged, or its arrays are not those of its `model.json`.
    """
    path = checkpoints.latest_checkpoint(path)
    stored = {
        # Which parameters were frozen does not matter to who reads them.
        "params/" + key.removeprefix("frozen/") if key.startswith("frozen/") else key: array
        for key, array in arrays.open_orbax(path).items()
    }
    stored = _as_float32(stored)
    averages = _averages(stored) if averaged else {}
    if averages:
        # The optimiser's arrays belong to the last parameters, not to their averages.
        stored = {k: v for k, v in stored.items() if not k.startswith("opt_state/")} | averages
    shapes = {key: array.shape for key, array in stored.items()}
    folder = path if is_remote(path) else os.path.dirname(absolute(path))
    card = checkpoints.find_card(path)
    base = open_base(card.base, card.folder, verify=verify) if card and card.base else None
    if base is not None:
        of_base = {f"params/{name}": shape for name, shape in base.params.items()}
        shapes = of_base | shapes
    params = below(shapes, "params/")
    config = card.config if card else config_of(params, path)
    floats = dataclasses.replace(config, base_weights="float32")
    check_parameters(path, params, expected_shapes(floats))
    source = OwnSource("medmt5", path, config, shapes)
    source.stored, source.averages, source.base = stored, len(averages), base
    if card and card.base:
        source.base_fingerprint = card.base.fingerprint
    if card:
        source.formats = checked_formats({"formats": card.formats}, path)
        source.extra_ids = card.extra_ids
        vocabulary = os.path.join(card.folder, checkpoints.VOCABULARY)
        source.vocabulary = vocabulary if is_remote(folder) or os.path.exists(vocabulary) else None
    return source


def open_base(base: checkpoints.Base, folder: str, *, verify: bool = True) -> Source:
    """Open the checkpoint that has a run's frozen parameters.

    Args:
      base: as the run's card names it.
      folder: of the run, for messages.
      verify: as for `source.open_source`.

    Raises:
      ValueError: it is not there, or has other numbers.
    """
    from medmt5.convert import source as of_any_kind
    from medmt5.convert.fingerprint import fingerprint

    if not is_remote(base.path) and not os.path.exists(base.path):
        raise ValueError(
            f"{base.path} is not there, which has the parameters that {folder} did not train; put "
            "it back, or write where it is into `base` of "
            f"{os.path.join(folder, checkpoints.CARD)}"
        )
    source = of_any_kind.open_source(base.path, verify=verify)
    if verify and (found := fingerprint(source)) != base.fingerprint:
        raise ValueError(
            f"{base.path} has other numbers (fingerprint {found}) than the base that "
            f"{folder} was trained on ({base.fingerprint}); put that one back"
        )
    return source


def _as_float32(stored: dict[str, arrays.Stored]) -> dict[str, arrays.Stored]:
    """Matrices that a run held in int8 as what they stand for, without their scales."""
    out = quantized.without_scales(stored)
    for key in stored.keys() - out.keys():
        name = key.removesuffix(quantized.SCALE)
        if name in stored:  # else it is missing, which is said where all names are compared
            out[name] = _dequantized(stored[name], stored[key])
    return out


def _dequantized(values: arrays.Stored, scale: arrays.Stored) -> arrays.Stored:
    def read(index: Any = ()) -> np.ndarray:
        scales = np.broadcast_to(scale.read(), values.shape)
        return quantized.dequantize(values.read(index), scales[index])

    return arrays.Stored(values.shape, "float32", read)


def _averages(stored: Mapping[str, arrays.Stored]) -> dict[str, arrays.Stored]:
    """The averages that `optimizer_options.with_ema` kept, by the keys of their parameters."""
    params = below(stored, "params/")
    found = {}
    for key, array in below(stored, "opt_state/").items():
        name = parameter_of(key, params)
        if name and key.removesuffix(f"/{name}").split("/")[-1] == EMA_SLOT:
            found[f"params/{name}"] = array
    return found


class Writer:
    """Writes a model directory with one checkpoint, array by array.

    Args:
      folder: made; gets `checkpoint_<step>`, `model.json` and the vocabulary.
      arrays_: shape by key of what will be written.
      step: of the checkpoint.
    """

    def __init__(self, folder: str, arrays_: Mapping[str, tuple[int, ...]], *, step: int):
        self.folder, self.step = folder, step
        self.checkpoint = os.path.join(folder, f"{checkpoints.PREFIX}_{step}")
        self.state = os.path.join(self.checkpoint, "state")
        self.shapes = {key: tuple(shape) for key, shape in arrays_.items()}
        os.makedirs(self.state)

    def write(self, key: str, array: np.ndarray) -> None:
        """Write one array under our name."""
        dtype = np.int32 if key in ("step", "opt_state/count") else np.float32
        shape = self.shapes[key]
        store = arrays.create_array(self.state, key.replace("/", "."), shape, dtype, ocdbt=True)
        arrays.write_array(store, np.asarray(array, dtype).reshape(shape))

    def close(self) -> None:
        """Write the table of names, without which Orbax sees nothing."""
        tree = {}
        for key, shape in self.shapes.items():
            words = key.split("/")
            tree[str(tuple(words))] = {
                "key_metadata": [{"key": word, "key_type": 2} for word in words],
                "value_metadata": {
                    "value_type": "jax.Array",
                    "skip_deserialize": False,
                    "write_shape": list(shape),
                },
            }
        _write_json(
            os.path.join(self.state, "_METADATA"),
            {
                "tree_metadata": tree,
                "use_ocdbt": True,
                "use_zarr3": False,
                "store_array_data_equal_to_fill_value": True,
                "custom_metadata": None,
            },
        )
        _write_json(
            os.path.join(self.checkpoint, "_CHECKPOINT_METADATA"),
            {"item_handlers": {"state": _HANDLER}, "metrics": {}, "custom_metadata": {}},
        )


_HANDLER = "orbax.checkpoint._src.handlers.standard_checkpoint_handler.StandardCheckpointHandler"


def _write_json(path: str, value: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)
