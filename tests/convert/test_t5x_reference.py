"""T5X's own checkpoints and numbers, reproduced. Skipped where the reference files are not."""

import functools
import hashlib
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shared

from medmt5 import optimizers, restore, step
from medmt5.convert import t5x
from medmt5.convert.source import open_source
from medmt5.partitioning import make_mesh
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import Architecture, flat_params, init_state, state_shardings

CHECKPOINTS = {
    "t5_1_1_legacy": "t5_1_1",
    "t5_1_1_orbax": "t5_1_1",
    "scalable_legacy": "scalable_t5",
    "scalable_orbax": "scalable_t5",
    "t5_1_0_legacy": "t5_1_0",
}


@functools.cache
def load(name):
    """A checkpoint with its expected numbers, and its state restored by our optimiser."""
    folder = shared.needs(f"reference/{name}/checkpoint_3")
    numbers = json.loads(shared.needs(f"reference/{CHECKPOINTS[name]}_ref.json").read_text())
    arrays = dict(np.load(shared.needs(f"reference/{CHECKPOINTS[name]}_ref.npz")))
    source = open_source(str(folder))
    architecture = Architecture.t5(source.config)
    optimizer = optimizers.adafactor(
        0.01,  # as the reference; its scanned layers are factored at any size
        always_factor=".*/layers_.*/kernel" if source.config.relative_bias_per_layer else "",
    )
    mesh = make_mesh(devices=jax.devices()[:1])
    fresh, _ = init_state(architecture, optimizer, seed=0, mesh=mesh)
    plan = restore.plan(RestoreCheckpointConfig(str(folder)), fresh, source.config)
    state = restore.fill(plan, lambda: fresh, state_shardings(architecture, fresh, mesh))
    return types.SimpleNamespace(**locals())


@pytest.fixture(params=CHECKPOINTS)
def reference(request):
    return load(request.param)


def batch(reference, kind):
    fields = {k.split("/")[1]: v for k, v in reference.arrays.items() if k.startswith(kind + "/")}
    return step.Batch(**{k: v for k, v in fields.items() if k in step.Batch._fields})


def measured(what, difference):
    """Shown by `pytest -s`; results/checkpoints.md quotes it."""
    print(f"measured: {what} {difference:.1e}")


def same_sum(array, expected):
    # Sums of up to 16,384 float32 numbers that differ in the last bits: 1e-5 of the sum of their
    # absolute values is a few roundings per number.
    np.testing.assert_allclose(
        np.asarray(array, np.float64).sum(), expected["sum"], atol=1e-5 * expected["abs_sum"]
    )
    np.testing.assert_allclose(
        np.abs(np.asarray(array, np.float64)).sum(), expected["abs_sum"], rtol=1e-5
    )


def test_every_parameter_and_slot_is_read_bit_for_bit(reference):
    source, numbers = reference.source, reference.numbers
    assert source.step == 3 and source.unused == []
    for name, expected in numbers["params"].items():
        array = source.stored[f"target/{name}"].read()
        assert list(array.shape) == expected["shape"]
        checksum = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        assert checksum == expected["sha256_le_bytes"], name
    used = {k for k, e in numbers["state_step3"].items() if e["shape"] != [1]}
    mapped = {p.stored for key, p in source.table.items() if key in source.arrays}
    assert {f"state/param_states/{k}" for k in used} == {k for k in mapped if "param_states" in k}


def test_stacked_layers_are_taken_apart_where_the_reference_puts_them_together():
    reference = load("scalable_legacy")
    stacked = reference.source.stored["target/encoder/encoder/attention/out/kernel"].read()
    params = flat_params(reference.state.params)
    for layer in range(2):  # (heads, layers, kv, embed) -> (heads * kv, embed)
        name = f"encoder/layers_{layer}/attention/out/kernel"
        np.testing.assert_array_equal(params[name], stacked[:, layer].reshape(16, 16))


def test_the_sizes_are_inferred(reference):
    found, expected = reference.source.config, reference.numbers["config"]
    for field, value in expected.items():
        if field != "dtype":
            assert getattr(found, field) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("kind", ["batch", "packed"])
def test_logits_are_equal(reference, kind):
    b = batch(reference, kind)
    model = reference.architecture.merge(reference.state.params)
    encoded = model.encode(b.encoder_input_tokens, segment_ids=b.encoder_segment_ids)
    hidden = model.decode(
        encoded,
        b.encoder_input_tokens,
        b.decoder_input_tokens,
        b.decoder_target_tokens,
        source_segment_ids=b.encoder_segment_ids,
        target_segment_ids=b.decoder_segment_ids,
    )
    logits = np.asarray(model.logits(hidden))
    expected = reference.arrays["logits" if kind == "batch" else "logits_packed"]
    # Where targets are padding, every key is masked: what comes out there means nothing.
    real = b.decoder_target_tokens > 0
    worst = np.abs(logits - expected)[real].max() / np.abs(expected).max()
    measured(f"{reference.name}, {kind}: logits", worst)
    assert worst < 1e-5, worst  # relative to the largest logit, float32
    if kind == "batch":
        valid = b.encoder_input_tokens > 0
        np.testing.assert_allclose(
            encoded[valid], reference.arrays["encoder_output"][valid], rtol=1e-4, atol=1e-5
        )


def test_losses_are_equal_under_every_normaliser(reference):
    model = reference.architecture.merge(reference.state.params)
    scalars = reference.numbers["scalars"]

    def loss(b, factor=None, label_smoothing=0.0):
        b, denominator = step.normalize_weights(b, factor)
        result = step.seq2seq_loss(model, b, dropout_key=None, label_smoothing=label_smoothing)
        return result.total / denominator, result.metrics

    plain, packed = batch(reference, "batch"), batch(reference, "packed")
    total, metrics = loss(plain)
    # 2e-6 everywhere: float32 sums over 50 tokens, in another order.
    close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
    close(total, scalars["loss"])
    close(metrics["z_loss"], scalars["z_loss"])
    close(metrics["correct"] / metrics["weight"], scalars["accuracy"])
    close(loss(packed)[0], scalars["loss_packed"])
    close(loss(plain, label_smoothing=0.1)[0], scalars["loss_label_smoothing_0.1"])
    for name, factor in [
        ("NUM_REAL_TARGET_TOKENS",) * 2,
        ("NUM_TOTAL_TARGET_TOKENS",) * 2,
        ("AVERAGE_PER_SEQUENCE",) * 2,
        ("233472", 233472),
    ]:
        close(loss(plain, factor)[0], scalars[f"loss_norm_{name}"])
        close(loss(packed, factor)[0], scalars[f"loss_packed_norm_{name}"])


def stacked(reference, params):
    """Parameters as T5X names them: layers put together where the reference has them so."""
    out = {}
    for name, array in flat_params(params).items():
        place = reference.source.table[f"params/{name}"]
        key = place.stored.removeprefix("target/")
        shape = tuple(n for a, n in enumerate(place.shape) if a != place.axis)
        out.setdefault(key, np.zeros(place.shape, np.float32))[place.index] = np.reshape(
            array, shape
        )
    return out


def test_gradients_and_three_further_adafactor_steps_are_equal(reference):
    b = batch(reference, "batch")
    grads = jax.grad(
        lambda p: step.seq2seq_loss(reference.architecture.merge(p), b, dropout_key=None).total
    )(reference.state.params)
    for name, array in stacked(reference, grads).items():
        same_sum(array, reference.numbers["grads_of_loss_at_step3"][name])

    state, losses = reference.state, []
    one = jax.jit(
        functools.partial(
            step.train_step, merge=reference.architecture.merge, optimizer=reference.optimizer
        )
    )
    for _ in range(3):
        state, metrics = one(state, jax.tree.map(jnp.asarray, b))
        losses.append(float(metrics["loss"]))
    expected = reference.numbers["scalars"]["loss_train_steps_4_6_lr0.01_const"]
    measured(
        f"{reference.name}: losses of steps 4-6", np.max(np.abs(np.divide(losses, expected) - 1))
    )
    np.testing.assert_allclose(losses, expected, rtol=2e-6)  # as above
    assert int(state.step) == 6
    for name, array in stacked(reference, state.params).items():
        same_sum(array, reference.numbers["params_after_step6"][name])


def test_a_public_t5x_test_checkpoint_is_read():
    source = open_source(str(shared.needs("data/checkpoints/t5x-test_t5_tiny.checkpoint_0.gz")))
    assert (source.kind, source.step, len(source.params), source.unused) == ("t5x", 0, 52, [])
    c = source.config
    assert (c.vocab_size, c.emb_dim, c.num_heads, c.head_dim, c.mlp_dim) == (32128, 8, 4, 3, 16)
    assert all(np.isfinite(array).all() for _, array in source.stream(source.arrays))


@pytest.mark.parametrize("name", [name for name in CHECKPOINTS if "legacy" in name])
def test_what_we_write_is_t5xs_own_layout(name, tmp_path):
    reference = load(name)
    source, folder, theirs = reference.source, tmp_path / "c", reference.folder
    writer = t5x.Writer(str(folder), source.config, source.arrays, dtype=np.float32)
    for key, array in source.stream(source.arrays):
        writer.write(key, array)
    writer.close()
    again = open_source(str(folder))
    assert again.arrays == source.arrays and again.stored.keys() == source.stored.keys()
    for stored, array in again.stored.items():
        np.testing.assert_array_equal(array.read(), source.stored[stored].read(), stored)
    if source.config.relative_bias_per_layer:
        return  # T5X writes a stack as one chunk, we a chunk per layer
    files = {p.relative_to(folder) for p in folder.rglob("*")}
    assert files == {p.relative_to(theirs) for p in theirs.rglob("*")}
    for file in files:
        if file.name == ".zarray":
            assert json.loads((folder / file).read_text()) == json.loads(
                (theirs / file).read_text()
            )
