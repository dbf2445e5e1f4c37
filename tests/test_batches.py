import dataclasses
import json

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from medmt5 import batches
from medmt5.batches import DatasetConfig, Stream, Table, make_batch, pack

LENGTHS = {"inputs": 8, "targets": 6}


class Numbered:
    """A format whose example n is n + 1 copies of the id n + 10, and a random last target."""

    def example(self, raw, rng):
        n = raw["n"]
        inputs = np.full(n % 5 + 1, n + 10, np.int32)
        noise = 0 if rng is None else rng.integers(1, 9)
        return {"inputs": inputs, "targets": np.array([n + 10, noise + 1], np.int32)}


def numbered(count, *, rate=1.0, name="numbered", first=0):
    return Table(name, rate, Numbered(), [{"n": first + i} for i in range(count)])


def settings_of(**changes):
    choices = dict(mixture_or_task_name="numbered", task_feature_lengths=LENGTHS, batch_size=3)
    return DatasetConfig(**(choices | changes))


def take(stream, count):
    return [next(stream) for _ in range(count)]


def assert_same(a, b):
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        for name in left._fields:
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


# make_batch


def test_a_packed_row_by_hand():
    row = [
        {"inputs": [5, 6, 1], "targets": [7, 1]},
        {"inputs": [8, 1], "targets": [9, 4, 1], "target_weights": [2.0, 0.5, 1.0]},
    ]
    batch = make_batch([row, []], LENGTHS, packed=True)
    pad = [0] * 8
    assert batch.encoder_input_tokens.tolist() == [[5, 6, 1, 8, 1, 0, 0, 0], pad]
    assert batch.encoder_segment_ids.tolist() == [[1, 1, 1, 2, 2, 0, 0, 0], pad]
    assert batch.decoder_target_tokens.tolist() == [[7, 1, 9, 4, 1, 0], pad[:6]]
    # Each example's decoder starts from padding and sees its own targets one late.
    assert batch.decoder_input_tokens.tolist() == [[0, 7, 0, 9, 4, 0], pad[:6]]
    assert batch.decoder_segment_ids.tolist() == [[1, 1, 2, 2, 2, 0], pad[:6]]
    assert batch.decoder_loss_weights.tolist() == [[1, 1, 2, 0.5, 1, 0], pad[:6]]


def test_an_unpacked_batch_has_no_segment_ids():
    batch = make_batch([[{"inputs": [5, 1], "targets": [7, 1]}]], LENGTHS, packed=False)
    assert batch.encoder_segment_ids is None and batch.decoder_segment_ids is None
    assert batch.decoder_input_tokens.tolist() == [[0, 7, 0, 0, 0, 0]]


def test_rows_that_are_filled_to_the_last_token_fit():
    row = [{"inputs": list(range(2, 10)), "targets": list(range(2, 8))}]
    batch = make_batch([row], LENGTHS, packed=True)
    assert batch.decoder_input_tokens.tolist() == [[0, 2, 3, 4, 5, 6]]
    assert batch.decoder_loss_weights.sum() == 6


# pack


def test_packing_by_hand():
    sizes = [(2, 1), (8, 6), (5, 2), (4, 1), (3, 2)]
    examples = [{"inputs": [1] * i, "targets": [1] * j} for i, j in sizes]
    rows = pack(examples, LENGTHS)
    packed = [[(len(e["inputs"]), len(e["targets"])) for e in row] for row in rows]
    # Longest share first: (8, 6) alone; (5, 2) takes (3, 2); (4, 1) takes (2, 1).
    assert packed == [[(8, 6)], [(5, 2), (3, 2)], [(4, 1), (2, 1)]]


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 6)), min_size=1, max_size=60),
)
@settings(deadline=None)
def test_packing_loses_nothing_and_respects_both_lengths(sizes):
    examples = [
        {"inputs": [n] * i, "targets": [n] * j, "number": n} for n, (i, j) in enumerate(sizes)
    ]
    rows = pack(examples, LENGTHS)
    assert sorted(e["number"] for row in rows for e in row) == list(range(len(sizes)))
    for row in rows:
        assert row
        assert sum(len(e["inputs"]) for e in row) <= LENGTHS["inputs"]
        assert sum(len(e["targets"]) for e in row) <= LENGTHS["targets"]


def test_short_sentences_fill_nearly_all_of_their_rows():
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 40, 1000)
    examples = [{"inputs": [1] * n, "targets": [1] * n} for n in sizes]
    rows = pack(examples, {"inputs": 128, "targets": 128})
    assert sizes.sum() / (len(rows) * 128) > 0.98


# Stream


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_seed_gives_the_same_batches_and_another_seed_others(packed):
    config = settings_of(pack=packed, seed=3)
    first = take(Stream([numbered(20)], config), 5)
    assert_same(first, take(Stream([numbered(20)], config), 5))
    other = take(Stream([numbered(20)], dataclasses.replace(config, seed=4)), 5)
    assert any(
        (a.encoder_input_tokens != b.encoder_input_tokens).any()
        for a, b in zip(first, other, strict=True)
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_position_restores_the_later_batches_at_every_point(packed, monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 16)  # 25 batches cross several windows and epochs
    tables = [numbered(7, rate=2.0), numbered(5, name="other", first=50)]
    config = settings_of(pack=packed)
    stream, positions, expected = Stream(tables, config), [], []
    for _ in range(25):
        positions.append(json.dumps(stream.position()))
        expected.append(next(stream))
    assert json.loads(positions[-1])["window"] >= 2
    for at, position in enumerate(positions):
        restored = Stream(tables, config)
        restored.restore(json.loads(position))
        assert json.dumps(restored.position()) == position
        assert_same(take(restored, 25 - at), expected[at:])


def test_a_stream_that_has_moved_on_can_be_set_back(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 16)
    stream = Stream([numbered(7)], settings_of())
    take(stream, 2)
    position = stream.position()
    expected = take(stream, 9)
    stream.restore(position)
    assert_same(take(stream, 9), expected)


def test_each_epoch_draws_every_example_once_and_in_a_new_order(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 5)  # two windows are then one epoch of ten examples
    stream = Stream([numbered(10)], settings_of(batch_size=5))
    halves = [set(next(stream).encoder_input_tokens[:, 0].tolist()) for _ in range(12)]
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        assert first | second == set(range(10, 20))
    assert len({tuple(sorted(half)) for half in halves[::2]}) > 1


def test_without_shuffling_every_epoch_has_the_order_of_the_file(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 5)
    stream = Stream([numbered(10)], settings_of(batch_size=5, shuffle=False))
    halves = [set(next(stream).encoder_input_tokens[:, 0].tolist()) for _ in range(4)]
    assert halves == [set(range(10, 15)), set(range(15, 20))] * 2


def test_no_example_is_drawn_more_often_where_windows_and_epochs_do_not_align(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 16)
    stream = Stream([numbered(10)], settings_of(batch_size=16))
    drawn = np.concatenate([next(stream).encoder_input_tokens[:, 0] for _ in range(5)])
    assert np.bincount(drawn - 10).tolist() == [8] * 10  # 5 windows of 16 are 8 epochs


def test_an_example_is_corrupted_anew_in_each_epoch(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 1)
    stream = Stream([numbered(1)], settings_of(batch_size=1))
    noise = [int(next(stream).decoder_target_tokens[0, 1]) for _ in range(20)]
    assert len(set(noise)) > 1


def test_mixture_rates_are_met():
    tables = [numbered(7, rate=3.0), numbered(5, rate=1.0, name="other", first=50)]
    stream = Stream(tables, settings_of(batch_size=1024))
    first = np.concatenate([next(stream).encoder_input_tokens[:, 0] for _ in range(4)])
    # 4,096 draws at 3 : 1 have a standard deviation of 28 around 3,072; five of them are allowed.
    assert abs(int((first < 60).sum()) - 3072) < 140


def test_examples_that_are_cut_are_reported(caplog):
    class Long(Numbered):
        def example(self, raw, rng):
            return {"inputs": np.arange(2, 20), "targets": np.array([2, 1])}

    stream = Stream([Table("long", 1.0, Long(), [{}])], settings_of())
    batch = next(stream)
    assert batch.encoder_input_tokens[0].tolist() == list(range(2, 10))
    assert "longer than TASK_FEATURE_LENGTHS and were cut" in caplog.text
    assert stream.trimmed == stream.seen == batches.WINDOW


def test_the_position_of_another_mixture_is_refused():
    stream = Stream([numbered(3), numbered(3)], settings_of())
    with pytest.raises(ValueError, match="position is for 1 tasks, but the mixture has 2"):
        stream.restore(Stream([numbered(3)], settings_of()).position())


def test_a_task_without_examples_is_refused():
    with pytest.raises(ValueError, match="task empty has no examples"):
        Table("empty", 1.0, Numbered(), [])


# evaluation_batches


def test_evaluation_takes_every_example_once_in_order_and_pads_the_tail():
    tables = [numbered(4), numbered(3, first=50)]
    found = list(batches.evaluation_batches(tables, settings_of(batch_size=3)))
    first = [batch.encoder_input_tokens[:, 0].tolist() for batch in found]
    assert first == [[10, 11, 12], [13, 60, 61], [62, 0, 0]]
    assert found[-1].decoder_loss_weights[1:].sum() == 0
    assert_same(found, list(batches.evaluation_batches(tables, settings_of(batch_size=3))))


# DatasetConfig and read_tables


@pytest.mark.parametrize(
    "lengths", [{"inputs": 8}, {"inputs": 8, "target": 6}, {"inputs": 8, "targets": 6, "more": 1}]
)
def test_feature_lengths_of_other_names_are_refused(lengths):
    with pytest.raises(ValueError, match="TASK_FEATURE_LENGTHS is .*give"):
        settings_of(task_feature_lengths=lengths)


def test_a_mixture_is_read_with_its_rates_and_its_tasks_formats():
    config = tiny.dataset("sample_clinical", split="validation")
    tables = batches.read_tables(config, None)
    assert [table.name for table in tables] == [
        f"sample_clinical_{lang}" for lang in ("en", "es", "fr", "it")
    ]
    assert [table.rate for table in tables] == [1.0] * 4
    assert all(table.format.tags.labels == tiny.LABELS and table.raws for table in tables)


def test_a_plain_seqio_task_feeds_the_same_trainer(sample_vocabulary_path, sample_vocabulary):
    texts = ["aspirin treats pain", "the patient had a fever"]

    def source(split, shuffle_files, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices({"inputs": texts, "targets": texts[::-1]})

    spm = seqio.SentencePieceVocabulary(sample_vocabulary_path)
    seqio.TaskRegistry.add(
        "plain_seqio_task",
        source=seqio.FunctionDataSource(source, splits=["train"]),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={name: seqio.Feature(vocabulary=spm) for name in ("inputs", "targets")},
    )
    try:
        config = tiny.dataset("plain_seqio_task", batch_size=2, pack=False)
        (table,) = batches.read_tables(config, None)
        (batch,) = batches.evaluation_batches([table], config)
        for row, (source_text, target_text) in enumerate(zip(texts, texts[::-1], strict=True)):
            inputs = [*sample_vocabulary.encode(source_text), 1]
            targets = [*sample_vocabulary.encode(target_text), 1]
            assert batch.encoder_input_tokens[row, : len(inputs)].tolist() == inputs
            assert batch.decoder_target_tokens[row, : len(targets)].tolist() == targets
            assert batch.encoder_input_tokens[row, len(inputs) :].sum() == 0
        assert next(Stream([table], config)).encoder_input_tokens.shape == (2, 32)
    finally:
        seqio.TaskRegistry.remove("plain_seqio_task")


def test_a_missing_split_lists_those_there_are():
    with pytest.raises(ValueError, match="no split 'tests'; it has .*validation"):
        batches.read_tables(tiny.dataset(split="tests"), None)


def test_an_unregistered_name_gets_near_names():
    with pytest.raises(ValueError, match="'sample_clinical_ne'.*did you mean .*sample_clinical_en"):
        batches.read_tables(tiny.dataset("sample_clinical_ne"), None)


def test_the_module_of_a_task_is_imported_first():
    with pytest.raises(ModuleNotFoundError, match="medmt5.tasks.no_such_file"):
        batches.read_tables(tiny.dataset(module="medmt5.tasks.no_such_file"), None)
