"""What a step costs whatever it runs on: FLOPs of its matrix products, bytes of its arrays.

Three counts that agree where they should: by formula, per part of the model; from the traced step,
which also has what rematerialisation computes again; and bytes, from the shapes and shardings that
the run itself uses.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.sharding import AbstractMesh, Mesh, NamedSharding

from medmt5 import partitioning, step
from medmt5.models.t5 import T5Config
from medmt5.plan.recipe import Recipe
from medmt5.state import Architecture, TrainState, init_state, state_shardings

PARTS = ("encoder", "encoder attention", "decoder", "decoder attention", "head")


def forward_flops(config: T5Config, *, rows: int, source: int, target: int) -> dict[str, int]:
    """FLOPs of the matrix products of one forward pass, two per multiply-add, by part.

    Projections and feed-forward blocks are in `encoder` and `decoder` (which has the keys and
    values that cross-attention makes of the source), products of queries, keys and values in the
    attention. Padding and masked positions are multiplied like others, so they count, as do those
    of a decoder prompt. A backward pass has two products for each of these.
    """
    joined = config.num_heads * config.head_dim
    product = config.emb_dim * joined
    mlp = (len(config.mlp_activations) + 1) * config.emb_dim * config.mlp_dim
    layers, decoder_layers = config.num_encoder_layers, config.num_decoder_layers
    decoded = target + (config.prompt.decoder_length if config.prompt else 0)
    adds = {
        "encoder": layers * source * (4 * product + mlp),
        "encoder attention": layers * 2 * source * source * joined,
        "decoder": decoder_layers * (decoded * (6 * product + mlp) + 2 * source * product),
        "decoder attention": decoder_layers * 2 * decoded * (decoded + source) * joined,
        "head": target * config.emb_dim * config.vocab_size,
    }
    return {part: 2 * rows * adds[part] for part in PARTS}


def traced_flops(jaxpr: core.Jaxpr) -> int:
    """FLOPs of all matrix products of a traced function, loops multiplied by their length.

    Inside `shard_map` shapes are those of one device: they count once for each.

    Raises:
      ValueError: a loop whose length is not known.
    """
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            depth = math.prod(left[axis] for axis in contracted)
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
            continue
        if equation.primitive.name == "pallas_call":
            total += equation.params["cost_estimate"].flops
            continue
        inner = [traced_flops(each) for each in _jaxprs(list(equation.params.values()))]
        times = 1
        if equation.primitive.name == "scan":
            times = equation.params["length"]
        elif equation.primitive.name == "shard_map":
            mesh = equation.params["mesh"]
            times = math.prod(mesh.shape[axis] for axis in equation.params["newly_manual_axes"])
        elif equation.primitive.name == "while" and any(inner):
            raise ValueError("a while loop with matrix products: its FLOPs cannot be counted")
        total += times * (
            max(inner, default=0) if equation.primitive.name == "cond" else sum(inner)
        )
    return total


def _jaxprs(value: Any) -> list[core.Jaxpr]:
    if isinstance(value, core.ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, core.Jaxpr):
        return [value]
    if isinstance(value, (list, tuple)):
        return [jaxpr for item in value for jaxpr in _jaxprs(item)]
    return []


class Shapes(NamedTuple):
    """A recipe's arrays without numbers or places: `jax.ShapeDtypeStruct`s."""

    architecture: Architecture
    state: TrainState
    batch: step.Batch


def shapes(recipe: Recipe) -> Shapes:
    """Trace the initial state. It has the same shapes on every mesh."""
    architecture = Architecture.t5(recipe.model)
    fresh = functools.partial(
        init_state,
        architecture,
        recipe.optimizer,
        seed=recipe.random_seed,
        mesh=recipe.mesh,
        trainable=recipe.trainable,
        hardware_rng=recipe.use_hardware_rng,
    )
    state = jax.eval_shape(lambda: fresh()[0])
    return Shapes(architecture, state, abstract_batch(recipe, recipe.batch_size))


class Program(NamedTuple):
    """A train step and the shapes and shardings that it is compiled for.

    Attributes:
      jitted: as a run compiles it.
      state, batch: `jax.ShapeDtypeStruct`s with shardings.
      mesh: of devices that need not be here.
    """

    jitted: Any
    state: TrainState
    batch: step.Batch
    mesh: Mesh

    def trace(self) -> Any:
        with jax.set_mesh(self.mesh):
            return self.jitted.trace(self.state, self.batch)


def program(recipe: Recipe, shapes: Shapes, mesh: Mesh) -> Program:
    """The step of a recipe on a mesh.

    Raises:
      ValueError: the batch does not divide over the mesh or into microbatches.
    """
    partitioning.check_batch_size(recipe.batch_size, mesh)
    if recipe.batch_size % recipe.num_microbatches:
        raise ValueError(
            f"BATCH_SIZE {recipe.batch_size} does not divide into {recipe.num_microbatches} "
            "microbatches"
        )
    state, batch = placed(shapes, mesh)
    jitted = step.jitted_train_step(
        shapes.architecture,
        recipe.optimizer,
        recipe.loss,
        num_microbatches=recipe.num_microbatches,
        shardings=jax.tree.map(lambda leaf: leaf.sharding, state),
    )
    return Program(jitted, state, batch, mesh)


def placed(shapes: Shapes, mesh: Mesh | AbstractMesh) -> tuple[TrainState, step.Batch]:
    """State and batch with the shardings that a run gives them."""
    shardings = state_shardings(shapes.architecture, shapes.state, mesh)
    rows = partitioning.batch_sharding(mesh)
    state = jax.tree.map(_on, shapes.state, shardings)
    return state, jax.tree.map(functools.partial(_on, sharding=rows), shapes.batch)


def _on(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def abstract_batch(recipe: Recipe, rows: int) -> step.Batch:
    """Shapes of a batch, as `batches.Stream` makes them."""

    def tokens(length: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, length), dtype)

    source, target = tokens(recipe.source), tokens(recipe.target)
    segments = (source, target) if recipe.pack else (None, None)
    return step.Batch(source, target, target, tokens(recipe.target, jnp.float32), *segments)


def bytes_per_chip(tree: Any) -> int:
    """Bytes that one device holds of a tree of arrays, or of shapes with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def activation_bytes_per_row(recipe: Recipe, device: Any) -> int:
    """Bytes that one row keeps from the forward for the backward pass on devices of this kind.

    They are those that differentiation asks for, remat and chunks of the loss included. The
    compiler holds fewer where it computes again what is cheap, and others where it keeps both
    passes of a layer at a time.
    """
    architecture = Architecture.t5(recipe.model)
    loss = step.seq2seq_loss
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)

    def kept(rows: int) -> int:
        def backward(params: Any, batch: step.Batch, key: Any) -> Any:
            key = jax.random.wrap_key_data(key)

            def total(params: Any) -> Any:
                model = architecture.merge(params)
                options = {"chunk_tokens": recipe.loss.chunk_tokens}
                return loss(model, batch, dropout_key=key, **options).total

            return jax.vjp(total, params)[1]

        batch = abstract_batch(recipe, rows)
        with jax.set_mesh(partitioning.make_mesh(devices=[device])):
            arrays = jax.eval_shape(backward, architecture.shapes, batch, key)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))

    # What does not grow with the rows is parameters, which are counted elsewhere.
    return kept(2) - kept(1)
