"""Checkpoints: the whole state and the input position, saved while training goes on (Orbax).

`MODEL_DIR/checkpoint_<step>/` holds `state` and `input`; `MODEL_DIR/model.json` and a copy of the
vocabulary make the directory complete: `label` and `eval` need nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from medmt5.files import absolute, write_text
from medmt5.models.t5 import T5Config
from medmt5.state import TrainState, flat_leaves, flat_params
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

PREFIX = "checkpoint"
CARD = "model.json"
VOCABULARY = "sentencepiece.model"


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When to save and how many to keep; `None` keeps all."""

    period: int = 1000
    keep: int | None = 2


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, model_dir: str, config: CheckpointConfig):
        self.model_dir = absolute(model_dir)
        self.config = config
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self.model_dir,
            item_names=("state", "input"),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=self.config.keep,
                step_prefix=PREFIX,
                enable_async_checkpointing=True,
                create=True,
            ),
        )

    def save(self, step: int, state: TrainState, position: Mapping[str, Any]) -> None:
        """Start saving; the arrays are copied off the device before this returns."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state._asdict()), input=ocp.args.JsonSave(position)
            ),
            force=True,
        )

    def restore_latest(
        self, abstract: TrainState, shardings: TrainState
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, or None if there is none at all.

        One that cannot be read (a truncated file) is reported, moved aside as
        `unreadable_checkpoint_<step>` and the one before it is taken. If none can be read, all stay
        where they are: the next start must not begin anew without a word.

        Raises:
          ValueError: the checkpoint is of another model, optimiser or choice of trainable
            parameters, or none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        target = with_shardings(abstract, shardings)._asdict()
        unreadable: list[str] = []
        for step in steps:
            path = os.path.join(self.model_dir, f"{PREFIX}_{step}")
            restored, reason = None, "by another process"
            try:
                check_shapes(path, target)
                restored = _read(path, target)
            except ShapeError:
                raise
            except Exception as error:  # Orbax and TensorStore raise many kinds
                reason = _reason(error)
            if _in_all_processes(restored is not None):
                if unreadable:
                    self._set_aside(unreadable)
                return restored
            log.warning(
                "%s cannot be read (%s); falling back to the checkpoint before it", path, reason
            )
            unreadable.append(path)
        if steps:
            raise ValueError(f"none of the checkpoints in {self.model_dir} can be read")
        return None

    def _set_aside(self, paths: Sequence[str]) -> None:
        self._manager.close()
        if jax.process_index() == 0:
            for path in paths:
                aside = epath.Path(self.model_dir) / f"unreadable_{os.path.basename(path)}"
                if aside.exists():
                    aside.rmtree()
                epath.Path(path).rename(aside)
        multihost_utils.sync_global_devices("unreadable checkpoints are set aside")
        self._manager = self._open()

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


class ShapeError(ValueError):
    """A checkpoint of another model, optimiser or choice of trainable parameters."""


def _read(path: str, target: Mapping[str, Any]) -> tuple[TrainState, dict[str, Any]]:
    """A checkpoint's state and input position.

    Not through Orbax's manager, where the other processes would wait for one that fails.
    """
    folder = epath.Path(path)
    state = ocp.StandardCheckpointHandler().restore(
        folder / "state", args=ocp.args.StandardRestore(target)
    )
    position = ocp.JsonCheckpointHandler().restore(folder / "input")
    return TrainState(**state), position


def _in_all_processes(succeeded: bool) -> bool:
    return bool(multihost_utils.process_allgather(np.array(succeeded)).all())


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def with_shardings(abstract: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings
    )


def stored_tree(path: str) -> Mapping[str, Any]:
    """Names, shapes and types of a checkpoint's state, without its arrays."""
    metadata = ocp.StandardCheckpointer().metadata(os.path.join(path, "state"))
    stored = getattr(metadata, "item_metadata", metadata)
    return getattr(stored, "tree", stored)


def check_shapes(path: str, target: Mapping[str, Any]) -> None:
    """Raise ShapeError unless the checkpoint's arrays have the names and shapes of a state."""
    stored = stored_tree(path)
    if "key" not in stored:
        raise ShapeError(
            f"{path} was converted: it is no run to go on with. Start one from it in another "
            "MODEL_DIR, with INITIAL_CHECKPOINT_PATH"
        )
    have: dict[str, Any] = {}
    want: dict[str, Any] = {}
    for part in ("params", "frozen"):
        have |= {k: tuple(v.shape) for k, v in flat_params(stored.get(part) or {}).items()}
        want |= {k: tuple(v.shape) for k, v in flat_params(target.get(part) or {}).items()}
    if missing := sorted(want.keys() - have.keys()):
        raise ShapeError(
            f"{path} has no parameter {missing[0]} ({len(missing)} of the model's {len(want)} are "
            "missing); it is of another model: check the MODEL gin file"
        )
    for name in sorted(want):
        if have[name] != want[name]:
            raise ShapeError(
                f"{path} has {name} of shape {have[name]}, the model wants {want[name]}; "
                "check the MODEL gin file and VOCABULARY"
            )
    advice = (
        "keep what it had, or take its parameters alone into another MODEL_DIR: "
        "INITIAL_CHECKPOINT_PATH and INITIAL_CHECKPOINT_RESTORE = 'params'"
    )
    trained, wanted = flat_params(stored["params"]), flat_params(target["params"])
    if other := sorted(trained.keys() ^ wanted.keys()):
        raise ShapeError(
            f"{path} was saved with {len(trained)} trainable parameters, but `trainable` now "
            f"chooses {len(wanted)} ({other[0]} differs); {advice}"
        )
    if _leaf_shapes(stored.get("opt_state")) != _leaf_shapes(target["opt_state"]):
        raise ShapeError(f"{path} was saved with another optimiser; {advice}")
    if tuple(stored["key"].shape) != tuple(target["key"].shape):
        raise ShapeError(f"{path} was saved with another USE_HARDWARE_RNG; {advice}")


def _leaf_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in flat_leaves(tree).items()}


def latest_checkpoint(path: str) -> str:
    """The checkpoint directory that `path` is, or the newest one in the model directory `path`.

    Raises:
      ValueError: there is none.
    """
    if epath.Path(path, "state").is_dir():
        return absolute(path)
    steps = []
    if epath.Path(path).is_dir():
        names = (child.name for child in epath.Path(path).iterdir())
        found = (re.fullmatch(rf"{PREFIX}_(\d+)", name) for name in names)
        steps = sorted(int(match.group(1)) for match in found if match)
    if not steps:
        raise ValueError(
            f"no checkpoint at {path}; give a model directory (it holds {PREFIX}_<step> folders) "
            "or one checkpoint"
        )
    return os.path.join(absolute(path), f"{PREFIX}_{steps[-1]}")


class Card(NamedTuple):
    """What a model directory says of its model.

    Attributes:
      config: sizes.
      formats: task name -> description of its format.
      extra_ids: sentinels to append to the vocabulary; None without a vocabulary.
      folder: the directory, where the vocabulary is too.
    """

    config: T5Config
    formats: dict[str, Any]
    extra_ids: int | None
    folder: str


def write_card(
    model_dir: str, config: T5Config, vocabulary: Vocabulary | None, formats: Mapping[str, Any]
) -> None:
    """Write what is needed to use the model without its gin files.

    Args:
      model_dir: gets `model.json` and `sentencepiece.model`.
      config: of the model.
      vocabulary: copied; a converted checkpoint may have none.
      formats: task name -> `format.describe()`.
    """
    if jax.process_index() != 0:
        return
    target = epath.Path(model_dir) / VOCABULARY
    if vocabulary is not None and absolute(vocabulary.path) != absolute(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        epath.Path(vocabulary.path).copy(target, overwrite=True)
    card = {
        "config": config.to_json(),
        "formats": dict(formats),
        "extra_ids": None if vocabulary is None else vocabulary.extra_ids,
    }
    write_text(os.path.join(model_dir, CARD), json.dumps(card, indent=2, ensure_ascii=False))


def find_card(path: str) -> Card | None:
    """The card of a model directory or of a checkpoint in one; None if there is none.

    Raises:
      ValueError: it is damaged.
    """
    for folder in (path, os.path.dirname(absolute(path))):
        file = epath.Path(folder, CARD)
        if file.exists():
            try:
                card = json.loads(file.read_text(encoding="utf-8"))
                return Card(
                    T5Config(**card["config"]), card["formats"], card.get("extra_ids"), folder
                )
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{file} is damaged or of another version: {error}") from error
    return None
