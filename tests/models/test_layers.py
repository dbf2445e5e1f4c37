"""The building blocks, each against numbers worked by hand or a few lines of numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from medmt5.models.layers import Dense, Keys, Mlp, RMSNorm, dropout
from medmt5.models.t5 import T5Config

CONFIG = T5Config(
    vocab_size=64,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    head_dim=4,
    mlp_dim=24,
    dropout_rate=0.0,
)


def test_rms_norm_divides_by_the_root_mean_square_and_keeps_the_mean():
    norm = RMSNorm(2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    norm.scale[...] = jnp.array([1.0, 10.0])
    # sqrt((3^2 + 4^2) / 2) = 3.5355: 3 -> 0.848528, 4 -> 1.131371. Tolerance: the 1e-6 inside.
    np.testing.assert_allclose(norm(jnp.array([[3.0, 4.0]]))[0], [0.848528, 11.31371], rtol=1e-6)


def test_gated_mlp_multiplies_a_gelu_branch_with_a_linear_one():
    mlp = Mlp(CONFIG, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)

    def gelu(v):
        return 0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))

    wi_0, wi_1, wo = (np.asarray(m.kernel[...]) for m in (mlp.wi_0, mlp.wi_1, mlp.wo))
    expected = (gelu(x @ wi_0) * (x @ wi_1)) @ wo
    # float32 sums of 24 terms of order 1, in another order.
    np.testing.assert_allclose(mlp(jnp.asarray(x), keys=None), expected, atol=1e-5)


def test_an_mlp_with_one_activation_has_a_single_kernel_named_wi():
    config = T5Config(vocab_size=64, emb_dim=16, mlp_dim=24, mlp_activations=("relu",))
    mlp = Mlp(config, rngs=nnx.Rngs(0))
    assert mlp.wi.kernel[...].shape == (16, 24)
    assert not hasattr(mlp, "wi_0")


def test_a_matrix_in_int8_by_hand():
    init = nnx.initializers.zeros
    layer = Dense((2, 3), ("embed", "mlp"), init=init, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    layer.kernel = nnx.Param(jnp.array([[127, 1, 0], [-127, 2, 0]], jnp.int8))
    layer.kernel_scale = nnx.Param(jnp.array([[0.5, 10.0, 1.0]]))
    x = jnp.array([[3.0, 1.0]])
    # 0.5 (3 x 127 - 127); 10 (3 + 2); 0.
    np.testing.assert_array_equal(layer(x), [[127.0, 50.0, 0.0]])
    gradient = jax.grad(lambda x: layer(x).astype(jnp.float32).sum())(x)
    np.testing.assert_array_equal(gradient, [[73.5, -43.5]])  # 63.5 + 10; -63.5 + 20


def test_dropout_drops_the_same_values_at_every_position():
    x = jnp.ones((4, 50, 64))
    got = np.asarray(dropout(x, 0.25, Keys(jax.random.key(0))))
    assert set(np.unique(got)) == {0.0, np.float32(1 / 0.75)}  # what stays is scaled up
    assert (got == got[:, :1]).all()
    assert (got[0] != got[1]).any()  # but rows differ
    # 256 draws with probability 1/4: standard deviation 2.7 %; four of them.
    assert np.mean(got[:, 0] == 0) == pytest.approx(0.25, abs=0.11)


def test_dropout_without_generator_or_at_rate_zero_changes_nothing():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, Keys(jax.random.key(0))) is x


def test_two_dropouts_in_a_row_draw_different_masks():
    keys = Keys(jax.random.key(0))
    x = jnp.ones((1, 1, 64))
    assert (dropout(x, 0.5, keys) != dropout(x, 0.5, keys)).any()


def test_dropout_along_another_axis_drops_whole_heads_of_a_position():
    got = np.asarray(dropout(jnp.ones((2, 9, 3, 5)), 0.5, Keys(jax.random.key(0)), axis=-1))
    assert (got == got[..., :1]).all()
    assert (got[:, 0] != got[:, 1]).any()
