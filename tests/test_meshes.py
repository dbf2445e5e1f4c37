"""The same training on one device and on eight, however they are arranged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from medmt5 import optimizers
from medmt5.models.t5 import T5Config
from medmt5.partitioning import batch_sharding, make_mesh
from medmt5.state import Architecture, flat_params, init_state
from medmt5.step import Batch, LossConfig, jitted_train_step

STEPS = 4
# Four heads do not divide over eight devices: their bias is kept whole on that mesh.
CONFIG = T5Config(
    vocab_size=128,
    dtype="float32",
    emb_dim=32,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=64,
    dropout_rate=0.1,
)
ARCHITECTURE = Architecture.t5(CONFIG)
# Factoring from 32 on, so that slots that are not shaped like their parameter occur too.
OPTIMIZER = optimizers.adafactor(0.02, min_dim_size_to_factor=32)


def one_batch():
    """Eight examples of different lengths."""
    rng = np.random.default_rng(0)
    source = rng.integers(3, 128, (8, 12)).astype(np.int32)
    targets = rng.integers(3, 128, (8, 10)).astype(np.int32)
    source[:, 9:] *= rng.integers(0, 2, (8, 1), np.int32)
    targets[:, 7:] *= rng.integers(0, 2, (8, 1), np.int32)
    shifted = np.concatenate([np.zeros_like(targets[:, :1]), targets[:, :-1]], 1)
    return Batch(source, shifted, targets, (targets > 0).astype(np.float32))


def train(mesh):
    """Losses of four steps, and the first and last states."""
    first, shardings = init_state(ARCHITECTURE, OPTIMIZER, seed=0, mesh=mesh)
    loss = LossConfig(loss_normalizing_factor="NUM_REAL_TARGET_TOKENS")
    step = jitted_train_step(ARCHITECTURE, OPTIMIZER, loss, shardings=shardings)
    state, losses = jax.tree.map(jnp.copy, first), []
    with jax.set_mesh(mesh):
        batch = jax.device_put(one_batch(), batch_sharding(mesh))
        for _ in range(STEPS):
            state, metrics = step(state, batch)
            losses.append(float(metrics["loss"]))
    assert step._cache_size() == 1  # compiled once, whatever the mesh
    return losses, first, state


@pytest.fixture(scope="module")
def one_device():
    return train(make_mesh(devices=jax.devices()[:1]))


@pytest.mark.parametrize(
    "sizes, kernel, embedding",
    [
        # The local shapes of a (32, 64) kernel and the (128, 32) embedding.
        pytest.param({"data": 8}, (32, 64), (128, 32), id="data", marks=pytest.mark.slow),
        pytest.param({"fsdp": 8}, (4, 64), (128, 4), id="fsdp", marks=pytest.mark.slow),
        pytest.param({"model": 8}, (32, 8), (16, 32), id="model", marks=pytest.mark.slow),
        pytest.param({"data": 2, "fsdp": 2, "model": 2}, (16, 32), (64, 16), id="all three"),
    ],
)
def test_eight_devices_train_as_one_does(one_device, sizes, kernel, embedding):
    expected, expected_first, _ = one_device
    losses, first, last = train(make_mesh(**sizes))

    # Born sharded, with the numbers that one device makes.
    names = {
        "encoder/layers_0/mlp/wi_0/kernel": kernel,
        "token_embedder/embedding": embedding,
        "decoder/layers_0/mlp/wo/kernel": kernel[::-1],
    }
    for state in (first, last):
        params = flat_params(state.params)
        for name, shape in names.items():
            assert {s.data.shape for s in params[name].addressable_shards} == {shape}, name
            assert len(params[name].sharding.device_set) == 8
    # Random bits are the same whatever the sharding; turning them into normals may round.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7),
        jax.device_get(first.params),
        jax.device_get(expected_first.params),
    )

    assert expected[-1] < expected[0] - 0.1  # it does train
    # float32 sums in another order: 2e-7 was seen. Adafactor divides by the root of second
    # moments, which magnifies rounding where gradients are small: ten times as much is allowed.
    np.testing.assert_allclose(losses, expected, rtol=2e-6)


def test_factored_slots_are_split_like_the_axis_that_they_keep():
    mesh = make_mesh(fsdp=2, model=2)
    factored = optimizers.adafactor(0.02, min_dim_size_to_factor=1)
    state, shardings = init_state(ARCHITECTURE, factored, seed=0, mesh=mesh)
    name = "encoder/layers_0/mlp/wi_0/kernel"  # (embed, mlp), mlp the longer
    assert flat_params(shardings.params)[name].spec == PartitionSpec("fsdp", "model")
    assert flat_params(shardings.opt_state.v_row)[name].spec == PartitionSpec("fsdp")
    assert flat_params(shardings.opt_state.v_col)[name].spec == PartitionSpec("model")
    assert jax.tree.map(lambda x: x.sharding, state) == shardings


def test_optimiser_slots_shaped_like_a_parameter_follow_its_sharding():
    mesh = make_mesh(fsdp=2, model=2)
    plain = optimizers.adafactor(0.02, factored=False)
    _, shardings = init_state(ARCHITECTURE, plain, seed=0, mesh=mesh)
    name = "encoder/layers_0/mlp/wi_0/kernel"
    specs = {
        jax.tree_util.keystr(path): sharding.spec
        for path, sharding in jax.tree_util.tree_flatten_with_path(shardings.opt_state)[0]
    }
    keys = "".join(f"['{part}']" for part in name.split("/"))
    of_kernel = [spec for path, spec in specs.items() if path.endswith(".v" + keys)]
    assert of_kernel == [PartitionSpec("fsdp", "model")]
    assert flat_params(shardings.params)[name].spec == PartitionSpec("fsdp", "model")
