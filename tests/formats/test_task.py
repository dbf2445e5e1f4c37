import functools
import itertools
import json

import numpy as np
import pytest
import seqio
import tiny

from medmt5 import batches
from medmt5.formats import task
from medmt5.formats.labelling import Labelling
from medmt5.formats.span_corruption import SpanCorruption


@pytest.fixture
def registered():
    """Registers tasks under a name of the test and takes them away again."""
    names = []

    def add(register, name, *args, **kwargs):
        names.append(name)
        return register(name, *args, vocabulary_path=tiny.VOCABULARY, **kwargs)

    yield add
    for name in names:
        seqio.TaskRegistry.remove(name)


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# What is registered is plain SeqIO


def test_seqio_and_the_trainer_see_the_same_ids_of_a_labelling_task():
    found = seqio.get_mixture_or_task("sample_clinical_en").get_dataset(
        {"inputs": 256, "targets": 256}, split="validation", shuffle=False
    )
    (table,) = batches.read_tables(tiny.dataset(split="validation"), None)
    count = 0
    for theirs, raw in itertools.zip_longest(found.as_numpy_iterator(), table.raws):
        ours = table.format.example(raw, None)
        np.testing.assert_array_equal(theirs["inputs"], ours["inputs"])
        np.testing.assert_array_equal(theirs["targets"], ours["targets"])
        count += 1
    assert count == len(table.raws) > 50


def test_seqio_trims_a_labelling_task_to_the_lengths_that_it_is_given():
    found = seqio.get_mixture_or_task("sample_clinical_en").get_dataset(
        {"inputs": 5, "targets": 4}, split="validation", shuffle=False
    )
    first = next(found.as_numpy_iterator())
    assert len(first["inputs"]) == 5 and len(first["targets"]) == 4


def test_seqio_gives_inputs_and_targets_of_span_corruption_that_make_up_the_text(
    registered, tmp_path, sample_vocabulary
):
    text = "The patient was given aspirin for pain and had no fever after two days . " * 20
    path = write(tmp_path / "text.jsonl", json.dumps({"text": text}) + "\n")
    registered(
        task.register_text,
        "test_task_text",
        read=lambda split: task.read_jsonl(path),
        make_format=SpanCorruption,
    )
    found = seqio.get_mixture_or_task("test_task_text").get_dataset(
        {"inputs": 64, "targets": 32}, split="train", shuffle=False
    )
    sentinels = {sample_vocabulary.sentinel(i) for i in range(100)}
    joined = []
    for example in found.as_numpy_iterator():
        assert len(example["inputs"]) <= 64 and len(example["targets"]) <= 32
        assert example["inputs"][-1] == example["targets"][-1] == sample_vocabulary.eos_id
        runs = {}
        for token in example["targets"][:-1].tolist():
            if token in sentinels:
                runs[token] = []
                last = token
            else:
                runs[last].append(token)
        for token in example["inputs"][:-1].tolist():
            joined += runs.pop(token, []) if token in sentinels else [token]
        # A chunk that ends in a dropped run has no sentinel after it to close the targets.
        joined += [token for run in runs.values() for token in run]
    assert joined == sample_vocabulary.encode(text)


@pytest.mark.parametrize("name", ["sample_text_en", "sample_clinical_en"])
def test_repeated_without_end_as_in_training_the_first_examples_come_at_once(name):
    found = seqio.get_mixture_or_task(name).get_dataset(
        {"inputs": 64, "targets": 96}, split="train", shuffle=False, num_epochs=None
    )
    assert len(list(found.take(3).as_numpy_iterator())) == 3


def test_seqios_evaluator_can_score_free_generation_by_its_ids():
    found = seqio.get_mixture_or_task("sample_clinical_en")
    dataset = found.get_dataset({"inputs": 256, "targets": 256}, split="validation", shuffle=False)
    examples = list(dataset.take(20).as_numpy_iterator())
    (metric,) = found.metric_objs
    golds = [np.pad(example["targets"], (0, 3)) for example in examples]
    perfect = metric.from_model_output(examples, golds, found.output_features).compute()
    assert perfect["f1"] == 100.0 and perfect["unchanged"] == 100.0 and perfect["support"] > 20
    sources = [example["inputs"] for example in examples]  # copied, no tags
    none = metric.from_model_output(examples, sources, found.output_features).compute()
    assert none["recall"] == 0.0 and none["unchanged"] == 100.0


def test_a_mixture_of_our_tasks_is_plain_seqio():
    mixture = seqio.get_mixture_or_task("sample_clinical")
    found = mixture.get_dataset(tiny.LENGTHS, split="train", shuffle=False, num_epochs=1)
    for example in itertools.islice(found.as_numpy_iterator(), 8):
        assert example["inputs"].dtype == example["targets"].dtype == np.int32


# CoNLL tasks


def test_labels_of_the_file_are_renamed_to_those_of_the_task(registered, tmp_path):
    path = write(tmp_path / "a.tsv", "no\tO\nacute\tB-ety\ngout\tI-ety\n\ngout\tB-ety\n")
    registered(
        task.register_conll,
        "test_task_conll",
        {"test": lambda: path},
        rename={"ety": "Clinical-Entity"},
        make_format=functools.partial(Labelling, labels=("Clinical-Entity",)),
    )
    (table,) = batches.read_tables(tiny.dataset("test_task_conll", split="test"), None)
    assert list(table.raws) == [
        {"words": ["no", "acute", "gout"], "tags": ["O", "B-Clinical-Entity", "I-Clinical-Entity"]},
        {"words": ["gout"], "tags": ["B-Clinical-Entity"]},
    ]
    spans = table.format.example(table.raws[0], None)["spans"]
    assert spans == [(1, 3, "Clinical-Entity")]


def test_a_label_without_a_new_name_is_refused_with_file_and_line(registered, tmp_path):
    path = write(tmp_path / "a.tsv", "gout\tB-ety\naspirin\tB-drug\n")
    registered(
        task.register_conll,
        "test_task_conll",
        {"test": lambda: path},
        rename={"ety": "Entity"},
        make_format=functools.partial(Labelling, labels=("Entity",)),
    )
    with pytest.raises(ValueError, match="a.tsv:2: label 'drug' is unknown; this task has ety"):
        batches.read_tables(tiny.dataset("test_task_conll", split="test"), None)


# read_jsonl


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path):
    path = write(tmp_path / "a.jsonl", '\ufeff{"text": "é", "id": 3}\n\n  \r\n{"text": ""}\r\n')
    assert list(task.read_jsonl(path)) == [{"text": "é", "id": 3}, {"text": ""}]


def test_an_empty_file_has_no_objects(tmp_path):
    assert list(task.read_jsonl(write(tmp_path / "a.jsonl", ""))) == []


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"text": "a"', r"a\.jsonl:2: not JSON \(.*a line is one object"),
        ('{"body": "a"}', r"a\.jsonl:2: no text field 'text'"),
        ('{"text": 3}', r"a\.jsonl:2: no text field 'text'"),
        ('["text"]', r"a\.jsonl:2: no text field 'text'"),
        (b'{"text": "caf\xe9"}', r"a\.jsonl:2: invalid UTF-8 at byte 14 of the line"),
    ],
)
def test_a_broken_line_is_reported_with_file_and_line(tmp_path, second, message):
    second = second.encode() if isinstance(second, str) else second
    path = write(tmp_path / "a.jsonl", b'{"text": "fine"}\n' + second + b"\n")
    with pytest.raises(ValueError, match=message):
        list(task.read_jsonl(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.jsonl: cannot be read \(No such file"):
        list(task.read_jsonl(str(tmp_path / "none.jsonl")))


def test_a_text_task_without_text_is_refused_by_name(registered, tmp_path):
    path = write(tmp_path / "a.jsonl", "\n")
    registered(
        task.register_text,
        "test_task_text",
        read=lambda split: task.read_jsonl(path),
        make_format=SpanCorruption,
    )
    with pytest.raises(ValueError, match="task test_task_text has no examples"):
        batches.read_tables(tiny.dataset("test_task_text"), None)


def test_a_broken_file_gives_the_same_error_to_plain_seqio(registered, tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n{\n')
    registered(
        task.register_text,
        "test_task_text",
        read=lambda split: task.read_jsonl(path),
        make_format=SpanCorruption,
    )
    with pytest.raises(ValueError, match=r"a\.jsonl:2: not JSON"):
        seqio.get_mixture_or_task("test_task_text").get_dataset({"inputs": 64, "targets": 32})


# data_path


def test_an_unset_data_directory_says_what_to_set_and_where_data_comes_from(monkeypatch):
    monkeypatch.delenv("MEDMT5_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match=r"MEDMT5_DATA_DIR is not set.* a/b\.tsv \(example\.org"):
        task.data_path("a/b.tsv", origin="example.org")


def test_a_missing_data_file_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"b\.tsv does not exist; get the data from example\.org"):
        task.data_path("a/b.tsv", origin="example.org")


def test_a_data_file_is_found_under_the_data_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(tmp_path))
    path = write(tmp_path / "b.tsv", "")
    assert task.data_path("b.tsv", origin="example.org") == path
