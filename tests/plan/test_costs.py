"""FLOPs and bytes against numbers worked by hand, the traced step, XLA and real arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from medmt5 import optimizers, partitioning, reporting
from medmt5.models.soft_prompt import PromptConfig
from medmt5.models.t5 import T5Config
from medmt5.plan import costs
from medmt5.plan.recipe import Recipe
from medmt5.state import init_state
from medmt5.step import LossConfig

CONFIG = T5Config(
    vocab_size=7,
    dtype="float32",
    emb_dim=4,
    num_heads=2,
    head_dim=3,
    mlp_dim=5,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dropout_rate=0.0,
)


def recipe(model=CONFIG, *, mesh=None, **changes) -> Recipe:
    sizes = dict(batch_size=8, source=2, target=3, pack=True)
    return Recipe(
        model=model,
        optimizer=changes.pop("optimizer", optax.sgd(0.1)),
        loss=changes.pop("loss", LossConfig()),
        mesh=mesh or partitioning.make_mesh(devices=jax.devices()[:1]),
        **(sizes | changes),
    )


def traced(made: Recipe) -> int:
    program = costs.program(made, costs.shapes(made), made.mesh)
    return costs.traced_flops(program.trace().jaxpr.jaxpr)


def test_flops_of_each_part_worked_by_hand():
    # Queries, keys, values and outputs are 4 x 6 matrices: 24 multiply-adds per token each. The
    # gated feed-forward block has three 4 x 5 matrices: 60. Two FLOPs per multiply-add.
    found = costs.forward_flops(CONFIG, rows=1, source=2, target=3)
    assert found == {
        "encoder": 2 * 2 * (4 * 24 + 60),
        # 2 queries x 2 keys x 6 numbers, once for the logits and once for the values.
        "encoder attention": 2 * (24 + 24),
        # Four matrices for itself, two of the cross-attention; two more for the source's tokens.
        "decoder": 2 * (3 * (6 * 24 + 60) + 2 * 2 * 24),
        # 3 queries x 3 keys, and 3 queries x 2 source tokens.
        "decoder attention": 2 * (2 * 3 * 3 * 6 + 2 * 3 * 2 * 6),
        "head": 2 * 3 * 4 * 7,
    }
    assert found == {
        "encoder": 624,
        "encoder attention": 96,
        "decoder": 1416,
        "decoder attention": 360,
        "head": 168,
    }


MODELS = {
    "mt5": CONFIG,
    "tied, one activation, biases per layer": dataclasses.replace(
        CONFIG,
        logits_via_embedding=True,
        mlp_activations=("relu",),
        relative_bias_per_layer=True,
        num_encoder_layers=2,
    ),
    "dropout": dataclasses.replace(CONFIG, dropout_rate=0.1, num_decoder_layers=3),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_traced_step_multiplies_what_the_formula_says(model):
    made = recipe(model)
    forward = costs.forward_flops(model, rows=8, source=2, target=3)
    assert traced(made) == 3 * sum(forward.values())
    assert traced(made) == reporting.training_flops(model, rows=8, source=2, target=3)


def test_a_decoder_prompt_is_multiplied_too():
    model = dataclasses.replace(CONFIG, prompt=PromptConfig(1, decoder_length=2))
    forward = costs.forward_flops(model, rows=8, source=2, target=3)
    longer = costs.forward_flops(CONFIG, rows=8, source=2, target=5)
    assert forward == longer | {"head": forward["head"]}
    assert traced(recipe(model, pack=False)) == 3 * sum(forward.values())


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"num_microbatches": 4}, id="microbatches"),
        pytest.param({"optimizer": optimizers.adafactor(0.1)}, id="adafactor"),
        pytest.param({"mesh": partitioning.make_mesh(fsdp=4)}, id="mesh"),
        pytest.param({"trainable": "decoder/.*"}, id="frozen"),
    ],
)
def test_the_traced_flops_do_not_depend_on_how_the_step_is_cut(changes):
    whole, cut = traced(recipe()), traced(recipe(**changes))
    if "trainable" in changes:
        # The encoder's backward pass is needed by nothing: its weights are frozen, and so are
        # those below it. Cross-attention's keys and values train, but pass nothing on.
        forward = costs.forward_flops(CONFIG, rows=8, source=2, target=3)
        encoder = forward["encoder"] + forward["encoder attention"]
        source_gradient = 2 * 8 * 2 * 2 * 24
        assert cut == whole - 2 * encoder - source_gradient
    else:
        assert cut == whole


def test_what_rematerialisation_computes_again_is_in_the_trace():
    def f(w, x):
        return jnp.tanh(jnp.tanh(x @ w) @ w).sum()

    w, x = jnp.ones((4, 4)), jnp.ones((3, 4))
    product = 2 * 3 * 4 * 4
    plain = costs.traced_flops(jax.make_jaxpr(jax.grad(f))(w, x).jaxpr)
    again = costs.traced_flops(jax.make_jaxpr(jax.grad(jax.checkpoint(f)))(w, x).jaxpr)
    # Two forward; backward two for weights and one for the activation between them; then both
    # forward products once more.
    assert (plain, again) == (5 * product, 7 * product)


def test_loops_count_as_often_as_they_run_and_shards_once_per_device():
    mesh = partitioning.make_mesh()
    rows = jax.sharding.PartitionSpec("data")

    def f(w, x):
        def local(x):
            return jax.lax.scan(lambda x, _: (x @ w, None), x, length=5)[0]

        return jax.shard_map(local, mesh=mesh, in_specs=rows, out_specs=rows)(x)

    jaxpr = jax.make_jaxpr(f)(jnp.ones((4, 4)), jnp.ones((16, 4)))
    assert costs.traced_flops(jaxpr.jaxpr) == 5 * 2 * 16 * 4 * 4


def test_a_loop_of_unknown_length_is_not_counted_wrongly():
    def f(x):
        return jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="cannot be counted"):
        costs.traced_flops(jax.make_jaxpr(f)(jnp.ones((2, 2))).jaxpr)


def test_xla_counts_as_many_flops_and_some_for_elementwise_operations():
    model = dataclasses.replace(CONFIG, vocab_size=512, emb_dim=128, head_dim=64, mlp_dim=512)
    made = recipe(model, source=64, target=64)
    program = costs.program(made, costs.shapes(made), made.mesh)
    counted = program.trace().lower().cost_analysis()["flops"]
    ratio = counted / traced(made)
    # Products are exact in both; XLA adds one FLOP or so per number and elementwise operation,
    # which at these sizes (about 128 FLOPs of products per number) is a few percent.
    assert 1.0 < ratio < 1.15


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), optimizers.adafactor(0.1, min_dim_size_to_factor=4)],
    ids=["adam", "adafactor"],
)
def test_bytes_per_chip_are_those_of_real_arrays_on_eight_devices(optimizer):
    mesh = partitioning.make_mesh(2, 2, 2)
    made = recipe(mesh=mesh, optimizer=optimizer, trainable="(encoder|decoder)/.*")
    arrays = costs.shapes(made)
    state, batch = costs.placed(arrays, mesh)
    real, _ = init_state(
        arrays.architecture, optimizer, seed=0, mesh=mesh, trainable=made.trainable
    )
    fresh = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), arrays.batch)
    real_batch = jax.device_put(fresh, partitioning.batch_sharding(mesh))
    for planned, held in ((state, real), (batch, real_batch)):
        for device in jax.devices():
            assert costs.bytes_per_chip(planned) == sum(
                shard.data.nbytes
                for leaf in jax.tree.leaves(held)
                for shard in leaf.addressable_shards
                if shard.device == device
            )


def test_activations_grow_by_the_same_for_each_layer():
    per_row = []
    for layers in (1, 2, 3):
        made = recipe(dataclasses.replace(CONFIG, num_encoder_layers=layers))
        per_row.append(costs.activation_bytes_per_row(made, jax.devices()[0]))
    assert per_row[1] - per_row[0] == per_row[2] - per_row[1] > 0


def test_a_batch_that_does_not_divide_is_refused():
    for changes, message in (
        ({"batch_size": 12, "mesh": partitioning.make_mesh()}, "use 8 or 16, or change MESH"),
        ({"num_microbatches": 3}, "BATCH_SIZE 8 does not divide into 3 microbatches"),
    ):
        made = recipe(**changes)
        with pytest.raises(ValueError, match=message):
            costs.program(made, costs.shapes(made), made.mesh)
