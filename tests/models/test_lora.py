"""Low-rank adapters: what they compute, what trains, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import nnx

from medmt5 import step
from medmt5.models.layers import Dense
from medmt5.models.lora import PARAMETERS, LoraConfig, attach, merged_kernel
from medmt5.state import Architecture, count_parameters, flat_params, init_state
from medmt5.step import Batch

SIZES = dict(num_encoder_layers=2, num_decoder_layers=2, dropout_rate=0.0)
SOURCE = jnp.array([[5, 6, 7, 1, 0], [8, 9, 4, 3, 1]])
TARGET = jnp.array([[20, 21, 1], [30, 1, 0]])
SHIFTED = jnp.array([[0, 20, 21], [0, 30, 1]])
BATCH = Batch(SOURCE, SHIFTED, TARGET, (TARGET > 0).astype(jnp.float32), None, None)


def architecture(lora=LoraConfig(rank=4, alpha=8.0), **changes):
    return Architecture.t5(tiny.config(**SIZES, **changes, lora=lora))


def trained(params):
    """As if the adapters had learnt something: B is not zero any more."""

    def moved(name, leaf):
        key = jax.random.fold_in(jax.random.key(3), sum(map(ord, name)))
        return jax.random.normal(key, leaf.shape) / 4 if name.endswith("/lora/b") else leaf

    flat = {name: moved(name, leaf) for name, leaf in flat_params(params).items()}
    return jax.tree.unflatten(jax.tree.structure(params), list(flat.values()))


def merged(params, config):
    """The tree of a model without adapters."""
    if "lora" in params:
        return {"kernel": merged_kernel(params["kernel"], **params["lora"], config=config)}
    return {
        name: merged(value, config) if isinstance(value, dict) else value
        for name, value in params.items()
    }


def logits(architecture, params):
    model = architecture.merge(params)
    return model.logits(model.decode(model.encode(SOURCE), SOURCE, SHIFTED, TARGET))


def test_a_matrix_with_an_adapter_by_hand():
    model = nnx.Dict(
        m=Dense((2, 3), ("embed", "mlp"), init=nnx.initializers.ones, dtype=jnp.dtype("float32"),
                rngs=nnx.Rngs(0))
    )  # fmt: skip
    attach(model, LoraConfig("m", rank=1, alpha=2.0), rngs=nnx.Rngs(1))
    model["m"].lora.a[...] = jnp.array([[1.0], [10.0]])
    model["m"].lora.b[...] = jnp.array([[1.0, 0.0, -1.0]])
    x = jnp.array([[1.0, 2.0]])
    # 3 from the matrix; 2 x (1 + 20) x (1, 0, -1) from the adapter.
    np.testing.assert_array_equal(model["m"](x), [[45.0, 3.0, -39.0]])


def test_a_fresh_adapter_changes_nothing():
    plain = architecture(lora=None)
    adapted = architecture()
    params = adapted.init(jax.random.key(0))
    np.testing.assert_array_equal(
        logits(adapted, params), logits(plain, plain.init(jax.random.key(0)))
    )
    added = count_parameters(adapted.shapes) - count_parameters(plain.shapes)
    # A and B of two matrices in each of 2 + 2 + 2 attentions, 16 by 16 each.
    assert added == 6 * 2 * 2 * 4 * 16


@pytest.mark.parametrize("changes", [{}, {"scan_layers": True, "remat_policy": "minimal"}])
def test_merged_parameters_give_the_logits_of_the_adapted_model(changes):
    adapted, plain = architecture(**changes), architecture(lora=None)
    params = trained(adapted.init(jax.random.key(0)))
    together = merged(params, LoraConfig(rank=4, alpha=8.0))
    assert jax.tree.structure(together) == jax.tree.structure(plain.shapes)
    ours = logits(adapted, params)
    # Two orders of the same float32 sums of some 50 terms around 1.
    np.testing.assert_allclose(ours, logits(plain, together), rtol=1e-4, atol=2e-5)
    base = {name: leaf for name, leaf in params.items()}
    assert float(jnp.abs(ours - logits(plain, merged(base, LoraConfig(rank=4, alpha=0)))).max()) > 1


def test_only_adapters_train_and_only_they_have_optimiser_state():
    adapted = architecture()
    mesh, optimizer = tiny.one_device(), optax.adam(0.1)
    state, _ = init_state(adapted, optimizer, seed=0, mesh=mesh, trainable=PARAMETERS)
    assert all("/lora/" in name for name in flat_params(state.params))
    assert not any("/lora/" in name for name in flat_params(state.frozen))
    slots = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state))
    assert slots == 2 * count_parameters(state.params) + 1
    after, metrics = step.train_step(state, BATCH, merge=adapted.merge, optimizer=optimizer)
    assert tiny.digest(after.frozen) == tiny.digest(state.frozen)
    moved = {
        name for name, leaf in flat_params(after.params).items()
        if bool((leaf != flat_params(state.params)[name]).any())
    }  # fmt: skip
    # While B is zero no gradient reaches A.
    assert moved == {name for name in flat_params(state.params) if name.endswith("/b")}
    assert float(metrics["grad_norm"]) > 0


def test_a_token_at_a_time_gives_what_all_at_once_gives():
    adapted = architecture()
    model = adapted.merge(trained(adapted.init(jax.random.key(0))))
    encoded = model.encode(SOURCE)
    at_once = model.decode(encoded, SOURCE, SHIFTED, SHIFTED.at[:, 0].set(1))
    cache = model.init_cache(encoded, SOURCE, length=3)
    for place in range(2):
        hidden, cache = model.decode_step(SHIFTED[:, place : place + 1], jnp.full(2, place), cache)
        np.testing.assert_allclose(hidden[:, 0], at_once[:, place], rtol=1e-4, atol=1e-5)


def test_dropout_is_of_what_enters_the_adapter_and_only_with_a_key():
    adapted = architecture(LoraConfig(rank=4, dropout=0.5))
    params = trained(adapted.init(jax.random.key(0)))

    def loss(key):
        model = adapted.merge(params)
        return float(step.seq2seq_loss(model, BATCH, dropout_key=key).total)

    assert loss(None) == loss(None)
    assert len({loss(None), loss(jax.random.key(1)), loss(jax.random.key(2))}) == 3


@pytest.mark.slow
def test_adapters_of_a_base_without_any_start_fresh(tmp_path):
    base = tiny.Run(**SIZES)
    base.save(tmp_path / "m")
    lora = LoraConfig(rank=4)
    run = tiny.Run(trainable=PARAMETERS, **SIZES, lora=lora)
    state = run.start(tmp_path / "m", "params")
    assert tiny.digest(state.params) == tiny.digest(run.state.params)
    assert tiny.digest(state.frozen) == tiny.digest(base.state.params)
    # Another matrix that is not there is an error still.
    bigger = tiny.Run(**(SIZES | {"num_encoder_layers": 3}), lora=lora)
    with pytest.raises(ValueError, match="does not fit the model"):
        bigger.start(tmp_path / "m")


def test_the_card_of_a_model_keeps_its_adapters():
    config = tiny.config(lora=LoraConfig(rank=2, pattern="encoder/.*"))
    assert tiny.config(**{"lora": config.to_json()["lora"]}) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "nothing/.*"}, "no matrix matches the LoRA pattern 'nothing/.*'; names are"),
        ({"pattern": ".*logits_dense"}, "matches decoder/logits_dense, which cannot be adapted"),
        ({"pattern": "encoder/layers_0/.*"}, "in some layers only; .* use layers_"),
        ({"pattern": "("}, "is no regular expression"),
        ({"rank": 0}, "rank 0 and dropout 0.0; rank is 1 or more"),
        ({"dropout": 1.0}, r"dropout 1.0; rank is 1 or more, dropout in \[0, 1\)"),
    ],
)
def test_what_cannot_be_adapted_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        architecture(LoraConfig(**changes))
