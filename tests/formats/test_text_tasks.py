"""Tasks over questions: for our trainer, for plain SeqIO, from a cache."""

import json

import numpy as np
import pytest
import tiny

from medmt5 import batches, cache_task, token_cache
from medmt5.formats import task
from medmt5.formats.text_tasks import register_questions
from medmt5.tables import DatasetConfig

LENGTHS = {"inputs": 96, "targets": 32}
QUESTIONS = [
    {"question": "Which drug?", "options": {"A": "x", "B": "y"}, "answer_idx": answer}
    for answer in ("A", "B", "A,B")
]


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    """The name of a task over questions."""
    path = tmp_path_factory.mktemp("texts") / "exam.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    splits = {"test": lambda: str(path)}
    given = dict(lang="en", several=True, vocabulary_path=tiny.VOCABULARY)
    return register_questions("text_exam", splits, prompt="plain", **given).name


def test_seqio_and_a_cache_make_the_examples_that_we_make(exam, tmp_path):
    (table,) = task.read_tables(DatasetConfig(exam, LENGTHS, split="test"), None)
    dataset = task.get_task_or_mixture(exam).get_dataset(LENGTHS, "test", shuffle=False)
    cache_task.main([exam, "--output_cache_dir", str(tmp_path)])
    config = DatasetConfig(exam, LENGTHS, split="test", use_cached=True, cache_dir=str(tmp_path))
    (cached,) = token_cache.read_tables(config, None)
    assert cached.format.describe() == table.format.describe()
    rows = zip(table.raws, dataset.as_numpy_iterator(), cached.raws, strict=True)
    for ours, theirs, kept in rows:
        example, again = table.format.example(ours, None), cached.format.example(kept, None)
        for key in ("inputs", "targets"):
            np.testing.assert_array_equal(example[key], theirs[key])
            np.testing.assert_array_equal(example[key], again[key])
        free = dict(tokens=again["targets"])
        assert cached.format.record(again, **free) == table.format.record(example, **free)


def one_task(name, folder, rows, **given):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = {"train": lambda: str(path), "test": lambda: str(path)}
    return register_questions(name, splits, vocabulary_path=tiny.VOCABULARY, **given)


def test_questions_that_a_prompt_cannot_put_are_refused_with_their_id(tmp_path):
    opened = {"id": "o1", "body": "What is it?", "ideal_answer": "It.", "snippets": []}
    many = QUESTIONS[0] | {"options": {letter: letter for letter in "ABCDEFGHIJK"}}
    for name, rows, fault, given in (
        ("text_two", QUESTIONS, "question 3 has 2 right answers, and this task", {}),
        ("text_mixed", [QUESTIONS[0], opened], "question o1 has no options", {}),
        ("text_closed", [opened, QUESTIONS[0]], "question 2 has options", {"prompt": "plain_open"}),
        ("text_many", [many], "question 1 has 11 options; .*, 10 are the most", {"several": True}),
    ):
        found = one_task(name, tmp_path, rows, **({"prompt": "plain"} | given))
        with pytest.raises(ValueError, match=f"{name}.jsonl: {fault}"):
            list(found.source.read("test"))


def test_questions_without_a_rationale_are_not_trained_on_where_one_is_written(tmp_path):
    rows = [QUESTIONS[0], QUESTIONS[1] | {"rationale": "Since."}]
    found = one_task("text_explained", tmp_path, rows, prompt="plain_explained")
    assert [row["id"] for row in found.source.read("train")] == ["2"]
    assert [row["id"] for row in found.source.read("test")] == ["1", "2"]
    none = one_task("text_unexplained", tmp_path, rows[:1], prompt="plain_explained")
    with pytest.raises(ValueError, match="no question has a rationale, which task"):
        list(none.source.read("train"))
    plain = one_task("text_direct", tmp_path, rows, prompt="plain")
    assert len(list(plain.source.read("train"))) == 2


def test_a_cache_gives_the_rows_of_the_source_where_contexts_must_be_shortened(tmp_path):
    path = tmp_path / "long.jsonl"
    rows = [
        row | {"context": "a long story about it " * (40 * i), "id": str(i)}
        for i, row in enumerate(QUESTIONS[:2])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    register_questions(
        "text_long",
        {"test": lambda: str(path)},
        prompt="plain",
        lang="en",
        vocabulary_path=tiny.VOCABULARY,
    )
    cache_task.main(["text_long", "--output_cache_dir", str(tmp_path / "cache")])
    given = dict(split="test", batch_size=2, pack=True)
    source = DatasetConfig("text_long", LENGTHS, **given)
    cached = DatasetConfig(
        "text_long", LENGTHS, **given, use_cached=True, cache_dir=str(tmp_path / "cache")
    )
    streams = [
        batches.Stream(task.read_tables(source, None), source),
        batches.Stream(token_cache.read_tables(cached, None), cached),
    ]
    for _ in range(3):
        for ours, theirs in zip(*map(next, streams), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert streams[0].trimmed == streams[1].trimmed == 0
