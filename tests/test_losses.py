"""The cross-entropy against formulas in numpy; the chunked one against the plain one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from medmt5 import losses
from medmt5.losses import cross_entropy
from medmt5.partitioning import make_mesh

# The same float32 terms summed in another order: a few units in the last place (6e-8 each).
ROUNDING = dict(rtol=1e-5, atol=1e-6)


# The loss of one token.


def test_an_even_guess_over_four_words_costs_ln_4():
    loss, z = cross_entropy(jnp.zeros((1, 1, 4)), jnp.array([[2]]), z_loss=0.5, label_smoothing=0.0)
    # log Z = ln 4 = 1.386294; z-loss 0.5 x 1.921812.
    assert z[0, 0] == pytest.approx(0.960906, rel=1e-5)
    assert loss[0, 0] == pytest.approx(1.386294 + 0.960906, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.1])
def test_loss_is_the_divergence_from_the_smoothed_target_plus_squared_log_z(smoothing, z_loss):
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(2, 5, 7))
    targets = rng.integers(0, 7, (2, 5))
    expected, expected_z = divergence(logits, targets, z_loss, smoothing)
    loss, z = cross_entropy(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(targets),
        z_loss=z_loss,
        label_smoothing=smoothing,
    )
    np.testing.assert_allclose(z, expected_z, **ROUNDING)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)


def divergence(logits, targets, z_loss, smoothing):
    """In float64: divergence per token with z-loss, and z-loss alone."""
    vocab = logits.shape[-1]
    wanted = np.where(
        np.arange(vocab) == targets[..., None], 1 - smoothing, smoothing / (vocab - 1)
    )
    log_z = np.log(np.exp(logits).sum(-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(wanted > 0, wanted * (np.log(wanted) - (logits - log_z)), 0)
    z = z_loss * log_z[..., 0] ** 2
    return terms.sum(-1) + z, z


def test_a_prediction_equal_to_the_smoothed_target_costs_nothing():
    logits = jnp.log(jnp.array([[[0.9, 0.05, 0.05]]]))
    loss, _ = cross_entropy(logits, jnp.array([[0]]), z_loss=0.0, label_smoothing=0.1)
    assert abs(float(loss[0, 0])) < 1e-6  # float32 rounding of terms of order 1


# In chunks. Smoothing and z-loss are large, so that their part of the gradient would be missed.

OPTIONS = dict(z_loss=0.01, label_smoothing=0.1)
NO_OPTIONS = dict(z_loss=0.0, label_smoothing=0.0)


def example(batch=8, target=6, embed=16, vocab=64, dtype=jnp.float32, confident=False):
    """Hidden states, kernel, targets; weights are 0 for some tokens and 2 for others."""
    keys = jax.random.split(jax.random.key(batch * target), 4)
    hidden = jax.random.normal(keys[0], (batch, target, embed))
    kernel = jax.random.normal(keys[1], (embed, vocab)) * embed**-0.5
    targets = jax.random.randint(keys[2], (batch, target), 0, vocab)
    weights = jax.random.randint(keys[3], (batch, target), 0, 3).astype(jnp.float32)
    if confident:  # towards the target's column: most targets get nearly all of the probability
        hidden += 6 * jnp.take(kernel.T, targets, axis=0)
    return hidden.astype(dtype), kernel, targets, weights


def plain(hidden, kernel, targets, weights, **options):
    logits = jnp.dot(hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32)
    return losses.plain_sums(logits, targets, weights, **options)


def with_gradients(sums, arrays, **options):
    """Sums, and the gradients of a mean loss for hidden, kernel and weights."""

    def mean(*arrays):
        found = sums(*arrays, **options)
        return found.total / 37, found  # not a power of two: it rounds

    gradient = jax.jit(jax.grad(mean, argnums=(0, 1, 3), has_aux=True))
    gradients, found = gradient(*arrays)
    return found, gradients


@functools.cache
def plain_example(**options):
    return with_gradients(plain, example(), **options)


def assert_equal_to_plain(arrays, expected, *, chunk_tokens, **options):
    found = with_gradients(losses.chunked_sums, arrays, chunk_tokens=chunk_tokens, **options)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        # Sums of up to a few hundred float32 terms in another order, and the softmax as
        # exp(x - log Z) instead of a quotient: 5e-7 of the largest entry was seen.
        largest = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * largest)


@pytest.mark.parametrize(
    "chunk_tokens",
    [
        pytest.param(48, id="one chunk"),
        pytest.param(1000, id="a chunk larger than the batch"),
        pytest.param(8, id="six chunks"),
        pytest.param(7, id="seven chunks with a padded token"),
        pytest.param(1, id="token by token"),
    ],
)
@pytest.mark.parametrize("options", [OPTIONS, NO_OPTIONS], ids=["smoothed", "bare"])
def test_chunks_of_any_size_give_the_plain_loss_and_gradients(chunk_tokens, options):
    assert_equal_to_plain(example(), plain_example(**options), chunk_tokens=chunk_tokens, **options)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"data": 8}, id="data"),
        pytest.param({"fsdp": 8}, id="fsdp"),
        pytest.param({"model": 8}, id="model"),
        pytest.param({"fsdp": 4, "model": 2}, id="fsdp and model"),
        pytest.param({"data": 2, "fsdp": 2, "model": 2}, id="all three"),
    ],
)
def test_every_mesh_gives_the_plain_loss_and_gradients_of_one_device(sizes):
    arrays = example()
    with jax.set_mesh(make_mesh(**sizes)):
        assert_equal_to_plain(arrays, plain_example(**OPTIONS), chunk_tokens=4, **OPTIONS)


@pytest.mark.parametrize("sizes", [{"fsdp": 8}, {"data": 2, "fsdp": 2, "model": 2}])
def test_nothing_has_to_divide_over_the_mesh(sizes):
    arrays = example(3, 5, 7, 31)  # 15 tokens, width 7, 31 words
    expected = with_gradients(plain, arrays, **OPTIONS)
    with jax.set_mesh(make_mesh(**sizes)):
        assert_equal_to_plain(arrays, expected, chunk_tokens=2, **OPTIONS)


def test_the_gradient_is_that_of_finite_differences():
    hidden, kernel, targets, weights = (np.asarray(x) for x in example(2, 3, 4, 5))

    def total(hidden, kernel):
        logits = hidden.astype(np.float64) @ kernel.astype(np.float64)
        loss, _ = divergence(logits, targets, OPTIONS["z_loss"], OPTIONS["label_smoothing"])
        return (loss * weights).sum() / 37

    def slopes(function, x, step=1e-5):
        """Central differences; in float64 they err by about step squared."""
        x = x.astype(np.float64)
        found = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            shift = np.zeros_like(x)
            shift[i] = step
            found[i] = (function(x + shift) - function(x - shift)) / (2 * step)
        return found

    _, gradients = with_gradients(
        losses.chunked_sums, (hidden, kernel, targets, weights), chunk_tokens=4, **OPTIONS
    )
    of_hidden = slopes(lambda x: total(x, kernel), hidden)
    of_kernel = slopes(lambda x: total(hidden, x), kernel)
    np.testing.assert_allclose(gradients[0], of_hidden, **ROUNDING)
    np.testing.assert_allclose(gradients[1], of_kernel, **ROUNDING)


@pytest.mark.parametrize("confident", [False, True])
def test_in_bfloat16_the_gradients_are_as_near_to_the_truth_as_the_plain_ones(confident):
    sizes = dict(batch=4, target=64, embed=32, vocab=1000, confident=confident)
    _, truth = with_gradients(plain, example(**sizes), **NO_OPTIONS)
    arrays = example(**sizes, dtype=jnp.bfloat16)
    # What is left of the truth once hidden states and kernel are rounded: a sharper measure.
    rounded = [x.astype(jnp.bfloat16).astype(jnp.float32) for x in arrays[:2]]
    _, of_rounded = with_gradients(plain, (*rounded, *arrays[2:]), **NO_OPTIONS)

    expected, theirs = with_gradients(plain, arrays, **NO_OPTIONS)
    found, ours = with_gradients(losses.chunked_sums, arrays, chunk_tokens=100, **NO_OPTIONS)
    # Logits are exact products, summed in float32, in both.
    np.testing.assert_allclose(found.total, expected.total, rtol=1e-5)
    assert [x.dtype for x in ours] == [x.dtype for x in theirs]

    def error(gradient, reference):
        gradient, reference = (np.asarray(x, np.float64) for x in (gradient, reference))
        return np.linalg.norm(gradient - reference) / np.linalg.norm(reference)

    for reference in (truth, of_rounded):
        for i in (0, 1):
            # The last rounding is common to both and makes 1.6e-3. Ours alone rounds the gradient
            # of the logits, which adds less than a thousandth of that for hidden states; a target's
            # entry rounded like the rest would add up to a quarter. The kernel's is never rounded.
            assert error(ours[i], reference[i]) <= 1.01 * error(theirs[i], reference[i])


def test_a_batch_of_padding_has_no_loss_and_no_gradient():
    hidden, kernel, targets, weights = example()
    arrays = hidden, kernel, jnp.zeros_like(targets), jnp.zeros_like(weights)
    sums, gradients = with_gradients(losses.chunked_sums, arrays, chunk_tokens=5, **OPTIONS)
    assert sums == (0, 0, 0, 0)
    for gradient in gradients[:2]:
        np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


def test_tokens_of_weight_0_do_not_count_whatever_they_are():
    hidden, kernel, targets, weights = example()
    off = (weights == 0)[..., None]
    assert 0 < off.sum() < off.size
    run = functools.partial(with_gradients, losses.chunked_sums, chunk_tokens=5, **OPTIONS)
    sums, gradients = run((hidden, kernel, targets, weights))
    other_sums, other = run((jnp.where(off, 9.0, hidden), kernel, targets, weights))
    assert sums == other_sums
    np.testing.assert_array_equal(gradients[0], other[0])
    np.testing.assert_array_equal(gradients[1], other[1])
    np.testing.assert_array_equal(jnp.where(off, gradients[0], 0), 0)


@pytest.mark.parametrize("sizes", [{"data": 8}, {"model": 8}])
def test_the_prediction_is_the_first_of_the_highest_logits_on_whichever_device(sizes):
    logits = np.zeros((4, 16), np.float32)  # on the second mesh a device has two words
    logits[1, 5] = 3
    logits[2, [5, 9]] = 3
    logits[3, [5, 9]] = 3
    arrays = jnp.eye(4)[None], jnp.asarray(logits), jnp.array([[0, 5, 5, 9]]), jnp.ones((1, 4))
    with jax.set_mesh(make_mesh(**sizes)):
        sums = jax.jit(functools.partial(losses.chunked_sums, **NO_OPTIONS))(*arrays)
    assert sums.correct == 3  # all but the last


def test_evaluation_multiplies_once_and_makes_no_gradients():
    loss = functools.partial(losses.chunked_sums, chunk_tokens=8, **OPTIONS)
    evaluate = jax.make_jaxpr(loss)(*example())
    train = jax.make_jaxpr(jax.grad(lambda *arrays: loss(*arrays).total, argnums=(0, 1)))(
        *example()
    )
    assert str(evaluate).count("dot_general") == 1
    assert str(train).count("dot_general") == 3  # logits once: they are not made again


def test_the_gradients_lie_where_their_arrays_do():
    mesh = make_mesh(data=2, fsdp=2, model=2)
    rows, split = PartitionSpec(("data", "fsdp")), PartitionSpec("fsdp", "model")
    put = [
        jax.device_put(x, NamedSharding(mesh, spec))
        for x, spec in zip(example(), (rows, split, rows, rows), strict=True)
    ]
    with jax.set_mesh(mesh):
        _, gradients = with_gradients(losses.chunked_sums, put, chunk_tokens=4, **OPTIONS)
    for gradient, array in zip(gradients, (put[0], put[1], put[3]), strict=True):
        assert gradient.sharding.is_equivalent_to(array.sharding, array.ndim)


def test_few_logits_are_counted_per_device():
    at_once = losses.FEW_LOGITS
    assert losses.few_logits(1, at_once) and not losses.few_logits(1, at_once + 1)
    with jax.set_mesh(make_mesh(data=2, fsdp=2, model=2)):
        assert losses.few_logits(8, at_once) and not losses.few_logits(9, at_once)
