"""Checkpoints saved by T5X itself, and its numbers. `tools/make_golden_t5x.py` made them."""

import functools
import hashlib
import json
import types
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medmt5 import optimizers, restore, step
from medmt5.convert import t5x
from medmt5.convert.source import open_source
from medmt5.decoding import beam_search, greedy
from medmt5.partitioning import make_mesh
from medmt5.state import Architecture, init_state, state_shardings

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "t5x"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
BATCH = step.Batch(**{key: jnp.asarray(rows) for key, rows in EXPECTED["batch"].items()})
CHECKPOINTS = [(name, layout) for name, m in EXPECTED["models"].items() for layout in m["layouts"]]


@functools.cache
def compiled(config):
    """What is computed with a model of these sizes; compiled once for both layouts."""
    architecture = Architecture.t5(config)
    optimizer = optimizers.adafactor(
        0.01,  # as the tool; stacked layers are factored at any size
        always_factor=".*/layers_.*/kernel" if config.relative_bias_per_layer else "",
    )

    def forward(params):
        model, b = architecture.merge(params), BATCH
        hidden = model.decode(
            model.encode(b.encoder_input_tokens),
            b.encoder_input_tokens,
            b.decoder_input_tokens,
            b.decoder_target_tokens,
        )
        loss = step.seq2seq_loss(model, b, dropout_key=None).total
        tokens = greedy(model, b.encoder_input_tokens, max_length=12, eos_id=1).tokens
        beams = beam_search(
            model, b.encoder_input_tokens, num_beams=4, max_length=12, eos_id=1, alpha=0.6
        )
        return model.logits(hidden), loss, tokens, beams

    train = functools.partial(step.train_step, merge=architecture.merge, optimizer=optimizer)
    return architecture, optimizer, jax.jit(forward), jax.jit(train)


def each(*marks):
    """The test runs on each checkpoint: mT5's architecture always, others where marks allow."""
    others = [pytest.param(case, marks=marks if case[0] != "t5" else ()) for case in CHECKPOINTS]
    return pytest.mark.parametrize("golden", others, ids="_".join, indirect=True, scope="module")


@pytest.fixture(scope="module")
def golden(request, tmp_path_factory):
    name, layout = request.param
    folder = tmp_path_factory.mktemp("t5x")
    with zipfile.ZipFile(GOLDEN / f"{name}_{layout}.zip") as archive:
        archive.extractall(folder)
    source = open_source(str(folder / "checkpoint_2"))
    return types.SimpleNamespace(source=source, expected=EXPECTED["models"][name])


@each()
def test_parameters_of_t5x_are_read_bit_for_bit_and_their_sizes_inferred(golden):
    source, expected = golden.source, golden.expected
    assert (source.kind, source.step, source.unused) == ("t5x", 2, [])
    stored = {k.removeprefix("target/"): a for k, a in source.stored.items() if "target/" in k}
    assert {
        name: hashlib.sha256(np.ascontiguousarray(array.read()).tobytes()).hexdigest()
        for name, array in stored.items()
    } == expected["sha256"]
    for field, value in expected["config"].items():
        found = getattr(source.config, field)
        assert (list(found) if isinstance(found, tuple) else found) == value, field


@each(pytest.mark.slow)
def test_logits_loss_and_decoded_tokens_are_those_of_t5x(golden):
    expected = golden.expected
    architecture, _, forward, _ = compiled(golden.source.config)
    logits, loss, tokens, beams = forward(restore.load_params(golden.source, architecture))
    theirs = np.asarray(expected["logits"])
    real = np.asarray(BATCH.decoder_target_tokens) > 0  # elsewhere every key is masked
    worst = np.abs(logits - theirs)[real].max() / np.abs(theirs).max()
    assert worst < 1e-5, worst  # float32, two implementations
    np.testing.assert_allclose(loss, expected["loss"], rtol=2e-6)  # a float32 sum in another order
    assert tokens.tolist() == expected["greedy"]
    assert beams.tokens[:, ::-1].tolist() == expected["beams"]  # T5X puts the best last
    scores = np.asarray(expected["scores"])
    found = scores > -1e6  # T5X gives -1e7 where there is no such sequence, we -inf
    np.testing.assert_array_equal(np.isfinite(beams.scores[:, ::-1]), found)
    np.testing.assert_allclose(beams.scores[:, ::-1][found], scores[found], rtol=1e-5)  # as logits


@each(pytest.mark.slow)
def test_two_further_steps_of_adafactor_are_those_of_t5x(golden):
    source, mesh = golden.source, make_mesh(devices=jax.devices()[:1])
    architecture, optimizer, _, train = compiled(source.config)
    fresh, _ = init_state(architecture, optimizer, seed=0, mesh=mesh)
    plan = restore.plan(restore.RestoreCheckpointConfig(source.path), fresh, source.config)
    state = restore.fill(plan, lambda: fresh, state_shardings(architecture, fresh, mesh))
    losses = []
    for _ in range(3):  # a step's loss is that before it
        state, metrics = train(state, BATCH)
        losses.append(float(metrics["loss"]))
    expected = [golden.expected["loss"], *golden.expected["losses_after_further_steps"]]
    np.testing.assert_allclose(losses, expected, rtol=2e-6)  # as above
    assert int(state.step) == 5


@each()
def test_what_we_write_of_it_is_read_back_equal(golden, tmp_path):
    source = golden.source
    writer = t5x.Writer(str(tmp_path / "c"), source.config, source.arrays, dtype=np.float32)
    for key, array in source.stream(source.arrays):
        writer.write(key, array)
    writer.close()
    again = open_source(str(tmp_path / "c"))
    assert again.config == source.config and again.arrays == source.arrays
    assert again.stored.keys() == source.stored.keys()
    for name, array in again.stored.items():
        np.testing.assert_array_equal(array.read(), source.stored[name].read(), name)
