"""Sums over a batch against numpy, whichever way it is cut; the compiled step."""

import contextlib
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medmt5 import losses
from medmt5.models.t5 import T5Config
from medmt5.partitioning import batch_sharding, make_mesh
from medmt5.state import Architecture, init_state
from medmt5.step import (
    Batch,
    LossConfig,
    eval_step,
    normalize_weights,
    seq2seq_loss,
    train_step,
)

SIZES = dict(
    vocab_size=64,
    dtype="float32",
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=32,
)
ARCHITECTURE = Architecture.t5(T5Config(**SIZES, dropout_rate=0.0))
DROPPING = Architecture.t5(T5Config(**SIZES, dropout_rate=0.3))
# A large step, so that what a parameter's change is compared with is far above rounding.
SGD = optax.sgd(0.1)

# The same float32 terms summed in another order: a few units in the last place (6e-8 each).
ROUNDING = dict(rtol=1e-5, atol=1e-6)


# The normalisers.


def batch_of(weights, *, targets=None, segments=None):
    weights = jnp.asarray(weights, jnp.float32)
    targets = (weights > 0).astype(jnp.int32) if targets is None else jnp.asarray(targets)
    segments = None if segments is None else jnp.asarray(segments)
    return Batch(targets, targets, targets, weights, segments, segments)


WEIGHTS = [[1, 1, 0, 0], [1, 0.5, 0.5, 2]]


@pytest.mark.parametrize(
    "factor, divisor",
    [
        (None, 1),
        (20, 20),
        (2.5, 2.5),
        ("NUM_REAL_TARGET_TOKENS", 6),
        ("NUM_TOTAL_TARGET_TOKENS", 8),
    ],
)
def test_normalisers_that_keep_the_weights_divide_by(factor, divisor):
    batch, denominator = normalize_weights(batch_of(WEIGHTS), factor)
    assert float(denominator) == divisor
    assert batch.decoder_loss_weights.tolist() == WEIGHTS


def test_average_per_sequence_gives_every_sequence_the_weight_1():
    batch, denominator = normalize_weights(batch_of(WEIGHTS), "AVERAGE_PER_SEQUENCE")
    # Row sums 2 and 4.
    assert batch.decoder_loss_weights.tolist() == [[0.5, 0.5, 0, 0], [0.25, 0.125, 0.125, 0.5]]
    assert float(denominator) == 2


def test_average_per_sequence_counts_packed_examples_one_by_one():
    packed = batch_of(
        [[1, 1, 1, 2, 2, 0], [0, 0, 3, 1, 0, 0]],
        segments=[[1, 1, 2, 2, 2, 0], [1, 1, 2, 2, 0, 0]],
    )
    batch, denominator = normalize_weights(packed, "AVERAGE_PER_SEQUENCE")
    # Segments weigh 2 and 5; then 0 (nothing is asked of it) and 4: three sequences count.
    np.testing.assert_allclose(
        batch.decoder_loss_weights,
        [[0.5, 0.5, 0.2, 0.4, 0.4, 0], [0, 0, 0.75, 0.25, 0, 0]],
        rtol=1e-6,  # 1/5 is not a binary fraction
    )
    assert float(denominator) == 3


def test_an_unknown_normaliser_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'REAL_TOKENS' is unknown.*NUM_REAL_TARGET_TOKENS"):
        LossConfig(loss_normalizing_factor="REAL_TOKENS")


def test_a_batch_of_padding_gives_a_loss_of_zero_and_no_nan():
    for factor in ("NUM_REAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE"):
        batch, denominator = normalize_weights(batch_of([[0, 0]]), factor)
        assert float(denominator) == 1
        assert batch.decoder_loss_weights.tolist() == [[0, 0]]


# Whole batches.


def random_batch(rows=8, source=7, target=6, seed=0):
    """Examples of random lengths, padded; weights of 1 and, at some tokens, 2."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(3, 64, (rows, source)).astype(np.int32)
    targets = rng.integers(3, 64, (rows, target)).astype(np.int32)
    inputs[np.arange(source) >= rng.integers(3, source + 1, (rows, 1))] = 0
    targets[np.arange(target) >= rng.integers(2, target + 1, (rows, 1))] = 0
    weights = (targets > 0) * rng.integers(1, 3, targets.shape)
    shifted = np.concatenate([np.zeros_like(targets[:, :1]), targets[:, :-1]], 1)
    return Batch(inputs, shifted, targets, weights.astype(np.float32))


def pack(batch):
    """Rows 2i and 2i + 1 end to end in one row, padding left where it was."""

    def join(x, fill=None):
        x = np.asarray(x)
        return np.concatenate([x[0::2], x[1::2]], axis=1)

    def segments(x):
        number = np.arange(len(x))[:, None] % 2 + 1
        return join(np.where(np.asarray(x) > 0, number, 0)).astype(np.int32)

    return Batch(
        *(join(x) for x in batch[:4]),
        segments(batch.encoder_input_tokens),
        segments(batch.decoder_target_tokens),
    )


@functools.cache
def first_state():
    mesh = make_mesh(data=1, devices=jax.devices()[:1])
    return init_state(ARCHITECTURE, SGD, seed=0, mesh=mesh)[0]


@functools.cache
def step_of(*, dropping=False, num_microbatches=1, **loss):
    return jax.jit(
        functools.partial(
            train_step,
            merge=(DROPPING if dropping else ARCHITECTURE).merge,
            optimizer=SGD,
            loss=LossConfig(**loss),
            num_microbatches=num_microbatches,
        )
    )


def assert_same(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_the_loss_sums_its_tokens_by_weight_and_counts_them():
    batch, params = random_batch(), first_state().params
    result = jax.jit(
        lambda p, b: seq2seq_loss(ARCHITECTURE.merge(p), b, dropout_key=None, z_loss=0.01)
    )(params, batch)

    @jax.jit
    def logits_of(params, source, inputs, targets):
        model = ARCHITECTURE.merge(params)
        return model.logits(model.decode(model.encode(source), source, inputs, targets))

    logits = np.asarray(logits_of(params, *batch[:3]), np.float64)
    log_z = np.log(np.exp(logits).sum(-1))
    targets, weights = batch.decoder_target_tokens, batch.decoder_loss_weights
    nll = log_z - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    expected = {
        "nll": (nll * weights).sum(),
        "z_loss": (0.01 * log_z**2 * weights).sum(),
        "correct": ((logits.argmax(-1) == targets) * weights).sum(),
        "weight": weights.sum(),
        "target_tokens": (targets > 0).sum(),
        "source_tokens": (batch.encoder_input_tokens > 0).sum(),
    }
    got = {name: float(value) for name, value in result.metrics.items()}
    assert got == pytest.approx(expected, rel=1e-5)  # float32 sums of 40 tokens
    assert float(result.total) == pytest.approx(expected["nll"] + expected["z_loss"], rel=1e-5)


@pytest.mark.parametrize(
    "parts, factor", [(2, "NUM_REAL_TARGET_TOKENS"), (8, "AVERAGE_PER_SEQUENCE")]
)
def test_microbatches_give_the_parameters_and_metrics_of_the_whole_batch(parts, factor):
    whole = step_of(loss_normalizing_factor=factor)(first_state(), random_batch())
    cut = step_of(num_microbatches=parts, loss_normalizing_factor=factor)(
        first_state(), random_batch()
    )
    assert_same(cut, whole, **ROUNDING)


def test_microbatches_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="batch of 8 rows does not divide into 3 microbatches"):
        step_of(num_microbatches=3)(first_state(), random_batch())


@pytest.mark.parametrize("factor", ["NUM_REAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE"])
def test_a_packed_batch_takes_the_same_step_as_its_examples_alone(factor):
    batch = random_batch()
    alone, metrics = step_of(loss_normalizing_factor=factor)(first_state(), batch)
    packed, packed_metrics = step_of(loss_normalizing_factor=factor)(first_state(), pack(batch))
    assert_same(packed_metrics, metrics, rtol=1e-5)  # as ROUNDING; sums of order 100
    assert_same(packed.params, alone.params, **ROUNDING)


def test_a_step_moves_parameters_against_the_normalised_gradient():
    batch, state = random_batch(), first_state()

    def objective(params):
        result = seq2seq_loss(ARCHITECTURE.merge(params), batch, dropout_key=None)
        return result.total / batch.decoder_loss_weights.sum()

    value, grads = jax.jit(jax.value_and_grad(objective))(state.params)
    after, metrics = step_of(loss_normalizing_factor="NUM_REAL_TARGET_TOKENS")(state, batch)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)
    assert_same(after.params, expected, **ROUNDING)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)  # as ROUNDING
    norm = np.sqrt(sum(float(np.sum(np.square(g))) for g in jax.tree.leaves(grads)))
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-5)  # as ROUNDING
    assert int(after.step) == 1


def test_a_step_is_pure():
    state, batch = first_state(), random_batch()
    before = jax.tree.map(np.array, state)
    first = step_of(dropping=True)(state, batch)
    second = step_of(dropping=True)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, state, before)


def test_dropout_differs_between_steps_and_keys_and_evaluation_has_none():
    state, batch = first_state(), random_batch()
    loss = lambda s: float(step_of(dropping=True)(s, batch)[1]["nll"])  # noqa: E731
    evaluate = jax.jit(functools.partial(eval_step, merge=DROPPING.merge))
    losses = {
        loss(state),
        loss(state._replace(step=state.step + 1)),
        loss(state._replace(key=state.key + 1)),
        float(evaluate(state.params, state.frozen, batch)["nll"]),
    }
    assert len(losses) == 4
    plain = float(step_of()(state, batch)[1]["nll"])
    evaluated = float(evaluate(state.params, state.frozen, batch)["nll"])
    assert evaluated == pytest.approx(plain, rel=1e-5)  # as ROUNDING


# In chunks.


@pytest.fixture
def few_logits_in_chunks(monkeypatch):
    """Batches as small as these are cut only so."""
    monkeypatch.setattr(losses, "FEW_LOGITS", 0)


def value_and_gradients(architecture, params, **options):
    def total(params):
        model = architecture.merge(params)
        result = seq2seq_loss(model, random_batch(), dropout_key=None, **options)
        return result.total, result.metrics

    return jax.jit(jax.value_and_grad(total, has_aux=True))(params)


@pytest.mark.parametrize("tied", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_chunks_give_the_plain_loss_metrics_and_gradients(tied, few_logits_in_chunks):
    architecture = Architecture.t5(T5Config(**SIZES, dropout_rate=0.0, logits_via_embedding=tied))
    params = jax.jit(architecture.init)(jax.random.key(0))
    options = dict(z_loss=0.01, label_smoothing=0.1)
    plain = value_and_gradients(architecture, params, chunk_tokens=None, **options)
    found = value_and_gradients(architecture, params, chunk_tokens=7, **options)
    assert_same(found, plain, rtol=1e-5, atol=1e-5)  # as ROUNDING; gradients are of order 10


def test_evaluation_in_chunks_gives_the_plain_metrics(monkeypatch):
    def evaluate():
        step = jax.jit(lambda *arrays: eval_step(*arrays, merge=ARCHITECTURE.merge))
        return step(first_state().params, {}, random_batch())

    plain = evaluate()
    monkeypatch.setattr(losses, "FEW_LOGITS", 0)
    assert_same(evaluate(), plain, rtol=1e-5)  # as ROUNDING


def test_microbatches_on_a_mesh_in_chunks_take_the_plain_step_of_one_device(few_logits_in_chunks):
    plain = step_of(loss_normalizing_factor="NUM_REAL_TARGET_TOKENS", chunk_tokens=None)
    expected = plain(first_state(), random_batch())
    mesh = make_mesh(data=2, fsdp=2, model=2)
    state, shardings = init_state(ARCHITECTURE, SGD, seed=0, mesh=mesh)
    step = jax.jit(
        functools.partial(
            train_step,
            merge=ARCHITECTURE.merge,
            optimizer=SGD,
            loss=LossConfig(loss_normalizing_factor="NUM_REAL_TARGET_TOKENS", chunk_tokens=4),
            num_microbatches=2,
        ),
        out_shardings=(shardings, None),
    )
    with jax.set_mesh(mesh):
        found = step(state, jax.device_put(random_batch(), batch_sharding(mesh)))
    assert_same(jax.device_get(found), jax.device_get(expected), **ROUNDING)


def test_few_logits_are_made_at_once_and_so_are_all_on_request(monkeypatch):
    params = first_state().params

    def in_chunks(**options):
        def loss(params):
            model = ARCHITECTURE.merge(params)
            return seq2seq_loss(model, random_batch(), dropout_key=None, **options).total

        return "custom_vjp" in str(jax.make_jaxpr(loss)(params))

    assert not in_chunks()
    monkeypatch.setattr(losses, "FEW_LOGITS", 0)
    assert in_chunks()
    assert not in_chunks(chunk_tokens=None)


@pytest.mark.parametrize("chunk_tokens", [None, 7])
def test_only_the_total_has_a_gradient(chunk_tokens, few_logits_in_chunks):
    def nll(params):
        model = ARCHITECTURE.merge(params)
        result = seq2seq_loss(model, random_batch(), dropout_key=None, chunk_tokens=chunk_tokens)
        return result.metrics["nll"]

    gradients = jax.jit(jax.grad(nll))(first_state().params)
    assert not any(np.any(gradient) for gradient in jax.tree.leaves(gradients))


def test_a_loss_of_ones_own_need_not_know_of_chunks():
    def twice(model, batch, *, dropout_key, z_loss, label_smoothing):
        result = seq2seq_loss(
            model, batch, dropout_key=dropout_key, z_loss=z_loss, label_smoothing=label_smoothing
        )
        return result._replace(total=2 * result.total)

    options = dict(merge=ARCHITECTURE.merge, optimizer=SGD)
    _, metrics = jax.jit(functools.partial(train_step, loss_fn=twice, **options))(
        first_state(), random_batch()
    )
    _, once = step_of()(first_state(), random_batch())
    assert float(metrics["loss"]) == pytest.approx(2 * float(once["loss"]), rel=1e-5)  # as ROUNDING


def test_chunks_of_no_tokens_are_refused():
    with pytest.raises(ValueError, match="chunk_tokens is 0; use .* 2048, or None"):
        LossConfig(chunk_tokens=0)


# The compiled step. Shapes in a compiled program are those of one device.

COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
WIDE = SIZES | dict(vocab_size=512)
ROWS, TARGET = 8, 64


def compiled_step(mesh, *, in_force=True, **loss):
    """The text of a training step: 512 target tokens, a head of 16 x 512."""
    architecture = Architecture.t5(T5Config(**WIDE, dropout_rate=0.0))
    state, shardings = init_state(architecture, SGD, seed=0, mesh=mesh)
    step = jax.jit(
        functools.partial(
            train_step, merge=architecture.merge, optimizer=SGD, loss=LossConfig(**loss)
        ),
        out_shardings=(shardings, None),
    )
    batch = jax.device_put(random_batch(rows=ROWS, target=TARGET), batch_sharding(mesh))
    with jax.set_mesh(mesh) if in_force else contextlib.nullcontext():
        return step.lower(state, batch).compile().as_text()


def largest(shapes):
    """The most elements of any shape in a piece of a program's text, such as `f32[16,512]{1,0}`."""
    found = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", shapes)
    return max((math.prod(map(int, shape.split(","))) for shape in found), default=0)


def largest_collective_in_a_loop(program):
    """The most elements that any communication inside a loop returns."""
    bodies, called, name = {}, {}, None
    for line in program.splitlines():
        if opening := re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line):
            name = opening[1]
            bodies[name], called[name] = [], set()
        elif name:
            bodies[name].append(line)
            called[name] |= set(re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)", line))
    inside = set(re.findall(r"body=%?([\w.-]+)", program))
    assert inside, "no loop at all"
    while more := {callee for name in inside for callee in called[name]} - inside:
        inside |= more
    lines = [line for name in inside for line in bodies[name]]
    returned = [re.search(rf"= (.*?) (?:{COLLECTIVES})(?:-start)?\(", line) for line in lines]
    return max((largest(match[1]) for match in returned if match), default=0)


LOGITS = ROWS * TARGET * WIDE["vocab_size"]
HEAD = WIDE["emb_dim"] * WIDE["vocab_size"]


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"fsdp": 8}, id="fsdp", marks=pytest.mark.slow),
        pytest.param({"data": 2, "fsdp": 2, "model": 2}, id="all three"),
    ],
)
def test_no_device_holds_its_logits_or_sends_the_head_in_a_loop(sizes, few_logits_in_chunks):
    mesh = make_mesh(**sizes)
    program = compiled_step(mesh, chunk_tokens=8)
    assert largest(program) < LOGITS // mesh.size
    # Each chunk sends the maxima and sums of its 8 tokens, or nothing.
    assert largest_collective_in_a_loop(program) <= 8 < HEAD // mesh.size


def test_the_plain_step_does_hold_its_logits():
    assert largest(compiled_step(make_mesh(fsdp=8), chunk_tokens=None)) >= LOGITS // 8


def test_left_to_the_compiler_logits_would_be_sent_in_every_chunk(few_logits_in_chunks):
    # Without a mesh in force there is no `shard_map`: the same scan over the same split arrays.
    program = compiled_step(make_mesh(fsdp=8), in_force=False, chunk_tokens=64)
    assert largest_collective_in_a_loop(program) >= 64 * WIDE["vocab_size"]
