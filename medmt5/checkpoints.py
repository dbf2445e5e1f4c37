"""Checkpoints: the whole state and the input position, saved while training goes on (Orbax).

`MODEL_DIR/checkpoint_<step>/` holds `state` and `input`; `MODEL_DIR/model.json` and a copy of the
vocabulary make the directory complete: `label` and `eval` need nothing else. Where few parameters
train, those that stay as they were in the initial checkpoint are not saved again; `model.json` then
says where that is, and of which numbers.
"""

from __future__ import annotations

import dataclasses
import difflib
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
from orbax.checkpoint.checkpoint_managers import preservation_policy

from medmt5.files import absolute, write_text
from medmt5.models.t5 import T5Config
from medmt5.state import TrainState, flat_leaves, flat_params
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)

PREFIX = "checkpoint"
CARD = "model.json"
VOCABULARY = "sentencepiece.model"


BEST = "best"  # MODEL_DIR/best is the checkpoint with the best score
MODES = ("max", "min")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When to save and how many to keep.

    Attributes:
      period: steps between saves.
      keep: newest checkpoints to keep; None for all.
      metric_name_to_monitor: a score of the evaluations, such as `rte_en/constrained/accuracy`. The
        checkpoint at which it is best is saved and kept too: `MODEL_DIR/best`.
      metric_mode: whether "max" or "min" is best. Both names as in T5X.

    Raises:
      ValueError: another mode.
    """

    period: int = 1000
    keep: int | None = 2
    metric_name_to_monitor: str | None = None
    metric_mode: str = "max"

    def __post_init__(self):
        if self.metric_mode not in MODES:
            raise ValueError(f"metric_mode is {self.metric_mode!r}; use {' or '.join(MODES)}")


class Score(NamedTuple):
    """A checkpoint's score, stored beside its state."""

    name: str
    value: float
    mode: str

    @property
    def rank(self) -> float:
        """Lower is better."""
        return -self.value if self.mode == "max" else self.value


def read_scores(model_dir: str) -> dict[int, Score]:
    """step -> score of the checkpoints that have one."""
    found = {}
    for step in checkpoint_steps(model_dir):
        file = epath.Path(model_dir, f"{PREFIX}_{step}", "score", "metadata")
        if file.exists():
            found[step] = Score(**json.loads(file.read_text()))
    return found


def best_step(scores: Mapping[int, Score]) -> int | None:
    """The first of the steps with the best score."""
    return min(scores, key=lambda step: (scores[step].rank, step), default=None)


class _Best(preservation_policy.PreservationPolicy):
    """Keeps the checkpoint with the best score."""

    def __init__(self):
        self.scores: dict[int, Score] = {}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        best = best_step(self.scores)
        return [info.step == best for info in checkpoints]


class Checkpoints:
    """The checkpoints of one run.

    Args:
      model_dir: made if it is not there.
      config: when to save, what to keep.
      with_frozen: save frozen parameters too; without, they are given back when restoring.
    """

    def __init__(self, model_dir: str, config: CheckpointConfig, *, with_frozen: bool = True):
        self.model_dir = absolute(model_dir)
        self.config, self.with_frozen = config, with_frozen
        self._best = _Best()
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        manager = ocp.CheckpointManager(
            self.model_dir,
            item_names=("state", "input", "score"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(
                    [preservation_policy.LatestN(self.config.keep), self._best]
                ),
                step_prefix=PREFIX,
                enable_async_checkpointing=True,
                create=True,
            ),
        )
        scores = {
            step: score
            for step, score in read_scores(self.model_dir).items()
            if (score.name, score.mode)
            == (self.config.metric_name_to_monitor, self.config.metric_mode)
        }
        self._best.scores = scores
        return manager

    def score(self, values: Mapping[str, float]) -> Score | None:
        """The score to monitor among those of an evaluation; None where none is monitored.

        Raises:
          ValueError: it is not among them.
        """
        name = self.config.metric_name_to_monitor
        if name is None:
            return None
        if name not in values:
            near = difflib.get_close_matches(name, values, n=1) or sorted(values)
            raise ValueError(
                f"metric_name_to_monitor is {name!r}, which no evaluation gives; there is "
                f"{', '.join(near)}"
            )
        return Score(name, float(values[name]), self.config.metric_mode)

    def is_best(self, score: Score | None) -> bool:
        """Whether it is better than those of all checkpoints."""
        return score is not None and all(score.rank < s.rank for s in self._best.scores.values())

    def save(
        self,
        step: int,
        state: TrainState,
        position: Mapping[str, Any],
        score: Score | None = None,
    ) -> None:
        """Start saving; the arrays are copied off the device before this returns."""
        if step in self._manager.all_steps():
            return
        items: dict[str, Any] = {
            "state": ocp.args.StandardSave(self._saved(state)._asdict()),
            "input": ocp.args.JsonSave(position),
        }
        if score is not None:
            items["score"] = ocp.args.JsonSave(score._asdict())
            self._best.scores[step] = score
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)

    def _saved(self, state: TrainState) -> TrainState:
        return state if self.with_frozen else state._replace(frozen={})

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
        target = self._saved(with_shardings(abstract, shardings))._asdict()
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


def checkpoint_steps(model_dir: str) -> list[int]:
    """Steps of the checkpoints of a model directory, ascending."""
    if not epath.Path(model_dir).is_dir():
        return []
    names = (child.name for child in epath.Path(model_dir).iterdir())
    found = (re.fullmatch(rf"{PREFIX}_(\d+)", name) for name in names)
    return sorted(int(match.group(1)) for match in found if match)


def finished_steps(model_dir: str) -> list[int]:
    """Steps whose saving came to its end, ascending: a bucket keeps the folders of the others too.

    They are those that `Checkpoints.restore_latest` sees.
    """
    folders = {
        step: epath.Path(model_dir, f"{PREFIX}_{step}") for step in checkpoint_steps(model_dir)
    }
    finished = [n for n, folder in folders.items() if ocp.utils.is_checkpoint_finalized(folder)]
    if begun := sorted(folders.keys() - set(finished)):
        log.warning("%s: the saving of steps %s did not end; they do not count", model_dir, begun)
    return finished


def latest_checkpoint(path: str) -> str:
    """The checkpoint directory that `path` is, or the newest one in the model directory `path`.

    `MODEL_DIR/best` is the one with the best score.

    Raises:
      ValueError: there is none.
    """
    if epath.Path(path, "state").is_dir():
        return absolute(path)
    folder, last = os.path.split(absolute(path).rstrip("/"))
    if last == BEST and not epath.Path(path).exists():
        step = best_step(read_scores(folder))
        if step is None:
            raise ValueError(
                f"no checkpoint in {folder} has a score; a run that sets BEST_METRIC stores them"
            )
        return os.path.join(folder, f"{PREFIX}_{step}")
    steps = checkpoint_steps(path)
    if not steps:
        raise ValueError(
            f"no checkpoint at {path}; give a model directory (it holds {PREFIX}_<step> folders) "
            "or one checkpoint"
        )
    return os.path.join(absolute(path), f"{PREFIX}_{steps[-1]}")


class Base(NamedTuple):
    """The checkpoint that has the parameters which a run neither trains nor saves.

    Attributes:
      path: of that checkpoint, when the run began.
      fingerprint: of its numbers; see `convert.fingerprint`.
    """

    path: str
    fingerprint: str


class Card(NamedTuple):
    """What a model directory says of its model.

    Attributes:
      config: sizes.
      formats: task name -> description of its format.
      extra_ids: sentinels to append to the vocabulary; None without a vocabulary.
      folder: the directory, where the vocabulary is too.
      base: where the other parameters are; None if all are here.
    """

    config: T5Config
    formats: dict[str, Any]
    extra_ids: int | None
    folder: str
    base: Base | None = None


def write_card(
    model_dir: str,
    config: T5Config,
    vocabulary: Vocabulary | None,
    formats: Mapping[str, Any],
    base: Base | None = None,
) -> None:
    """Write what is needed to use the model without its gin files.

    Args:
      model_dir: gets `model.json` and `sentencepiece.model`.
      config: of the model.
      vocabulary: copied; a converted checkpoint may have none.
      formats: task name -> `format.describe()`.
      base: as in `Card`.
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
    if base is not None:
        card["base"] = base._asdict()
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
                base = card.get("base")
                return Card(
                    T5Config(**card["config"]),
                    card["formats"],
                    card.get("extra_ids"),
                    folder,
                    base and Base(**base),
                )
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{file} is damaged or of another version: {error}") from error
    return None
