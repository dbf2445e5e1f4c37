"""The one training state, and how it is born already sharded.

Full tuning, adapters and prompts differ only in which parameters train: the filter that splits
`params` from `frozen`. How a step changes the state is left to `step`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, UInt32

from medmt5.adafactor import factored_axes
from medmt5.models.t5 import T5Config, Transformer
from medmt5.partitioning import RULES, Rules, parameter_sharding, replicated
from medmt5.patterns import compiled

Params = dict[str, Any]


class TrainState(NamedTuple):
    """Everything a step needs besides the batch; a pytree of arrays."""

    step: Int[Array, ""]
    key: UInt32[Array, " words"]
    params: Params
    frozen: Params
    opt_state: Any


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A model without its numbers: `merge` puts parameters back into modules.

    Attributes:
      graphdef: the NNX graph.
      shapes: parameter tree with `jax.ShapeDtypeStruct` leaves.
      axes: parameter tree with tuples of logical axis names as leaves.
    """

    graphdef: Any
    shapes: Params
    axes: Params
    build: Callable[[nnx.Rngs], nnx.Module]

    @classmethod
    def of(cls, build: Callable[[nnx.Rngs], nnx.Module]) -> Architecture:
        """Trace `build` without allocating memory."""
        graphdef, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
        axes: Params = {}
        for path, variable in nnx.to_flat_state(state):
            _set(axes, path, variable.get_metadata()["axes"])
        return cls(graphdef, nnx.to_pure_dict(state), axes, build)

    @classmethod
    def t5(cls, config: T5Config) -> Architecture:
        return cls.of(lambda rngs: Transformer(config, rngs=rngs))

    def init(self, key: Array) -> Params:
        """Fresh parameters."""
        return nnx.to_pure_dict(nnx.split(self.build(nnx.Rngs(key)))[1])

    def merge(self, params: Params, frozen: Params | None = None) -> Any:
        """The module that holds these parameters; cheap, made anew inside each traced function."""
        return nnx.merge(self.graphdef, join_params(params, frozen or {}))

    def shardings(self, mesh: Mesh, rules: Rules = RULES) -> Params:
        return jax.tree.map(
            lambda shape, axes: parameter_sharding(shape.shape, axes, mesh, rules),
            self.shapes,
            self.axes,
        )


def random_key(state: TrainState) -> Array:
    """The state's key for this step; its kind is told by its number of words."""
    kind = {2: "threefry2x32", 4: "rbg"}[state.key.shape[-1]]
    return jax.random.fold_in(jax.random.wrap_key_data(state.key, impl=kind), state.step)


def split_trainable(params: Params, trainable: str) -> tuple[Params, Params]:
    """Split a parameter tree by a regular expression over full names (`encoder/.*`).

    Raises:
      ValueError: no regular expression, or nothing matches.
    """
    pattern = compiled(trainable, "trainable pattern")
    chosen: Params = {}
    rest: Params = {}
    for path, leaf in flat_params(params).items():
        _set(chosen if pattern.fullmatch(path) else rest, path.split("/"), leaf)
    if not chosen:
        raise ValueError(
            f"no parameter matches the trainable pattern {trainable!r}; names look like "
            f"{', '.join(list(flat_params(params))[:3])}"
        )
    return chosen, rest


def flat_params(params: Params) -> dict[str, Any]:
    """Parameters by T5X name: `{"encoder/layers_0/attention/query/kernel": ...}`, sorted."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    return {"/".join(str(k.key) for k in path): leaf for path, leaf in flat}


def flat_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of any tree by the words of their path: `{"0/mu/encoder/...": ...}`, in tree order."""

    def word(key: Any) -> str:
        return str(next(getattr(key, a) for a in ("key", "name", "idx") if hasattr(key, a)))

    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(map(word, path)): leaf for path, leaf in flat}


def parameter_of(slot: str, parameters: Container[str]) -> str | None:
    """The parameter that an optimiser's array belongs to: its path ends in the full name."""
    words = slot.split("/")
    names = ("/".join(words[start:]) for start in range(len(words)))
    return next((name for name in names if name in parameters), None)


def join_params(a: Params, b: Params) -> Params:
    """One tree from two that share no leaf: `params` and `frozen` of a state."""
    if not b:
        return a
    joined = dict(a)
    for name, value in b.items():
        joined[name] = join_params(joined[name], value) if name in joined else value
    return joined


def count_parameters(params: Params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def init_state(
    architecture: Architecture,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    mesh: Mesh,
    rules: Rules = RULES,
    trainable: str = ".*",
    hardware_rng: bool = False,
) -> tuple[TrainState, TrainState]:
    """Make the state directly in its shards: no device ever holds the whole of it.

    Args:
      architecture: the model.
      optimizer: its state is made for the trainable parameters only.
      seed: seeds parameters and dropout.
      mesh: devices.
      rules: logical axis -> mesh axis.
      trainable: regular expression over full parameter names.
      hardware_rng: draw dropout from XLA's own generator (`rbg`): much faster on CPU and TPU, but
        the numbers then depend on the mesh. Parameters are drawn from threefry all the same.

    Returns:
      The state, and a tree of the same form with its shardings.

    Raises:
      ValueError: the pattern matches nothing, or a matrix that is held in int8.
    """

    def make() -> TrainState:
        init_key, train_key = jax.random.split(jax.random.key(seed))
        if hardware_rng:
            train_key = jax.random.key(seed, impl="rbg")
        params, frozen = split_trainable(architecture.init(init_key), trainable)
        _check_trainable(params, trainable)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=jax.random.key_data(train_key),
            params=params,
            frozen=frozen,
            opt_state=optimizer.init(params),
        )

    shardings = state_shardings(architecture, jax.eval_shape(make), mesh, rules)
    # Partitionable threefry (JAX's default) gives the same numbers whatever the sharding.
    return jax.jit(make, out_shardings=shardings)(), shardings


def state_shardings(
    architecture: Architecture,
    abstract: TrainState,
    mesh: Mesh,
    rules: Rules = RULES,
) -> TrainState:
    """Shardings for every array of a state; an optimiser's slots lie where their parameters do."""
    by_name = flat_params(architecture.shardings(mesh, rules))
    shapes = flat_params(architecture.shapes)
    whole = replicated(mesh)

    def like(tree: Params) -> Params:
        out: Params = {}
        for path in flat_params(tree):
            _set(out, path.split("/"), by_name[path])
        return out

    def of_slot(path: str, shape: tuple[int, ...]) -> NamedSharding:
        name = parameter_of(path, by_name)
        if name is None:
            return whole
        if shape == shapes[name].shape:
            return by_name[name]
        slot = path.removesuffix(f"/{name}").rpartition("/")[2]
        if slot in ("v_row", "v_col"):
            kept = factored_axes(shapes[name].shape, 0)[slot == "v_col"]
            spec = (*by_name[name].spec, None, None)[kept]
            return NamedSharding(mesh, PartitionSpec(spec))
        return whole

    opt_state = jax.tree.unflatten(
        jax.tree.structure(abstract.opt_state),
        [of_slot(k, leaf.shape) for k, leaf in flat_leaves(abstract.opt_state).items()],
    )
    return TrainState(whole, whole, like(abstract.params), like(abstract.frozen), opt_state)


def _check_trainable(params: Params, trainable: str) -> None:
    held = [name for name, leaf in flat_params(params).items() if leaf.dtype == jnp.int8]
    if held:
        raise ValueError(
            f"the trainable pattern {trainable!r} matches {held[0]}, which is held in int8 and "
            "cannot train; train adapters or a prompt, or set T5Config.base_weights = 'float32'"
        )


def _set(tree: Params, path, leaf) -> None:
    *parents, last = path
    for name in parents:
        tree = tree.setdefault(name, {})
    tree[last] = leaf
