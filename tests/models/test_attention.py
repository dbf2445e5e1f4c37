"""Attention and its relative bias, against numbers worked by hand or a few lines of numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from medmt5.models.attention import (
    Attention,
    RelativePositionBias,
    Seen,
    attend,
    relative_position_bucket,
)
from medmt5.models.layers import Keys
from medmt5.models.t5 import T5Config

CONFIG = T5Config(vocab_size=64, dtype="float32", emb_dim=16, num_heads=2, head_dim=4)


def bucket(distance, **options):
    options = {"bidirectional": True, "num_buckets": 32, "max_distance": 128} | options
    return np.asarray(relative_position_bucket(jnp.asarray(distance), **options))


@pytest.mark.parametrize(
    "distance, expected",
    [
        (0, 0),
        (-1, 1),  # keys to the left: one by one below 8
        (-7, 7),
        (-8, 8),  # then 8 + 8 log(d/8) / log(128/8): 8 to 11 share a bucket
        (-11, 8),
        (-12, 9),
        (-16, 10),
        (-127, 15),
        (-5000, 15),
        (1, 17),  # keys to the right: 16 more
        (7, 23),
        (16, 26),
        (5000, 31),
    ],
)
def test_encoder_buckets_are_exact_when_near_and_logarithmic_when_far(distance, expected):
    assert bucket([distance])[0] == expected


@pytest.mark.parametrize(
    "distance, expected",
    # All 32 buckets look left: one by one below 16, then 16 + 16 log(d/16) / log(128/16).
    [(3, 0), (0, 0), (-5, 5), (-15, 15), (-16, 16), (-20, 17), (-32, 21), (-127, 31), (-999, 31)],
)
def test_decoder_buckets_look_left_only(distance, expected):
    assert bucket([distance], bidirectional=False)[0] == expected


def test_buckets_grow_with_distance_and_mirror_left_and_right():
    distance = np.arange(1, 300)
    left, right = bucket(-distance), bucket(distance)
    assert (np.diff(left) >= 0).all() and left.max() == 15
    assert (right == left + 16).all()


def test_bucket_counts_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="num_buckets is 7"):
        bucket([1], num_buckets=7)
    with pytest.raises(ValueError, match="num_buckets is 2"):
        bucket([1], num_buckets=2, bidirectional=False)


def test_relative_bias_looks_up_key_minus_query_per_head():
    bias = RelativePositionBias(CONFIG, bidirectional=True, rngs=nnx.Rngs(0))
    table = np.arange(64, dtype=np.float32).reshape(2, 32)
    bias.rel_embedding[...] = jnp.asarray(table)
    got = np.asarray(bias(jnp.arange(3), jnp.arange(3)))
    # Query 0 sees keys at distance 0, 1, 2; query 2 at -2, -1, 0.
    assert got.shape == (2, 3, 3)
    assert got[0, 0].tolist() == [0, 17, 18]
    assert got[1, 2].tolist() == [34, 33, 32]


def test_relative_bias_takes_positions_per_row():
    bias = RelativePositionBias(CONFIG, bidirectional=False, rngs=nnx.Rngs(0))
    keys = jnp.broadcast_to(jnp.arange(6), (2, 6))
    rows = bias(jnp.array([[1], [4]]), keys)
    whole = bias(jnp.arange(6), jnp.arange(6))
    assert rows.shape == (2, 2, 1, 6)
    np.testing.assert_array_equal(rows[0, :, 0], whole[:, 1])
    np.testing.assert_array_equal(rows[1, :, 0], whole[:, 4])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("query, key", [(5, 5), (3, 8), (8, 3), (1, 1), (40, 40)])
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_the_bias_of_positions_that_count_up_is_that_of_any_positions(
    query, key, bidirectional, platform, monkeypatch
):
    monkeypatch.setattr("medmt5.models.attention._platform", lambda: platform)
    graph = nnx.graphdef(
        RelativePositionBias(CONFIG, bidirectional=bidirectional, rngs=nnx.Rngs(0))
    )
    weights = jax.random.normal(jax.random.key(1), (2, query, key))

    def gathered(table):
        return nnx.merge(graph, {"rel_embedding": table})(jnp.arange(query), jnp.arange(key))

    def counted(table):
        return nnx.merge(graph, {"rel_embedding": table}).between(query, key)

    table = jax.random.normal(jax.random.key(2), (2, 32))
    np.testing.assert_array_equal(counted(table), gathered(table))
    gradients = [
        jax.grad(lambda t, f=f: (f(t) * weights).sum())(table) for f in (counted, gathered)
    ]
    # Up to 1,600 float32 terms of order 1 in another order.
    np.testing.assert_allclose(*gradients, atol=2e-4)


def test_a_query_sees_its_own_segment_no_padding_and_if_causal_nothing_to_the_right():
    query, key = jnp.array([[1, 1, 2, 0]]), jnp.array([[1, 2, 2, 0]])
    rows = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(Seen(query, key).mask()[0, 0], rows)
    rows = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(Seen(query, key, causal=True).mask()[0, 0], rows)
    whole = jnp.ones((1, 3), jnp.int32)
    np.testing.assert_array_equal(Seen(whole, whole, causal=True).mask()[0, 0], np.tri(3))


def one_query(keys, values, *, bias=None, mask=None):
    """Attention of the query 1 over one-dimensional keys and values."""
    shape = (1, len(keys), 1, 1)
    return float(
        attend(
            jnp.ones((1, 1, 1, 1)),
            jnp.asarray(keys, jnp.float32).reshape(shape),
            jnp.asarray(values, jnp.float32).reshape(shape),
            bias=None if bias is None else jnp.asarray(bias).reshape(1, 1, 1, -1),
            mask=jnp.asarray([True] * len(keys) if mask is None else mask).reshape(1, 1, 1, -1),
        )[0, 0, 0, 0]
    )


def test_attention_weights_are_a_softmax_of_query_times_key_plus_bias():
    log3 = math.log(3)
    # Keys 0 and ln 3 weigh 1/4 and 3/4: 4/4 + 8 * 3/4 = 7. Tolerances: float32 rounding.
    assert one_query([0, log3], [4, 8]) == pytest.approx(7, rel=1e-6)
    assert one_query([0, log3], [4, 8], bias=[0, -log3]) == pytest.approx(6, rel=1e-6)
    assert one_query([0, log3], [4, 8], mask=[True, False]) == pytest.approx(4, rel=1e-6)


def test_attention_logits_are_not_divided_by_the_square_root_of_the_head_width():
    # Four times ln(3)/4 is ln 3: weights 1/4 and 3/4, as above.
    key = jnp.stack([jnp.zeros(4), jnp.full(4, math.log(3) / 4)])[None, :, None]
    value = jnp.stack([jnp.full(4, 4.0), jnp.full(4, 8.0)])[None, :, None]
    got = attend(
        jnp.ones((1, 1, 1, 4)),
        key,
        value,
        bias=None,
        mask=jnp.ones((1, 1, 1, 2), bool),
    )
    np.testing.assert_allclose(got[0, 0, 0], [7, 7, 7, 7], rtol=1e-6)  # float32 rounding


def test_a_row_that_may_attend_to_nothing_stays_finite():
    assert one_query([1, 2], [4, 8], mask=[False, False]) == 6.0  # the plain mean


def test_query_kernels_start_smaller_by_the_square_root_of_the_head_width():
    config = T5Config(vocab_size=64, emb_dim=256, num_heads=8, head_dim=64, dtype="float32")
    attention = Attention(config, rngs=nnx.Rngs(0))
    query, key = (np.std(attention.query.kernel[...]), np.std(attention.key.kernel[...]))
    # 131,072 draws: the standard deviation is known to 0.2 %; 1 % is five times that.
    assert key == pytest.approx(1 / 16, rel=0.01)
    assert query == pytest.approx(1 / 16 / 8, rel=0.01)


def test_dropping_values_is_dropping_attention_weights_alike_for_all_queries():
    config = T5Config(
        vocab_size=64, dtype="float32", emb_dim=16, num_heads=2, head_dim=4, dropout_rate=0.5
    )
    attention = Attention(config, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 6, 16))
    key, value = attention.keys_values(x)
    seen = []

    def look(query, key, value):
        seen.append(value)
        return attend(query, key, value, bias=None, mask=jnp.ones((2, 1, 6, 6), bool))

    got = attention(x, key, value, attend=look, keys=Keys(jax.random.key(2)))
    kept = np.asarray(seen[0] != 0).any(-1)  # (batch, key, heads)
    assert 0.2 < kept.mean() < 0.8
    query = np.asarray(x @ attention.query.kernel[...]).reshape(2, 6, 2, 4)
    logits = np.einsum("bqhd,bkhd->bhqk", query, np.asarray(key))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weights = weights * kept.transpose(0, 2, 1)[:, :, None, :] / 0.5
    attended = np.einsum("bhqk,bkhd->bqhd", weights, np.asarray(value)).reshape(2, 6, 8)
    # float32 sums of a few terms of order 1, in another order.
    np.testing.assert_allclose(got, attended @ attention.out.kernel[...], atol=1e-5)
