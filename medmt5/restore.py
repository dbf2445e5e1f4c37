"""Starting from a checkpoint of any kind: ours, T5X's or Hugging Face's.

Going on with a run after an interruption is `checkpoints`' business; this is about the first state
of a new one. Nothing is taken in silence: what is missing, of another shape or unused is named.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax.traverse_util import unflatten_dict

from medmt5 import checkpoints
from medmt5.adapters.adapted import holder
from medmt5.adapters.meaning import check_meaning
from medmt5.convert.fingerprint import fingerprint
from medmt5.convert.own import OwnSource, open_base
from medmt5.convert.source import Source, check_parameters, listing, open_source
from medmt5.models import quantized, soft_prompt
from medmt5.models.adapter_names import is_adapters
from medmt5.models.t5 import T5Config
from medmt5.optimizer_options import EMA_SLOT
from medmt5.patterns import compiled
from medmt5.state import (
    Architecture,
    Params,
    TrainState,
    count_parameters,
    flat_leaves,
    flat_params,
    parameter_of,
)
from medmt5.vocabulary import Vocabulary

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RestoreCheckpointConfig:
    """What to start from.

    Attributes:
      path: a checkpoint or model directory of medmt5, a T5X checkpoint, or a Hugging Face
        directory; None starts from random weights.
      restore: "state" takes the parameters, and the step and the optimiser's state where the
        checkpoint has them, as T5X does; "params" takes the parameters and starts at step 0.
      assignment_map: pairs (regular expression over our full names, name in the checkpoint, in
        which \\1 is a group); the first that matches counts. None instead of a name leaves the
        parameter as it was initialised. As in T5X.
      resize: regular expression over full names: where shapes differ, the part that both have is
        taken, from the first row on, and the rest stays as initialised. A vocabulary that grew:
        `token_embedder/embedding|decoder/logits_dense/kernel`.
    """

    path: str | None
    restore: str = "state"
    assignment_map: Sequence[tuple[str, str | None]] = ()
    resize: str = ""

    def __post_init__(self):
        if self.restore not in ("state", "params"):
            raise ValueError(f"restore is {self.restore!r}; use 'state' or 'params'")
        for pair in self.assignment_map:
            if len(pair) != 2:
                raise ValueError(f"assignment_map has {pair!r}; use pairs (pattern, name or None)")
        for pattern in (*(pair[0] for pair in self.assignment_map), self.resize):
            compiled(pattern, "pattern")


class Plan(NamedTuple):
    """What is read from where.

    Attributes:
      source: the checkpoint.
      parameters: our name -> name there, for those that are taken.
      resized: our names of those that are taken in part.
      slots: keys of the optimiser's arrays that are taken.
      with_step: the step is taken.
    """

    source: Source
    parameters: dict[str, str]
    resized: frozenset[str]
    slots: tuple[str, ...]
    with_step: bool


def plan(
    config: RestoreCheckpointConfig,
    abstract: TrainState,
    model: T5Config,
    *,
    vocabulary: Vocabulary | None = None,
) -> Plan:
    """Open the checkpoint and match it with a state, without reading its arrays.

    Args:
      config: what to take; its path must be given.
      abstract: the state to fill, shapes only.
      model: of that state.
      vocabulary: in use; a warning is logged if the checkpoint comes with another one.

    Raises:
      ValueError: names every parameter that is missing or of another shape; or adapters would be
        taken for others, or a second stage does not find its first.
    """
    assert config.path is not None
    source = open_source(config.path, averaged=config.restore == "params")
    _compare_vocabularies(source, vocabulary)
    want = quantized.without_scales(flat_params(abstract.params) | flat_params(abstract.frozen))
    have = source.params
    taken: dict[str, str] = {}
    resized: set[str] = set()
    # A base has no adapter yet; one that is frozen, though, must come from somewhere.
    new = set(filter(is_adapters, flat_params(abstract.params)))
    frozen = flat_params(abstract.frozen)
    fresh: list[str] = []
    problems: list[str] = []
    for pattern in (*(pair[0] for pair in config.assignment_map), config.resize):
        if pattern and not any(re.fullmatch(pattern, name) for name in want):
            log.warning(
                "the pattern %r matches no parameter; names look like %s", pattern, min(want)
            )
    for name, leaf in sorted(want.items()):
        there = _assigned(name, config.assignment_map)
        if there is None or (there not in have and name in new):
            fresh.append(name)
        elif there == name and name not in have and name in frozen and is_adapters(name):
            raise ValueError(
                f"{source.path} has no {name}, which this recipe freezes: it is a second stage. "
                "Give the MODEL_DIR of the first (or its /best), that of prompt.gin or lora.gin "
                "with the same PROMPT_ or LORA_ macros, as INITIAL_CHECKPOINT_PATH"
            )
        elif there not in have:
            problems.append(f"{name}: {'' if there == name else there + ' '}is missing")
        elif have[there] == leaf.shape:
            taken[name] = there
        elif (
            config.resize
            and leaf.dtype != jnp.int8  # frozen: the rows that it adds would stay random
            and re.fullmatch(config.resize, name)
            and len(have[there]) == len(leaf.shape)
        ):
            taken[name] = there
            resized.add(name)
        else:
            problems.append(f"{name} is {have[there]} there, {leaf.shape} in the model")
    if problems:
        raise ValueError(
            f"{source.path} ({source.kind}) does not fit the model in {len(problems)} of its "
            f"{len(want)} parameters: {listing(problems)}. Check the MODEL gin file; "
            "INITIAL_CHECKPOINT_ASSIGNMENT_MAP = [('pattern', None)] leaves parameters as "
            "initialised, INITIAL_CHECKPOINT_RESIZE = 'pattern' takes the rows that both have"
        )
    check_meaning(source, model, {taken[name] for name in taken.keys() - resized})
    for what, names in (("stay as initialised", fresh), ("are taken in part", sorted(resized))):
        if names:
            log.info("%d parameters %s: %s", len(names), what, listing(names))
    unused = [*source.unused, *sorted(have.keys() - taken.values())]
    if dropped := [name for name in unused if name in soft_prompt.PATHS]:
        log.info("%s: its soft prompt is left behind (%s)", source.path, ", ".join(dropped))
        unused = [name for name in unused if name not in dropped]
    if unused:
        log.warning("%s has %d arrays without use: %s", source.path, len(unused), listing(unused))
    as_they_are = {name for name, there in taken.items() if name == there} - resized
    slots = () if config.restore == "params" else _slots(source, abstract, as_they_are)
    return Plan(source, taken, frozenset(resized), slots, config.restore == "state")


def reference(plan: Plan, abstract: TrainState) -> checkpoints.Base | None:
    """The checkpoint whose parameters need not be saved again, being what a state has frozen.

    Only if that is all of them, as they are, and more than what trains: adapters and soft prompts.

    Args:
      plan: of this state.
      abstract: the state, shapes only.
    """
    frozen = quantized.without_scales(flat_params(abstract.frozen))
    if any(EMA_SLOT in slot.split("/") for slot in plan.source.slots):
        return None  # it was opened as it was saved; as a base, its averages would be read
    as_they_are = {name for name, there in plan.parameters.items() if name == there} - plan.resized
    few = count_parameters(abstract.params) < count_parameters(abstract.frozen)
    if not few or not frozen.keys() <= as_they_are:
        return None
    found = holder(plan.source, frozen.keys())
    if found is None:
        return None
    if isinstance(plan.source, OwnSource) and found is plan.source.base:
        return checkpoints.Base(found.path, plan.source.base_fingerprint)  # compared at opening
    return checkpoints.Base(found.path, fingerprint(found))


def with_frozen(
    state: TrainState,
    base: checkpoints.Base,
    abstract: TrainState,
    shardings: TrainState,
    *,
    model_dir: str,
) -> TrainState:
    """A restored state with the frozen parameters that its checkpoint left to `base`.

    Args:
      state: without them.
      base: as the run's card names it.
      abstract, shardings: of the whole state.
      model_dir: of the run, for messages.

    Raises:
      ValueError: the base is not there, or has other numbers.
    """
    source = open_base(base, model_dir)
    where, frozen = flat_params(shardings.frozen), {}
    want = quantized.without_scales(flat_params(abstract.frozen))
    for key, array in source.stream(f"params/{name}" for name in want):
        name = key.removeprefix("params/")
        frozen |= _held(name, array, want[name].dtype, where)
        del array
    return state._replace(frozen=unflatten_dict(frozen, sep="/"))


def _assigned(name: str, assignment_map: Sequence[tuple[str, str | None]]) -> str | None:
    for pattern, replacement in assignment_map:
        match = re.fullmatch(pattern, name)
        if match:
            try:
                return None if replacement is None else match.expand(replacement)
            except re.error as error:
                raise ValueError(f"assignment_map: {replacement!r}: {error}") from error
    return name


def _slots(source: Source, abstract: TrainState, whole: set[str]) -> tuple[str, ...]:
    """Keys of the optimiser's arrays to take: all but those of parameters not taken as they are."""
    if not source.slots:
        log.warning("%s holds no optimiser state: the optimiser starts anew", source.path)
        return ()
    trained = flat_params(abstract.params)
    want = {}
    for name, leaf in flat_leaves(abstract.opt_state).items():
        parameter = parameter_of(name, trained)
        if parameter is None or parameter in whole:
            want[f"opt_state/{name}"] = tuple(leaf.shape)
    if differ := sorted(key for key in want if source.arrays.get(key) != want[key]):
        raise ValueError(
            f"{source.path} was saved with another optimiser: it has no {differ[0]} of shape "
            f"{want[differ[0]]} ({len(differ)} of {len(want)} arrays differ); keep the optimiser, "
            "or take the parameters alone: INITIAL_CHECKPOINT_RESTORE = 'params'"
        )
    return tuple(sorted(want))


def fill(plan: Plan, fresh: Callable[[], TrainState], shardings: TrainState) -> TrainState:
    """Put what was planned into a fresh state, array by array.

    Args:
      plan: what `plan` returned for this state.
      fresh: makes a freshly initialised state. Its arrays are let go one by one, so that the
        devices never hold much more than one state.
      shardings: of its arrays.

    Raises:
      ValueError: an array is damaged.
    """
    there = {f"params/{name}": f"params/{source}" for name, source in plan.parameters.items()}
    state = fresh()
    params, frozen = flat_params(state.params), flat_params(state.frozen)
    opt_state, slots_tree = flat_leaves(state.opt_state), jax.tree.structure(state.opt_state)
    slot_names = list(opt_state)
    state = state._replace(params={}, frozen={}, opt_state=None)
    of_params = flat_params(shardings.params) | flat_params(shardings.frozen)
    of_slots = flat_leaves(shardings.opt_state)
    targets: dict[str, list[str]] = {}
    for ours, source in (there | {key: key for key in plan.slots}).items():
        targets.setdefault(source, []).append(ours)
    for source, array in plan.source.stream(targets):
        for key in targets[source]:
            prefix, _, name = key.partition("/")
            leaves = opt_state if prefix == "opt_state" else params if name in params else frozen
            where = of_slots if prefix == "opt_state" else of_params
            if name in plan.resized:
                leaves[name] = _overlay(leaves[name], array, where[name])
            else:
                leaves |= _held(name, array, leaves.pop(name).dtype, where)
        del array
    step = state.step
    if plan.with_step:
        step = _place(np.asarray(plan.source.step, step.dtype), shardings.step)
    log.info(
        "starting from %s (%s): %d of %d parameters, %s, step %d",
        plan.source.path,
        plan.source.kind,
        len(plan.parameters),
        len(params) + len(frozen),
        "with optimiser state" if plan.slots else "no optimiser state",
        int(step),
    )
    return state._replace(
        step=step,
        params=unflatten_dict(params, sep="/"),
        frozen=unflatten_dict(frozen, sep="/"),
        opt_state=jax.tree.unflatten(slots_tree, [opt_state[name] for name in slot_names]),
    )


def load_params(
    source: Source,
    architecture: Architecture,
    shardings: Params | None = None,
    *,
    shared: Mapping[str, jax.Array] | None = None,
) -> Params:
    """All parameters of a checkpoint, trained and frozen alike.

    Args:
      source: an opened checkpoint.
      architecture: names and shapes to expect.
      shardings: where to put them; by default whole on the first device.
      shared: those that are on the devices already, by name; they are not read.

    Raises:
      ValueError: a parameter is missing, has another shape, or is damaged.
    """
    shapes = flat_params(architecture.shapes)
    want = quantized.without_scales(shapes)
    check_parameters(source.path, source.params, {name: leaf.shape for name, leaf in want.items()})
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    where = flat_params(shardings) if shardings else dict.fromkeys(shapes, one)
    out = dict(shared or {})
    missing = [name for name in want if name not in out]
    for key, array in source.stream(f"params/{name}" for name in missing):
        name = key.removeprefix("params/")
        out |= _held(name, array, want[name].dtype, where)
        del array
    return unflatten_dict(out, sep="/")


def vocabulary_of(source: Source) -> Vocabulary:
    """The vocabulary that is stored beside a checkpoint.

    Raises:
      ValueError: there is none.
    """
    if source.vocabulary is None:
        raise ValueError(
            f"{source.path} has no SentencePiece model beside it; set VOCABULARY, or make a model "
            "directory of it: medmt5 convert --to medmt5 --vocabulary sentencepiece.model"
        )
    return Vocabulary(source.vocabulary, source.extra_ids)


def vocabulary_beside(model_dir: str, initial: str | None) -> Vocabulary | None:
    """The vocabulary of a run that goes on, or of the checkpoint that it starts from, if any."""
    if card := checkpoints.find_card(model_dir):
        path = os.path.join(card.folder, checkpoints.VOCABULARY)
        if epath.Path(path).exists():  # a converted checkpoint may have none
            return Vocabulary(path, card.extra_ids)
    source = initial and open_source(initial, verify=False)
    return vocabulary_of(source) if source and source.vocabulary else None


def _place(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """On its devices; of several hosts, each gives the parts of its own."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _held(
    name: str, array: np.ndarray, dtype: Any, shardings: Mapping[str, jax.sharding.Sharding]
) -> dict[str, jax.Array]:
    """On its devices in the type of a state: a matrix in int8 is rounded there, and has scales."""
    if dtype != jnp.int8:
        return {name: _place(np.asarray(array, dtype), shardings[name])}
    scale = name + quantized.SCALE
    round_ = _rounding(name.rpartition("/")[2], shardings[name], shardings[scale])
    values, scales = round_(_place(np.asarray(array, np.float32), shardings[name]))
    return {name: values, scale: scales}


@functools.cache
def _rounding(matrix: str, *shardings: jax.sharding.Sharding) -> Callable[..., Any]:
    """One function for all layers, so that it is compiled once for each shape."""
    round_ = functools.partial(quantized.quantize, outputs=quantized.OUTPUTS[matrix])
    return jax.jit(round_, out_shardings=shardings)


def _overlay(old: jax.Array, array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """`old` with its first rows (of every axis) replaced by those of `array`."""
    both = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, array.shape, strict=True))
    part = np.ascontiguousarray(array[both])
    write = jax.jit(lambda x, y: x.at[both].set(y), out_shardings=sharding, donate_argnums=0)
    return write(old, jnp.asarray(part))


def _compare_vocabularies(source: Source, vocabulary: Vocabulary | None) -> None:
    if vocabulary is None or source.vocabulary is None:
        return
    a, b = (epath.Path(p).read_bytes() for p in (source.vocabulary, vocabulary.path))
    if a != b:
        log.warning(
            "%s was trained with the vocabulary beside it, which is not %s: its embeddings will "
            "be taken for other words", source.path, vocabulary.path,
        )  # fmt: skip
