import dataclasses
import json

import jax
import numpy as np
import pytest
import seqio
import tensorflow as tf
import tiny

from medmt5 import batches, partitioning, step
from medmt5.adapters.prompt_tasks import show_prompts
from medmt5.batches import DatasetConfig, Stream, Table, make_batch
from medmt5.models.soft_prompt import PromptConfig

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


@pytest.mark.parametrize("prompt", [None, PromptConfig(3)])
def test_packed_rows_give_the_loss_and_gradients_of_their_examples_alone(prompt):
    (table,) = batches.read_tables(tiny.dataset(split="validation"), None)
    config = tiny.dataset(task_feature_lengths={"inputs": 96, "targets": 104}, batch_size=16)
    state = tiny.Run(dropout_rate=0.0, prompt=prompt)
    show_prompts([table], tiny.config(prompt=prompt), "trained", trained=[table.name])

    def loss_and_gradients(pack):
        table.raws = table.raws[:16]
        (batch,) = batches.evaluation_batches([table], dataclasses.replace(config, pack=pack))

        def total(params):
            model = state.architecture.merge(params)
            return step.seq2seq_loss(model, batch, dropout_key=None).total

        return batch, jax.jit(jax.value_and_grad(total))(state.state.params)

    packed, (loss, gradients) = loss_and_gradients(True)
    alone, (expected, of_alone) = loss_and_gradients(False)
    assert packed.encoder_segment_ids.max() > 1  # several examples in a row
    assert (packed.encoder_input_tokens > 0).sum() == (alone.encoder_input_tokens > 0).sum()
    if prompt:  # each packed example has its own
        assert (packed.encoder_input_tokens == tiny.ROWS).sum() == 16
    # Sums of some thousand float32 products in another order.
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(of_alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


def test_rows_of_tasks_with_and_without_a_prompt_by_hand():
    tables = [
        numbered(2, name=name, first=first) for name, first in (("a", 0), ("b", 50), ("c", 1))
    ]
    config = settings_of(task_feature_lengths={"inputs": 2, "targets": 6}, batch_size=6)
    show_prompts(
        tables, tiny.config(prompt=PromptConfig(2, tasks=("b", "a"))), "trained", trained=()
    )
    (batch,) = batches.evaluation_batches(tables, config)
    assert batch.encoder_input_tokens.tolist() == [
        [2050, 2051, 10, 0],
        [2050, 2051, 11, 11],
        [2048, 2049, 60, 0],
        [2048, 2049, 61, 61],
        [11, 11, 0, 0],
        [12, 12, 0, 0],  # three of them, cut to the two that text may have
    ]
    # Packed, each example behind its own prompt: rows of 5 + 2.
    lengths = {"inputs": 5, "targets": 6}
    packed = dataclasses.replace(config, pack=True, task_feature_lengths=lengths, batch_size=1)
    (batch,) = batches.evaluation_batches(tables[:1], packed)
    assert batch.encoder_input_tokens.tolist() == [[2050, 2051, 11, 11, 2050, 2051, 10]]
    assert batch.encoder_segment_ids.tolist() == [[1, 1, 1, 1, 2, 2, 2]]
    stream = Stream(tables, dataclasses.replace(config, batch_size=512))
    assert stream.lengths == {"inputs": 4, "targets": 6}
    rows = next(stream).encoder_input_tokens
    assert {tuple(row) for row in rows.tolist()} == {
        (2050, 2051, 10, 0),
        (2050, 2051, 11, 11),
        (2048, 2049, 60, 0),
        (2048, 2049, 61, 61),
        (11, 11, 0, 0),
        (12, 12, 0, 0),
    }


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


def test_the_position_of_longer_windows_is_refused():
    stream = Stream([numbered(3)], settings_of())
    stream.restore({"window": 0, "row": batches.WINDOW + 1, "drawn": [0]})
    with pytest.raises(ValueError, match="row 1025 of a window that has 1024; .* changed"):
        next(stream)


def test_the_share_of_real_tokens_is_that_of_the_arrays():
    stream = Stream([numbered(7)], settings_of(pack=True))
    found = take(stream, 4)
    for at, name in enumerate(("encoder_input_tokens", "decoder_target_tokens")):
        real = sum((getattr(batch, name) > 0).mean() for batch in found)
        assert stream.filled[at] == pytest.approx(real)


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


def test_packed_evaluation_has_every_example_once_in_fewer_rows():
    tables = [numbered(40), numbered(30, first=50)]
    config = settings_of(batch_size=4, pack=True)
    found = list(batches.evaluation_batches(tables, config))
    seen = [
        int(batch.encoder_input_tokens[row][batch.encoder_segment_ids[row] == segment][0])
        for batch in found
        for row in range(4)
        for segment in range(1, int(batch.encoder_segment_ids[row].max()) + 1)
    ]
    assert sorted(seen) == [*range(10, 50), *range(60, 90)]
    assert len(found) * 4 < 70 / 2


# Shares of several processes


def meshes(processes):
    """Meshes of eight devices, and who has which device: neighbours, or every n-th."""
    for sizes in ({"data": 8}, {"fsdp": 8}, {"data": 2, "fsdp": 2, "model": 2}, {"model": 8}):
        mesh = partitioning.make_mesh(**({"data": 1} | sizes))
        for together in (True, False):
            owner = {
                device: i // (8 // processes) if together else i % processes
                for i, device in enumerate(jax.devices())
            }
            yield mesh, owner


def shares(mesh, owner, batch_size):
    """The share of each process, as if it had only its own devices."""
    places = partitioning.batch_sharding(mesh).devices_indices_map((batch_size,))
    return [
        batches.share_of(
            (place[0] for device, place in places.items() if owner[device] == process), batch_size
        )
        for process in sorted(set(owner.values()))
    ]


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_processes_together_make_the_rows_of_one(processes, monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 24)  # batches cross windows
    tables = [numbered(7, rate=2.0), numbered(5, name="other", first=50)]
    config = settings_of(batch_size=16, pack=True)
    whole = Stream(tables, config)
    expected = take(whole, 5)
    for mesh, owner in meshes(processes):
        held = np.zeros(16, int)
        for share in shares(mesh, owner, 16):
            stream = Stream(tables, config, share=share)
            for batch, of_all in zip(take(stream, 5), expected, strict=True):
                assert_same([batch], [type(batch)(*(rows[share.rows] for rows in of_all))])
            assert stream.position() == whole.position()
            np.testing.assert_array_equal(stream.filled, whole.filled)
            held[share.rows] += 1
        assert held.min() >= 1  # devices along `model` hold the same rows


def test_another_number_of_processes_goes_on_where_the_first_stopped(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 24)
    tables, config = [numbered(7)], settings_of(batch_size=16, pack=True)
    before = Stream(tables, config, share=batches.Share(np.arange(8), 16))
    take(before, 3)
    whole = Stream(tables, config)
    take(whole, 3)
    share = batches.Share(np.arange(4, 8), 16)
    after = Stream(tables, config, share=share)
    after.restore(json.loads(json.dumps(before.position())))
    for batch, of_all in zip(take(after, 4), take(whole, 4), strict=True):
        assert_same([batch], [type(batch)(*(rows[share.rows] for rows in of_all))])


def test_a_process_makes_only_the_examples_of_its_own_rows():
    class Known(Numbered):
        made = 0

        def example_sizes(self, raws, indices, keys):
            return np.array([[n % 5 + 1, 2] for n in indices])

        def examples(self, raws, indices, keys):
            self.made += len(indices)
            return [self.example(raws[i], None) for i in indices]

    counts = []
    for share in (None, batches.Share(np.arange(12, 16), 16)):
        format_ = Known()
        table = Table("known", 1.0, format_, [{"n": n} for n in range(100)])
        take(Stream([table], settings_of(batch_size=16), share=share), 10)
        counts.append(format_.made)
    assert counts == [160, 40]


@pytest.mark.parametrize("packed", [False, True])
def test_evaluation_is_shared_too_and_all_processes_see_equally_many_batches(packed):
    tables = [numbered(40), numbered(33, first=50)]
    config = settings_of(batch_size=16, pack=packed)
    whole = list(batches.evaluation_batches(tables, config))
    for rows in (np.arange(8), np.arange(8, 16), np.arange(1, 16, 4)):
        share = batches.Share(rows, 16)
        found = list(batches.evaluation_batches(tables, config, share=share))
        expected = [
            type(batch)(*(each if each is None else each[rows] for each in batch))
            for batch in whole
        ]
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            for left, right in zip(a, b, strict=True):
                assert (left is None) == (right is None)
                if left is not None:
                    np.testing.assert_array_equal(left, right)


def test_the_share_of_the_only_process_is_every_row_and_arrays_are_as_before():
    mesh = partitioning.make_mesh(data=2, fsdp=2, model=2)
    share = batches.local_share(16, mesh)
    assert share.rows.tolist() == list(range(16))
    batch = next(Stream([numbered(7)], settings_of(batch_size=16, pack=True), share=share))
    placed = batches.to_devices(batch, mesh, share)
    for ours, global_ in zip(batch, placed, strict=True):
        assert global_.sharding == partitioning.batch_sharding(mesh)
        np.testing.assert_array_equal(ours, global_)


def test_a_global_array_takes_each_devices_rows_from_where_they_lie():
    # As several processes would, each from its own rows; here one holds them all.
    mesh = partitioning.make_mesh(data=4, model=2)
    rows = np.arange(32).reshape(16, 2)
    share = batches.Share(np.arange(16), 16)
    array = batches.global_array(rows, partitioning.batch_sharding(mesh), share)
    np.testing.assert_array_equal(array, rows)
    assert {shard.data.shape for shard in array.addressable_shards} == {(4, 2)}


# read_tables


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
