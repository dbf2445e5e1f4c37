"""Schedules at points worked by hand; Adafactor against the paper, written out in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medmt5 import optimizers

schedule = optimizers.create_learning_rate_scheduler


@pytest.mark.parametrize(
    "options, points",
    [
        pytest.param(
            {"factors": "constant", "base_learning_rate": 0.25}, {0: 0.25, 9: 0.25}, id="c"
        ),
        pytest.param(
            # The default: 0.5 x step/1000 x 1/sqrt(1000), then 0.5/sqrt(step).
            {},
            {0: 1e-8, 500: 0.25 / math.sqrt(1000), 1000: 0.5 / math.sqrt(1000), 10_000: 0.005},
            id="T5's warm-up and inverse root",
        ),
        pytest.param(
            {"factors": "rsqrt_decay", "warmup_steps": 10_000},
            {0: 0.01, 10_000: 0.01, 40_000: 0.005},
            id="mT5's pre-training, with its constant of 1",
        ),
        pytest.param(
            {"factors": "constant*rsqrt_normalized_decay", "warmup_steps": 100},
            {0: 0.5, 100: 0.5, 400: 0.25},
            id="normalised inverse root",
        ),
        pytest.param(
            # T5X's linear_decay holds its own constant and warm-up; decay_factor is per step:
            # 0.1 x min(step/10, 1 + 0.05 (10 - step)).
            {
                "factors": "linear_decay",
                "base_learning_rate": 0.1,
                "warmup_steps": 10,
                "decay_factor": 0.05,
                "min_learning_rate": 1e-3,
            },
            {0: 1e-3, 5: 0.05, 10: 0.1, 20: 0.05, 29: 0.005, 30: 1e-3, 99: 1e-3},
            id="linear decay",
        ),
        pytest.param(
            {"factors": "constant * decay_every", "decay_factor": 0.1, "steps_per_decay": 100},
            {0: 0.5, 99: 0.5, 100: 0.05, 250: 0.005},
            id="staircase",
        ),
        pytest.param(
            {"factors": "constant * cosine_decay", "warmup_steps": 100, "steps_per_cycle": 200},
            # Half a cosine per cycle, then again from the top.
            {0: 0.5, 100: 0.5, 200: 0.25, 250: 0.25 * (1 - math.sqrt(0.5)), 300: 0.5},
            id="cosine",
        ),
        pytest.param(
            {"factors": "constant * linear_warmup", "warmup_steps": 10, "step_offset": 1000},
            {900: 1e-8, 1000: 1e-8, 1005: 0.25, 1010: 0.5},
            id="offset",
        ),
    ],
)
def test_schedules_pass_through_points_worked_by_hand(options, points):
    rate = schedule(**options)
    got = {step: float(rate(step)) for step in points}
    assert got == pytest.approx(points, rel=1e-6)  # float32


def test_a_schedule_is_traced_once_for_all_steps():
    rate = schedule()
    np.testing.assert_allclose(jax.jit(rate)(jnp.asarray(500)), rate(500), rtol=1e-6)  # float32


def test_an_unknown_factor_is_named():
    with pytest.raises(ValueError, match=r"'rsqrt' is unknown; factors are constant, .*joined by"):
        schedule(factors="constant * rsqrt")


def adafactor_by_the_paper(
    x,
    gradients,
    *,
    rate=0.01,
    decay=0.8,
    threshold=1.0,
    scale_by_parameter=True,
    factored=True,
):
    """Shazeer and Stern 2018, algorithms 4 and 5, in float64."""
    x, eps1, eps2 = x.astype(np.float64), 1e-30, 1e-3

    def rms(a):
        return math.sqrt(np.mean(np.square(a)))

    row, column, full = np.zeros(x.shape[0]), np.zeros(x.shape[-1]), np.zeros(x.shape)
    for t, g in enumerate(gradients, 1):
        beta = 1 - t**-decay
        square = np.square(g.astype(np.float64)) + eps1
        if factored:
            row = beta * row + (1 - beta) * square.sum(1)
            column = beta * column + (1 - beta) * square.sum(0)
            second = np.outer(row, column) / row.sum()
        else:
            full = beta * full + (1 - beta) * square
            second = full
        update = g / np.sqrt(second)
        if threshold is not None:
            update = update / max(1.0, rms(update) / threshold)
        x = x - rate * (max(eps2, rms(x)) if scale_by_parameter else 1.0) * update
    return x


def run(optimizer, x, gradients):
    params = {"x": jnp.asarray(x)}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for g in gradients:
        updates, state = update({"x": jnp.asarray(g)}, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["x"])


def problem(scale=0.3, shape=(4, 6), steps=5):
    rng = np.random.default_rng(0)
    x = (scale * rng.normal(size=shape)).astype(np.float32)
    # Sizes differ by 100 between rows, so that factored and full moments differ too.
    rows = np.logspace(-1, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return x, [(rows * rng.normal(size=shape)).astype(np.float32) for _ in range(steps)]


def test_the_first_unfactored_step_is_the_sign_of_the_gradient():
    x = np.array([[0.3, -0.4]], np.float32)
    # RMS of x: sqrt((0.09 + 0.16) / 2) = 0.353553. The update g/|g| has root mean square 1, so
    # clipping at 1 leaves it: every value moves by 0.1 x 0.353553.
    got = run(optimizers.adafactor(0.1), x, [np.array([[5.0, -0.01]], np.float32)])
    np.testing.assert_allclose(got, [[0.3 - 0.0353553, -0.4 + 0.0353553]], rtol=1e-6)  # float32


def test_clipping_halves_an_update_of_twice_the_threshold():
    x = np.array([[0.3, -0.4]], np.float32)
    optimizer = optimizers.adafactor(0.1, clipping_threshold=0.5, multiply_by_parameter_scale=False)
    got = run(optimizer, x, [np.array([[5.0, -0.01]], np.float32)])
    np.testing.assert_allclose(got, [[0.25, -0.35]], rtol=1e-6)  # float32


def test_a_parameter_near_zero_moves_as_if_it_were_a_thousandth():
    got = run(optimizers.adafactor(0.1), np.zeros((1, 2), np.float32), [np.ones((1, 2))])
    np.testing.assert_allclose(got, [[-1e-4, -1e-4]], rtol=1e-6)  # float32


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("threshold", [None, 1.0, 0.1])
@pytest.mark.parametrize("scale_by_parameter", [True, False])
def test_adafactor_follows_the_paper(factored, threshold, scale_by_parameter):
    x, gradients = problem()
    expected = adafactor_by_the_paper(
        x,
        gradients,
        threshold=threshold,
        scale_by_parameter=scale_by_parameter,
        factored=factored,
    )
    got = run(
        optimizers.adafactor(
            0.01,
            clipping_threshold=threshold,
            multiply_by_parameter_scale=scale_by_parameter,
            min_dim_size_to_factor=2,
            factored=factored,
        ),
        x,
        gradients,
    )
    # Updates are compared, float32 against float64; each adds a rounding of x (6e-8 x 1).
    np.testing.assert_allclose(got - x, expected - x, rtol=1e-5, atol=5e-7)


def test_factored_and_full_second_moments_differ():
    x, gradients = problem()
    factored, full = (adafactor_by_the_paper(x, gradients, factored=f) for f in (True, False))
    assert np.abs(factored - full).max() > 1e-3


def test_the_decay_exponent_and_the_learning_rate_schedule_reach_the_update():
    x, gradients = problem()
    got = run(
        optimizers.adafactor(schedule(factors="constant", base_learning_rate=0.02), decay_rate=0.5),
        x,
        gradients,
    )
    expected = adafactor_by_the_paper(x, gradients, rate=0.02, decay=0.5, factored=False)
    np.testing.assert_allclose(got - x, expected - x, rtol=1e-5, atol=5e-7)  # as above


def slots(optimizer, shape):
    state = optimizer.init({"x": jnp.zeros(shape)})
    return sorted(leaf.shape for leaf in jax.tree.leaves(state) if leaf.size > 1)


def test_only_matrices_of_128_and_more_are_factored():
    assert slots(optimizers.adafactor(), (128, 200)) == [(128,), (200,)]
    assert slots(optimizers.adafactor(), (127, 200)) == [(127, 200)]
    assert slots(optimizers.adafactor(), (512,)) == [(512,)]
    assert slots(optimizers.adafactor(factored=False), (128, 200)) == [(128, 200)]


def test_momentum_costs_one_more_slot_of_full_size():
    assert slots(optimizers.adafactor(beta1=0.9), (128, 200)) == [(128,), (128, 200), (200,)]


def test_chain_applies_its_transformations_in_order():
    optimizer = optimizers.chain([optax.scale(2.0), optax.clip(1.0), optax.scale(-0.5)])
    # 3 -> 6 -> 1 -> -0.5; clipping first would give -3.
    got = run(optimizer, np.zeros((1,), np.float32), [np.array([3.0], np.float32)])
    assert got.tolist() == [-0.5]
