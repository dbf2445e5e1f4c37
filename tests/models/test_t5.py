"""The model: mT5's sizes and names, packing, and a cache that changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medmt5.models.layers import Keys
from medmt5.models.t5 import T5Config
from medmt5.state import Architecture, count_parameters, flat_params

TINY = dict(
    vocab_size=64,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=32,
    dropout_rate=0.0,
)

KEY = jax.random.key(0)

# Hidden states and logits are of order 1; both sides sum the same float32 terms in another order.
ROUNDING = 2e-5


def mt5(emb_dim, num_heads, layers, mlp_dim):
    return T5Config(
        vocab_size=250_112,
        emb_dim=emb_dim,
        num_heads=num_heads,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        head_dim=64,
        mlp_dim=mlp_dim,
    )


class Tiny:
    """A tiny model with its functions compiled."""

    def __init__(self, **changes):
        self.architecture = Architecture.t5(T5Config(**TINY | changes))
        # Neither dropout nor the compute type changes the parameters.
        share = changes and changes.keys() <= {"dropout_rate", "dtype"}
        self.params = tiny().params if share else jax.jit(self.architecture.init)(KEY)
        self.logits = functools.partial(jax.jit(self._logits), self.params)
        self.start = functools.partial(jax.jit(self._start, static_argnames="length"), self.params)
        self.step = functools.partial(jax.jit(self._step), self.params)

    def _logits(self, params, source, inputs, targets, segments=(None, None), key=None):
        """Logits of the full forward pass."""
        model = self.architecture.merge(params)
        keys = None if key is None else Keys(key)
        hidden = model.decode(
            model.encode(source, segment_ids=segments[0], keys=keys),
            source,
            inputs,
            targets,
            source_segment_ids=segments[0],
            target_segment_ids=segments[1],
            keys=keys,
        )
        return model.logits(hidden)

    def _start(self, params, source, *, length):
        """An empty cache."""
        model = self.architecture.merge(params)
        return model.init_cache(model.encode(source), source, length=length)

    def _step(self, params, inputs, position, cache):
        """Logits of one step, and the cache after it."""
        model = self.architecture.merge(params)
        hidden, cache = model.decode_step(inputs, position, cache)
        return model.logits(hidden), cache


@functools.cache
def tiny(**changes):
    return Tiny(**changes)


def shifted(targets):
    return np.concatenate([np.zeros_like(targets[:, :1]), targets[:, :-1]], axis=1)


def tokens(rows, length, seed=0):
    return np.random.default_rng(seed).integers(1, 64, (rows, length)).astype(np.int32)


# Sizes, names, shapes.


@pytest.mark.parametrize(
    "size, count",
    [
        # Small by hand: 2 x 250,112 x 512 for embedding and head; an encoder layer has
        # 4 x 512 x 384 + 3 x 512 x 1024 + 2 x 512, a decoder layer 8 x 512 x 384 +
        # 3 x 512 x 1024 + 3 x 512; two biases of 6 x 32; two final norms of 512.
        pytest.param((512, 6, 8, 1024), 300_176_768, id="small"),
        pytest.param((768, 12, 12, 2048), 582_401_280, id="base"),
        pytest.param((1024, 16, 24, 2816), 1_229_581_312, id="large", marks=pytest.mark.slow),
        pytest.param((2048, 32, 24, 5120), 3_742_619_648, id="xl", marks=pytest.mark.slow),
        pytest.param((4096, 64, 24, 10240), 12_921_057_280, id="xxl", marks=pytest.mark.slow),
    ],
)
def test_every_mt5_size_has_its_published_number_of_parameters(size, count):
    assert count_parameters(Architecture.t5(mt5(*size)).shapes) == count


def test_mt5_small_has_t5x_names_shapes_and_axes():
    architecture = Architecture.t5(mt5(512, 6, 8, 1024))
    shapes = {name: leaf.shape for name, leaf in flat_params(architecture.shapes).items()}
    axes = {}

    def collect(tree, path=()):
        for name, value in tree.items():
            if isinstance(value, dict):
                collect(value, (*path, name))
            else:
                axes["/".join((*path, name))] = value

    collect(architecture.axes)
    assert axes.keys() == shapes.keys()
    # 9 arrays an encoder layer, 14 a decoder layer, and 6 around them.
    assert len(shapes) == 8 * 9 + 8 * 14 + 6
    expected = {
        "token_embedder/embedding": ((250_112, 512), ("vocab", "embed")),
        "encoder/relpos_bias/rel_embedding": ((6, 32), ("heads", "relpos_buckets")),
        "encoder/layers_0/attention/query/kernel": ((512, 384), ("embed", "joined_kv")),
        "encoder/layers_7/attention/out/kernel": ((384, 512), ("joined_kv", "embed")),
        "encoder/layers_3/mlp/wi_0/kernel": ((512, 1024), ("embed", "mlp")),
        "encoder/layers_3/mlp/wi_1/kernel": ((512, 1024), ("embed", "mlp")),
        "encoder/layers_3/mlp/wo/kernel": ((1024, 512), ("mlp", "embed")),
        "encoder/layers_0/pre_attention_layer_norm/scale": ((512,), ("embed",)),
        "encoder/layers_0/pre_mlp_layer_norm/scale": ((512,), ("embed",)),
        "encoder/encoder_norm/scale": ((512,), ("embed",)),
        "decoder/layers_0/self_attention/key/kernel": ((512, 384), ("embed", "joined_kv")),
        "decoder/layers_7/encoder_decoder_attention/value/kernel": (
            (512, 384),
            ("embed", "joined_kv"),
        ),
        "decoder/layers_2/pre_self_attention_layer_norm/scale": ((512,), ("embed",)),
        "decoder/layers_2/pre_cross_attention_layer_norm/scale": ((512,), ("embed",)),
        "decoder/decoder_norm/scale": ((512,), ("embed",)),
        "decoder/logits_dense/kernel": ((512, 250_112), ("embed", "vocab")),
    }
    for name, (shape, names) in expected.items():
        assert (shapes[name], axes[name]) == (shape, names), name


def test_tying_the_embedding_drops_the_output_matrix():
    untied, tied = (tiny(**c).architecture for c in ({}, {"logits_via_embedding": True}))
    assert set(flat_params(untied.shapes)) - set(flat_params(tied.shapes)) == {
        "decoder/logits_dense/kernel"
    }


def test_tied_logits_are_scaled_products_with_the_embedding():
    model = tiny(logits_via_embedding=True)
    hidden = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    # 1/sqrt(16) = 1/4, as in T5 1.0. Products of order 1: float32 rounding.
    expected = hidden / 4 @ np.asarray(model.params["token_embedder"]["embedding"]).T
    got = model.architecture.merge(model.params).logits(jnp.asarray(hidden))
    np.testing.assert_allclose(got, expected, atol=ROUNDING)


# What the configuration refuses.


def test_float16_is_refused_because_mt5_overflows_in_it():
    with pytest.raises(ValueError, match=r"float16.*overflow.*use bfloat16"):
        T5Config(vocab_size=64, dtype="float16")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": "float64"}, "dtype is float64; use bfloat16 or float32"),
        ({"mlp_activations": ("gelu", "swiglu")}, "'swiglu' is unknown"),
        ({"dropout_rate": 1.0}, r"dropout_rate is 1.0; use a number in \[0, 1\)"),
        ({"attention": "flash"}, "attention is 'flash'; use auto or plain or fused"),
        ({"remat_policy": "some"}, "remat_policy is 'some'; use one of none, minimal, full"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        T5Config(vocab_size=64, **change)


def test_a_config_survives_json():
    config = T5Config(**TINY | {"dtype": "bfloat16"})
    assert config.to_json()["dtype"] == "bfloat16"
    assert T5Config(**config.to_json()) == config


# The forward pass.


def test_logits_do_not_depend_on_later_targets():
    source, targets = tokens(1, 6), tokens(1, 8, seed=1)
    other = targets.copy()
    other[:, 5:] = 64 - other[:, 5:]
    a = tiny().logits(source, shifted(targets), targets)
    b = tiny().logits(source, shifted(other), other)
    np.testing.assert_array_equal(a[:, :6], b[:, :6])  # input 6 is the first that differs
    assert np.abs(a[:, 6:] - b[:, 6:]).max() > 0.01


def test_padding_changes_nothing():
    source, targets = tokens(1, 6), tokens(1, 5, seed=1)
    alone = tiny().logits(source, shifted(targets), targets)
    wide = [np.pad(x, ((0, 0), (0, 4))) for x in (source, shifted(targets), targets)]
    padded = tiny().logits(*wide)
    np.testing.assert_allclose(padded[:, :5], alone, atol=ROUNDING)


def test_packed_rows_give_the_logits_of_the_examples_alone():
    # Sources of 5 and 4 tokens, targets of 3 and 6, in one row of 10 and 10.
    sources = tokens(1, 5, seed=1), tokens(1, 4, seed=2)
    targets = tokens(1, 3, seed=3), tokens(1, 6, seed=4)
    row = lambda parts: np.pad(np.concatenate(parts, 1), ((0, 0), (0, 1)))  # noqa: E731
    segments = (
        np.array([[1] * 5 + [2] * 4 + [0]], np.int32),
        np.array([[1] * 3 + [2] * 6 + [0]], np.int32),
    )
    packed = tiny().logits(
        row(sources),
        row([shifted(t) for t in targets]),
        row(targets),
        segments,
    )
    for i, part in enumerate((slice(0, 3), slice(3, 9))):
        alone = tiny().logits(sources[i], shifted(targets[i]), targets[i])
        np.testing.assert_allclose(packed[:, part], alone, atol=ROUNDING)


def test_bfloat16_runs_and_stays_near_float32():
    source, targets = tokens(4, 12), tokens(4, 10, seed=1)
    exact = tiny().logits(source, shifted(targets), targets)
    rough = tiny(dtype="bfloat16").logits(source, shifted(targets), targets)
    assert rough.dtype == jnp.float32  # logits are accumulated and returned in float32
    error = np.abs(rough - exact)
    # bfloat16 keeps 8 bits (0.4 %); some twenty roundings on the way to logits of order 1.
    assert 0 < error.mean() < 0.02 * np.std(exact)


def test_dropout_is_active_only_with_a_key_and_repeats_with_the_same_key():
    run = tiny(dropout_rate=0.5).logits
    source, targets = tokens(1, 6), tokens(1, 5, seed=1)
    args = source, shifted(targets), targets
    without = tiny().logits(*args)
    # The same computation, compiled twice.
    np.testing.assert_allclose(run(*args), without, atol=ROUNDING)
    one, two = (run(*args, key=jax.random.key(seed)) for seed in (1, 2))
    assert np.abs(one - without).max() > 0.1 and np.abs(one - two).max() > 0.1
    np.testing.assert_array_equal(run(*args, key=jax.random.key(1)), one)


# The cache.


def two_rows(**changes):
    """Two rows, one of them with padding in its source, and their logits without a cache."""
    source, targets = tokens(2, 7), tokens(2, 8, seed=1)
    source[1, 5:] = 0
    logits = tiny(**changes).logits(source, shifted(targets), targets)
    cache = tiny(**changes).start(source, length=10)
    return shifted(targets), np.asarray(logits), cache


@pytest.fixture(scope="module")
def sample():
    return two_rows()


def test_with_a_bias_per_layer_each_layer_has_its_own_and_the_cache_still_agrees():
    changes = dict(num_encoder_layers=2, num_decoder_layers=2, relative_bias_per_layer=True)
    names = flat_params(tiny(**changes).params)
    assert [name for name in names if "relpos" in name] == [
        f"{stack}/layers_{i}/relpos_bias/rel_embedding"
        for stack in ("decoder", "encoder")
        for i in (0, 1)
    ]
    inputs, expected, cache = two_rows(**changes)
    for t in (0, 4):
        logits, cache = tiny(**changes).step(inputs[:, t : t + 4], np.full(2, t), cache)
        np.testing.assert_allclose(logits, expected[:, t : t + 4], atol=ROUNDING)


def test_decoding_token_by_token_equals_the_full_forward_pass(sample):
    inputs, expected, cache = sample
    for t in range(8):
        logits, cache = tiny().step(inputs[:, t : t + 1], np.full(2, t), cache)
        np.testing.assert_allclose(logits[:, 0], expected[:, t], atol=ROUNDING)


def test_several_tokens_at_once_equal_the_full_forward_pass(sample):
    inputs, expected, cache = sample
    for t in (0, 4):
        logits, cache = tiny().step(inputs[:, t : t + 4], np.full(2, t), cache)
        np.testing.assert_allclose(logits, expected[:, t : t + 4], atol=ROUNDING)


def test_rows_may_stand_at_different_positions_and_step_back(sample):
    inputs, expected, cache = sample
    # Row 0 goes 0-3, 3-6, 4-7; row 1 goes 0-3, 1-4, 4-7. Stale entries are overwritten.
    for positions in ((0, 0), (3, 1), (4, 4)):
        part = np.stack([inputs[row, at : at + 4] for row, at in enumerate(positions)])
        logits, cache = tiny().step(part, np.array(positions), cache)
        for row, at in enumerate(positions):
            np.testing.assert_allclose(logits[row], expected[row, at : at + 4], atol=ROUNDING)


def test_what_the_cache_holds_after_the_position_is_never_seen(sample):
    inputs, expected, cache = sample
    cache = cache._replace(
        keys=tuple(x + 100.0 for x in cache.keys), values=tuple(x - 100.0 for x in cache.values)
    )
    logits, _ = tiny().step(inputs[:, :4], np.zeros(2, int), cache)
    np.testing.assert_allclose(logits, expected[:, :4], atol=ROUNDING)


def test_scores_of_a_few_words_are_those_of_the_full_vocabulary():
    for changes in ({}, {"logits_via_embedding": True}):
        small = tiny(**changes)
        hidden = jax.random.normal(jax.random.key(0), (3, 16))
        few = jnp.array([[5, 0], [63, 63], [7, 1]])
        model = small.architecture.merge(small.params)
        expected = jnp.take_along_axis(model.logits(hidden), few, axis=1)
        np.testing.assert_allclose(model.logits_of(hidden, few), expected, atol=ROUNDING)
