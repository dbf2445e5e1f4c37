"""Which parameters train: the filter, and what it spares."""

import functools

import jax
import numpy as np
import optax
import pytest

from medmt5 import optimizers
from medmt5.models.t5 import T5Config
from medmt5.partitioning import make_mesh
from medmt5.state import (
    Architecture,
    count_parameters,
    flat_params,
    init_state,
    split_trainable,
)
from medmt5.step import Batch, train_step

CONFIG = T5Config(
    vocab_size=64,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=32,
)
ARCHITECTURE = Architecture.t5(CONFIG)
MESH = make_mesh(data=1, devices=jax.devices()[:1])
TREE = {"encoder": {"a": {"kernel": 1}, "b": {"kernel": 2}}, "decoder": {"a": {"kernel": 3}}}


def make(trainable=".*", seed=0, optimizer=None):
    optimizer = optimizer or optimizers.adafactor(0.1)
    return init_state(ARCHITECTURE, optimizer, seed=seed, mesh=MESH, trainable=trainable)[0]


@functools.cache
def first_state():
    return make()


def test_a_pattern_splits_parameters_by_their_full_name():
    chosen, rest = split_trainable(TREE, "encoder/.*")
    assert chosen == {"encoder": {"a": {"kernel": 1}, "b": {"kernel": 2}}}
    assert rest == {"decoder": {"a": {"kernel": 3}}}


def test_one_module_may_be_cut_in_two():
    chosen, rest = split_trainable(TREE, ".*/a/kernel")
    assert chosen == {"encoder": {"a": {"kernel": 1}}, "decoder": {"a": {"kernel": 3}}}
    assert rest == {"encoder": {"b": {"kernel": 2}}}


def test_a_pattern_must_match_the_whole_name():
    with pytest.raises(ValueError, match="no parameter matches.*'encoder'.*decoder/a/kernel"):
        split_trainable(TREE, "encoder")


def test_everything_trains_by_default():
    assert split_trainable(TREE, ".*") == (TREE, {})


def test_flat_names_are_joined_by_slashes_and_sorted():
    assert flat_params(TREE) == {
        "decoder/a/kernel": 3,
        "encoder/a/kernel": 1,
        "encoder/b/kernel": 2,
    }


def test_parameters_are_counted_without_allocating_them():
    # Embedding and head 2 x 64 x 16; encoder layer 4 x 16 x 16 + 3 x 16 x 32 + 2 x 16; decoder
    # layer 8 x 16 x 16 + 3 x 16 x 32 + 3 x 16; biases 2 x 2 x 32; final norms 2 x 16.
    assert count_parameters(ARCHITECTURE.shapes) == 2048 + 2592 + 3632 + 128 + 32


def test_merging_the_two_halves_gives_the_model_of_the_whole():
    params = first_state().params
    chosen, rest = split_trainable(params, ".*/(query|relpos_bias)/.*")
    source = np.array([[5, 6, 7]])
    encode = jax.jit(lambda *parts: ARCHITECTURE.merge(*parts).encode(source))
    np.testing.assert_array_equal(encode(chosen, rest), encode(params))


def test_parameters_are_float32_and_depend_on_the_seed_alone():
    a, b, c = first_state(), make(), make(seed=1)
    assert {leaf.dtype for leaf in jax.tree.leaves(a.params)} == {np.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, a, b)
    kernel = "decoder/logits_dense/kernel"
    assert (flat_params(a.params)[kernel] != flat_params(c.params)[kernel]).any()
    assert (a.key != c.key).any()


def test_a_filter_does_not_change_what_parameters_start_from():
    whole, part = first_state(), make("encoder/.*")
    together = flat_params(part.params) | flat_params(part.frozen)
    assert together.keys() == flat_params(whole.params).keys()
    for name, value in flat_params(whole.params).items():
        np.testing.assert_array_equal(together[name], value)


def test_frozen_parameters_have_no_optimiser_state():
    part = jax.eval_shape(lambda: make("encoder/.*", optimizer=optax.adam(0.1)))
    # Adam: two slots a trainable parameter, and its step count.
    slots = count_parameters(part.opt_state)
    assert slots == 2 * count_parameters(part.params) + 1
    assert 0 < count_parameters(part.params) < count_parameters(part.frozen)


def test_a_step_moves_every_trainable_parameter_and_no_frozen_one():
    trainable = "encoder/.*|decoder/decoder_norm/scale"
    state = make(trainable)
    assert "decoder/decoder_norm/scale" in flat_params(state.params)
    rng = np.random.default_rng(0)
    source, targets = rng.integers(3, 64, (2, 40)), rng.integers(3, 64, (2, 5))
    batch = Batch(source, np.roll(targets, 1), targets, np.ones(targets.shape, np.float32))
    step = jax.jit(
        functools.partial(train_step, merge=ARCHITECTURE.merge, optimizer=optimizers.adafactor(0.1))
    )
    after, _ = step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.frozen, state.frozen)
    before = flat_params(state.params)
    for name, value in flat_params(after.params).items():
        assert (value != before[name]).any(), name
