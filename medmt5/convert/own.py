"""Our own checkpoints, read array by array and written without a training run.

The layout is Orbax's (an OCDBT database of zarr arrays and a table of names), so that a checkpoint
that was converted is one like any other. Saving while training is `checkpoints`' business.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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


class OwnSource(Source):
    """A checkpoint of ours, saved by a run or converted."""

    stored: dict[str, arrays.Stored]

    def read(self, key: str) -> np.ndarray:
        return self.stored[key].read()


def recognises(path: str) -> bool:
    """Whether a path is a model directory or a checkpoint of ours."""
    if epath.Path(path, checkpoints.CARD).exists():
        return True
    try:
        tree = arrays.read_file(checkpoints.latest_checkpoint(path), arrays.ORBAX_INDEX)
    except ValueError:
        return False
    return tree is not None and b"\"('params'" in tree


def open_source(path: str) -> OwnSource:
    """Open a model directory's newest checkpoint, or a given one.

    Raises:
      ValueError: it is damaged, or its arrays are not those of its `model.json`.
    """
    path = checkpoints.latest_checkpoint(path)
    stored = {
        # Which parameters were frozen does not matter to who reads them.
        "params/" + key.removeprefix("frozen/") if key.startswith("frozen/") else key: array
        for key, array in arrays.open_orbax(path, whole=("params/", "frozen/")).items()
    }
    shapes = below({key: array.shape for key, array in stored.items()}, "params/")
    folder = path if is_remote(path) else os.path.dirname(absolute(path))
    card = checkpoints.find_card(path)
    config = card.config if card else config_of(shapes, path)
    check_parameters(path, shapes, expected_shapes(config))
    source = OwnSource("medmt5", path, config, {k: v.shape for k, v in stored.items()})
    source.stored = stored
    if card:
        source.formats = checked_formats({"formats": card.formats}, path)
        source.extra_ids = card.extra_ids
        vocabulary = os.path.join(card.folder, checkpoints.VOCABULARY)
        source.vocabulary = vocabulary if is_remote(folder) or os.path.exists(vocabulary) else None
    return source


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
