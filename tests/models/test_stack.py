"""Scanned and rematerialised layers: the numbers of plain ones, in less memory or less code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medmt5.models.t5 import T5Config
from medmt5.state import Architecture
from medmt5.step import Batch, seq2seq_loss

TINY = dict(
    vocab_size=64,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=32,
    dropout_rate=0.1,
)


def batch(rows=2, source=24, target=16):
    rng = np.random.default_rng(0)
    inputs = rng.integers(3, 64, (rows, source)).astype(np.int32)
    targets = rng.integers(3, 64, (rows, target)).astype(np.int32)
    inputs[0, source * 3 // 4 :] = 0
    shifted = np.concatenate([np.zeros_like(targets[:, :1]), targets[:, :-1]], 1)
    return Batch(inputs, shifted, targets, np.ones(targets.shape, np.float32))


def gradients(*, key, batch=batch(), **changes):
    """Loss and gradients of a tiny model; parameters do not depend on how layers are run."""
    architecture = Architecture.t5(T5Config(**TINY | changes))
    params = jax.jit(architecture.init)(jax.random.key(0))

    def loss(params):
        return seq2seq_loss(architecture.merge(params), batch, dropout_key=key).total

    return jax.jit(jax.value_and_grad(loss))(params)


def assert_close(got, expected, tolerance):
    """Equal trees, but for `tolerance` times the largest entry of each array."""

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())

    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(close, got, expected)


@functools.cache
def plain(**changes):
    return gradients(key=jax.random.key(1), **changes)


@pytest.mark.parametrize(
    "scan_layers, remat_policy, per_layer",
    [
        (True, "full", False),
        pytest.param(False, "minimal", False, marks=pytest.mark.slow),
        pytest.param(True, "minimal", True, marks=pytest.mark.slow),
    ],
)
def test_layers_give_the_same_loss_and_gradients_however_they_run(
    scan_layers, remat_policy, per_layer
):
    expected = plain(relative_bias_per_layer=per_layer)
    got = gradients(
        key=jax.random.key(1),
        scan_layers=scan_layers,
        remat_policy=remat_policy,
        relative_bias_per_layer=per_layer,
    )
    # The same float32 operations, joined by the compiler in another way.
    assert_close(got, expected, 2e-6)


@pytest.mark.slow  # three programs
def test_a_scan_in_bfloat16_rounds_no_more_than_plain_layers():
    still = functools.partial(gradients, key=None, dropout_rate=0.0)
    exact = still()[1]

    def error(**changes):
        got = still(dtype="bfloat16", **changes)[1]
        squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2) / jnp.sum(b**2), got, exact)
        return float(jnp.mean(jnp.stack(jax.tree.leaves(squares)))) ** 0.5

    unrolled = error()
    assert 0.001 < unrolled < 0.1
    # Both round at the same places (0.0150 and 0.0147 were seen); a tenth is for the order of sums.
    assert error(scan_layers=True) < 1.1 * unrolled


def test_fused_attention_gives_the_loss_and_gradients_of_plain_attention():
    long = batch(source=128, target=96)
    segments = [1 + np.arange(length)[None] // (length // 2) for length in (128, 96)]
    source, target = (np.repeat(s, 2, axis=0).astype(np.int32) for s in segments)
    packed = long._replace(
        encoder_segment_ids=source * (long.encoder_input_tokens > 0), decoder_segment_ids=target
    )
    layers = dict(num_encoder_layers=1, num_decoder_layers=1)
    fused, plain = (
        gradients(key=jax.random.key(1), batch=packed, attention=attention, **layers)
        for attention in ("fused", "plain")
    )
    # float32 sums of up to 128 terms in another order, through both layers and back.
    assert_close(fused, plain, 1e-5)


def test_a_fused_attention_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="attention is 'fused', but cpu has none for .*'plain'"):
        gradients(key=None, attention="fused")  # rows of 24 tokens: one product is faster


def saved_bytes(remat_policy):
    """What is kept between the forward and the backward pass: parameters, logits, layers."""
    changes = dict(dropout_rate=0.0, remat_policy=remat_policy, scan_layers=True, attention="plain")
    architecture = Architecture.t5(T5Config(**TINY | changes))
    long = batch(source=128, target=64)

    def loss(params):
        return seq2seq_loss(architecture.merge(params), long, dropout_key=None).total

    kept = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], architecture.shapes)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def test_rematerialised_layers_keep_less():
    none, minimal, full = (saved_bytes(policy) for policy in ("none", "minimal", "full"))
    # 2 heads x 128 x 128 attention weights per row and layer dominate; "minimal" drops them, "full"
    # keeps one (2, 128, 16) input per layer. What does not depend on the policy is 0.5 MB.
    assert minimal < none / 3
    assert full < minimal / 2


def equations(jaxpr):
    total = 0
    for equation in jaxpr.eqns:
        total += 1 + sum(equations(inner) for inner in jax.core.jaxprs_in_params(equation.params))
    return total


def test_a_scanned_program_does_not_grow_with_the_number_of_layers():
    def size(layers, **changes):
        sizes = dict(num_encoder_layers=layers, num_decoder_layers=layers)
        architecture = Architecture.t5(T5Config(**TINY | sizes | changes))

        def loss(params):
            return seq2seq_loss(
                architecture.merge(params), batch(), dropout_key=jax.random.key(1)
            ).total

        return equations(jax.make_jaxpr(jax.grad(loss))(architecture.shapes).jaxpr)

    # Per layer: some twenty casts and stacks, and a key.
    grown = size(4, scan_layers=True) - size(2, scan_layers=True)
    assert grown < (size(4) - size(2)) / 3
