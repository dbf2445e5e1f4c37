"""Sorting, padding and order of predictions, with a stand-in for the model."""

import jax
import numpy as np
import pytest
import tiny

from medmt5 import partitioning
from medmt5.decoding import Decoded
from medmt5.formats.labelling import Labelling
from medmt5.models.t5 import T5Config
from medmt5.predictor import TURNS, Predictor, bucket, default_width
from medmt5.state import Architecture

ARCHITECTURE = Architecture.t5(
    T5Config(vocab_size=64, emb_dim=16, num_encoder_layers=1, num_decoder_layers=1)
)


def predictor(decode, batch_size=2):
    """A predictor whose batches go to `decode(source)`, and the list of their shapes."""
    shapes = []
    made = Predictor(ARCHITECTURE, {}, eos_id=1, batch_size=batch_size)

    def run(params, source, constraint, *, max_length):
        del params, constraint
        shapes.append((source.shape, max_length))
        tokens = decode(np.asarray(source))
        ended = (tokens == 1).any(-1)
        return Decoded(tokens, -tokens.astype(float), ended, ended.astype(int), np.int32(0))

    made._decode = run
    return made, shapes


def example(*ids):
    return {"inputs": np.array([*ids, 1])}


@pytest.mark.parametrize("length, rounded", [(1, 32), (32, 32), (33, 64)])
def test_lengths_are_rounded_up_to_few_shapes(length, rounded):
    assert bucket(length) == rounded


def test_predictions_come_in_the_given_order_and_batches_by_length():
    echo, shapes = predictor(lambda source: source)
    examples = [example(*range(2, 42)), example(5), example(6, 7), example(), example(8)]
    got = echo.predict(examples, max_length=9)
    assert [p.tokens.tolist() for p in got] == [e["inputs"].tolist() for e in examples]
    assert [p.log_probs.tolist() for p in got] == [(-e["inputs"]).tolist() for e in examples]
    assert all(p.finished for p in got)
    # Four of up to 32 tokens, in two batches, and one of 41; each in as many rows, filled up.
    assert shapes == [((2 * TURNS, 32), 9), ((2 * TURNS, 64), 9)]


@pytest.mark.parametrize(
    ("lengths", "shapes"),
    [
        ([5] * 9, [(8, 32), (8, 32)]),  # four batches of two, and one
        ([5, 40, 50, 70], [(8, 64), (8, 96)]),  # a batch takes what comes; no more is padded to it
        ([5, 40, 5, 40], [(8, 32), (8, 64)]),
        ([100], [(8, 128)]),
    ],
)
def test_sentences_wait_for_a_row_only_behind_some_of_their_own_length(lengths, shapes):
    echo, found = predictor(lambda source: source)
    examples = [example(*[7] * (length - 1)) for length in lengths]
    got = echo.predict(examples, max_length=9)
    assert [len(p.tokens) for p in got] == lengths
    assert found == [(shape, 9) for shape in shapes]


def test_a_zero_before_the_end_does_not_cut_a_prediction():
    model, _ = predictor(lambda source: np.array([[5, 0, 7, 1, 0, 0]] + [[0] * 6] * 7))
    first, second = model.predict([example(5), example(6, 7)], max_length=6)
    assert first.tokens.tolist() == [5, 0, 7, 1]
    assert second.tokens.tolist() == [] and not second.finished


def test_no_examples_have_no_predictions():
    assert predictor(lambda source: source)[0].predict([], max_length=5) == []


def test_free_prediction_needs_a_length():
    with pytest.raises(ValueError, match="free decoding needs max_length"):
        predictor(lambda source: source)[0].predict([example(5)])


@pytest.mark.parametrize("batch_size, backend, width", [(1, "cpu", 16), (8, "cpu", 8)])
def test_the_default_width_depends_on_batch_and_device(batch_size, backend, width):
    assert default_width(batch_size, backend) == width
    assert Predictor(ARCHITECTURE, {}, eos_id=1, batch_size=batch_size).width == width


def test_a_width_can_be_given():
    assert Predictor(ARCHITECTURE, {}, eos_id=1, width=3).width == 3


def labelled(format_, mesh):
    """Predictions for eight sentences on a mesh, and FLOPs per device of the program."""
    architecture = Architecture.t5(tiny.config(dropout_rate=0.0))
    params = jax.jit(architecture.init)(jax.random.key(0))
    params = jax.device_put(params, architecture.shardings(mesh))
    made = Predictor(architecture, params, eos_id=1, batch_size=8)
    jitted, flops = made._decode, []

    def decode(*arguments, max_length):
        program = jitted.lower(*arguments, max_length=max_length).compile()
        flops.append(program.cost_analysis()["flops"])
        return program(*arguments)

    made._decode = decode
    words = "aspirin treats the pain of the old patient .".split()
    examples = [format_.example({"words": words[: 3 + i % 6], "spans": []}, None) for i in range(8)]
    with jax.set_mesh(mesh):
        return made.predict(examples, format_=format_), max(flops)


def test_the_rows_of_a_batch_are_split_over_the_mesh_in_force(sample_vocabulary):
    format_ = Labelling(sample_vocabulary, tiny.LABELS)
    expected, on_one = labelled(format_, tiny.one_device())
    found, on_each = labelled(format_, partitioning.make_mesh(fsdp=2))
    assert any(len(answer.tokens) > 10 for answer in expected)
    for one, other in zip(expected, found, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        # Float32 sums in another order: 2.4e-7 was seen.
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=2.4e-6)
    # Eight devices, and some work that does not divide: 6.8 times less was seen.
    assert on_each < on_one / 4
