"""What is read from a cache is what the source gives, whatever the size of the shards."""

import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tiny

from medmt5 import batches, cache_task, token_cache
from medmt5.formats.labelling import Labelling
from medmt5.formats.span_corruption import SpanCorruption
from medmt5.vocabulary import Vocabulary

LENGTHS = {"inputs": 64, "targets": 48}
TEXTS = [{"text": f"The patient {n} was given aspirin for acute pain ."} for n in range(300)]
UNKNOWN_FIELD = b"\x98\x06\x00"  # to SentencePiece: the same pieces in another file
SENTENCES = [
    {"words": ["no", "gout", "today", str(n)], "tags": ["O", "B-Disease", "O", "O"]}
    for n in range(50)
]


def write(folder, format_, raws, *, task="t", split="train", lengths=LENGTHS, shard_bytes=2**20):
    """The manifest of a cache of one split, written without SeqIO."""
    place = os.path.join(folder, task, split)
    about = token_cache.describe(task, split, format_, format_.vocabulary, lengths)
    return cache_task.write_split(
        place, about, format_, format_.vocabulary, raws, shard_bytes=shard_bytes
    )


def cached(folder, name="t", **changes):
    choices = dict(task_feature_lengths=LENGTHS, use_cached=True, cache_dir=str(folder))
    return tiny.dataset(name, **(choices | changes))


def table(folder, vocabulary=None, **changes):
    (found,) = batches.read_tables(cached(folder, **changes), vocabulary)
    return found


def assert_same_batches(ours, theirs, count=12):
    for a, b in itertools.islice(zip(ours, theirs, strict=False), count):
        for name in a._fields:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """The sample tasks, cached by the command."""
    folder = str(tmp_path_factory.mktemp("cache"))
    for name in ("sample_text", "sample_clinical"):
        module = ["--module", "medmt5.tasks.sample"]
        cache_task.main([name, "--output_cache_dir", folder, *module])
    return folder


# The same as from the source


@pytest.mark.parametrize(
    "name, split",
    [("sample_text", "train"), ("sample_clinical", "train"), ("sample_clinical", "validation")],
)
def test_training_and_evaluation_see_the_batches_of_the_source(samples, name, split):
    config = tiny.dataset(name, task_feature_lengths=LENGTHS, split=split)
    theirs = batches.read_tables(config, None)
    ours = batches.read_tables(cached(samples, name, split=split), None)
    assert [(t.name, t.rate) for t in ours] == [(t.name, t.rate) for t in theirs]
    assert_same_batches(batches.Stream(ours, config), batches.Stream(theirs, config))
    assert_same_batches(
        batches.evaluation_batches(ours, config), batches.evaluation_batches(theirs, config)
    )


def test_answers_are_scored_on_the_words_of_the_source(samples):
    name = "sample_clinical_en"
    (theirs,) = batches.read_tables(tiny.dataset(name, split="validation"), None)
    ours = table(samples, name=name, split="validation")
    assert ours.raws[:] == list(theirs.raws)
    assert ours.raws[:7] == ours.raws[:][:7]
    described = [
        token_cache.describe(name, "validation", each.format, each.format.vocabulary, LENGTHS)
        for each in (ours, theirs)
    ]
    assert described[0] == described[1]


def test_examples_that_are_random_are_made_at_load(tmp_path, sample_vocabulary):
    format_ = Labelling(sample_vocabulary, ["Disease"], subword_rate=0.5, tag_weight=3.0)
    write(tmp_path, format_, SENTENCES)
    ours, theirs = table(tmp_path), batches.Table("t", 1.0, format_, SENTENCES)
    assert ours.raws.example(0) is None
    config = cached(tmp_path)
    assert_same_batches(batches.Stream([ours], config), batches.Stream([theirs], config))


def test_a_plain_seqio_task_is_read_as_its_preprocessors_made_it(tmp_path, sample_vocabulary_path):
    texts = ["aspirin treats pain", "the patient had a fever"] * 20

    def source(split, shuffle_files, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices({"inputs": texts, "targets": texts[::-1]})

    spm = seqio.SentencePieceVocabulary(sample_vocabulary_path)
    seqio.TaskRegistry.add(
        "plain_cached_task",
        source=seqio.FunctionDataSource(source, splits=["train"]),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={name: seqio.Feature(vocabulary=spm) for name in ("inputs", "targets")},
    )
    try:
        lengths = ["--inputs", "64", "--targets", "48"]
        cache_task.main(["plain_cached_task", "--output_cache_dir", str(tmp_path), *lengths])
        config = tiny.dataset("plain_cached_task", task_feature_lengths=LENGTHS)
        theirs = batches.read_tables(config, None)
    finally:
        seqio.TaskRegistry.remove("plain_cached_task")
    ours = table(tmp_path, name="plain_cached_task")
    assert ours.format.vocabulary.size == Vocabulary(sample_vocabulary_path).size
    assert_same_batches(batches.Stream([ours], config), batches.Stream(theirs, config))
    with pytest.raises(ValueError, match="lengths {'inputs': 64, 'targets': 48}; .* --inputs 32"):
        table(tmp_path, name="plain_cached_task", task_feature_lengths=tiny.LENGTHS)


@pytest.mark.parametrize("shard_bytes", [1, 300, 2**20])
def test_chunks_and_examples_do_not_depend_on_where_shards_end(
    tmp_path, sample_vocabulary, shard_bytes
):
    text, labels = SpanCorruption(sample_vocabulary), Labelling(sample_vocabulary, ["Disease"])
    shards = write(tmp_path, text, TEXTS[:40], task="text", shard_bytes=shard_bytes)["shards"]
    assert (len(shards) > 2) == (shard_bytes < 2**20)
    write(tmp_path, labels, SENTENCES, task="labels", shard_bytes=shard_bytes)
    whole = text.prepare(TEXTS[:40], LENGTHS)
    ours = table(tmp_path, name="text").raws
    assert len(ours) == len(whole) > 3
    for a, b in zip(ours, whole, strict=True):
        assert a["tokens"].tolist() == b["tokens"].tolist()
    assert table(tmp_path, name="labels").raws[:] == SENTENCES


@pytest.mark.parametrize("size, ids", [(2048, "<u2"), (250_112, "<u4")])
def test_ids_take_two_bytes_where_they_fit(size, ids, sample_vocabulary, monkeypatch):
    monkeypatch.setattr(sample_vocabulary, "rows", size)
    format_ = SpanCorruption(sample_vocabulary)
    assert token_cache.describe("t", "train", format_, sample_vocabulary, LENGTHS)["ids"] == ids


# Reading


def test_a_corpus_larger_than_memory_is_read_in_little_of_it(tmp_path, sample_vocabulary):
    manifest = write(tmp_path, SpanCorruption(sample_vocabulary), TEXTS)
    tokens = 2**33  # 16 GiB, of which the disk holds what was written: the rest is a hole
    manifest["shards"][0]["bytes"]["tokens"] = 2 * tokens
    folder = tmp_path / "t" / "train"
    os.truncate(folder / "00000.tokens", 2 * tokens)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    tracemalloc.start()
    try:
        stream = batches.Stream([table(tmp_path)], cached(tmp_path))
        next(stream)
        _, first = tracemalloc.get_traced_memory()
        for _ in range(400):  # three windows
            next(stream)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(stream.tables[0].raws) > 10**8
    assert first < 8 * 2**20 and most < 8 * 2**20


def test_a_column_is_one_array_over_its_files(tmp_path):
    parts = [np.arange(5), np.arange(0), np.arange(5, 12), np.arange(12, 13)]
    paths = []
    for number, part in enumerate(parts):
        paths.append(str(tmp_path / str(number)))
        part.astype("<u4").tofile(paths[-1])
    column = token_cache.Column(paths, [len(part) for part in parts], np.dtype("<u4"))
    assert len(column) == 13
    for begin, end in itertools.combinations(range(14), 2):
        assert column[begin:end].tolist() == list(range(begin, end))
    assert column[3:3].tolist() == [] and column[12:99].tolist() == [12]


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path, sample_vocabulary):
    write(tmp_path, SpanCorruption(sample_vocabulary), TEXTS)
    found = table(tmp_path)
    os.truncate(tmp_path / "t" / "train" / "00000.tokens", 10)
    with pytest.raises(ValueError, match="00000.tokens has become shorter"):
        found.raws[0]


# Bad input


@pytest.fixture
def written(tmp_path, sample_vocabulary):
    write(tmp_path, SpanCorruption(sample_vocabulary), TEXTS)
    return tmp_path


def test_another_vocabulary_than_the_caches_is_refused(written, tmp_path, sample_vocabulary):
    other = Vocabulary(sample_vocabulary.path)
    assert table(written, other).format.vocabulary is other  # the same ids
    path = tmp_path / "other.model"
    path.write_bytes(Path(sample_vocabulary.path).read_bytes() + UNKNOWN_FIELD)
    other.path = str(path)
    with pytest.raises(ValueError, match="another vocabulary than .*other.model; .*--vocabulary"):
        table(written, other)


def test_a_replaced_vocabulary_file_is_noticed(written, sample_vocabulary):
    path = written / "t" / "train" / "sentencepiece.model"
    path.write_bytes(path.read_bytes() + UNKNOWN_FIELD)
    with pytest.raises(ValueError, match="train was made with another vocabulary than"):
        table(written)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(cache_dir="/no/such"), "/no/such does not exist; write it: medmt5 cache t "),
        (dict(cache_dir="gs://b/c"), "gs://b/c is remote; copy it to a local disk"),
        (dict(name="tt"), "has no task 'tt'; it has t. Write it: medmt5 cache tt "),
        (dict(split="test"), "has no split 'test'; it has train. .*--split test"),
    ],
)
def test_a_cache_that_is_not_there_is_refused_with_the_command_that_writes_it(
    written, change, message
):
    with pytest.raises(ValueError, match=message):
        table(written, **change)


def test_a_cut_file_is_named_when_the_cache_is_opened(written):
    os.truncate(written / "t" / "train" / "00000.tokens", 100)
    with pytest.raises(ValueError, match=r"00000.tokens has 100 bytes, its manifest lists [\d,]+:"):
        table(written)
    os.remove(written / "t" / "train" / "00000.tokens")
    with pytest.raises(ValueError, match="00000.tokens is missing"):
        table(written)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("version", 99, "is of version 99, this code reads 1; .*--overwrite"),
        ("format", "medmt5.formats.span_corruption:Other", "a format that this code has not"),
        ("format", "os:system", None),
        ("format", "mine.formats:Other", "needs the format mine.formats:Other; import mine"),
        ("settings", {"colour": 1}, "a format that this code has not.*colour"),
    ],
)
def test_a_manifest_of_other_code_is_refused(written, field, value, message):
    path = written / "t" / "train" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=message):
        table(written)


def test_a_damaged_manifest_is_refused(written):
    (written / "t" / "train" / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json cannot be read .*copy it again"):
        table(written)


# Without SeqIO


@pytest.mark.slow
def test_training_and_evaluation_run_from_the_cache_without_seqio_or_tensorflow(samples, tmp_path):
    sizes = ["emb_dim=16", "num_encoder_layers=1", "num_decoder_layers=1", "mlp_dim=32"]
    model, scores = str(tmp_path / "model"), str(tmp_path / "scores")
    where = [
        f"CACHE_DIR = {samples!r}",
        "USE_CACHED_TASKS = True",
        "MIXTURE_OR_TASK_NAME = 'sample_clinical_en'",
        "BATCH_SIZE = 2",
    ]
    train = [
        *where,
        *(f"network.T5Config.{size}" for size in sizes),
        f"MODEL_DIR = {model!r}",
        "INITIAL_CHECKPOINT_PATH = None",
        "TASK_FEATURE_LENGTHS = {'inputs': 64, 'targets': 72}",
        *("TRAIN_STEPS = 2", "EVAL_PERIOD = 2", "WARMUP_STEPS = 1", "EVAL_STEPS = 1"),
        "train_script.train.eval_examples = 1",
    ]
    score = [
        *where,
        f"CHECKPOINT_PATH = {model!r}",
        f"EVAL_OUTPUT_DIR = {scores!r}",
        "EVAL_EXAMPLES = 1",
        "DECODING = ('constrained',)",
    ]
    # Both recipes import a task module, which imports SeqIO.
    code = f"""
import sys
for name in ("seqio", "tensorflow", "tensorflow_datasets", "tensorflow_text"):
    sys.modules[name] = None
from medmt5 import launch
launch.run("train", files=["gin_configs/recipes/quickstart_finetune.gin"], bindings={train})
launch.run("eval", files=["gin_configs/recipes/quickstart_eval.gin"], bindings={score})
"""
    env = tiny.subprocess_env()
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    evaluated = (tmp_path / "model" / "eval" / "scalars.jsonl").read_text()
    assert {"loss", "sample_clinical_en/constrained/f1"} <= json.loads(evaluated).keys()
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["sample_clinical_en"]
