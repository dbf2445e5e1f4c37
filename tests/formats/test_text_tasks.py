"""Tasks over questions and general rows: for our trainer, for plain SeqIO, from a cache."""

import json

import numpy as np
import pytest
import tiny

from medmt5 import batches, cache_task, token_cache
from medmt5.formats import task
from medmt5.formats.text_tasks import register_general, register_questions
from medmt5.tables import DatasetConfig

LENGTHS = {"inputs": 96, "targets": 32}
QUESTIONS = [
    {"question": "Which drug?", "options": {"A": "x", "B": "y"}, "answer_idx": answer}
    for answer in ("A", "B", "A,B")
]
PAIRS = [
    {"src_lang": "en", "tgt_lang": "es", "src": f"Text {i}.", "tgt": f"Texto {i}."}
    for i in range(4)
]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, rows in (("exam", QUESTIONS), ("pairs", PAIRS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exam, pairs = str(folder / "exam.jsonl"), str(folder / "pairs.jsonl")
    given = dict(vocabulary_path=tiny.VOCABULARY)
    register_questions(
        "text_exam", {"test": lambda: exam}, prompt="plain", lang="en", several=True, **given
    )
    for shots in (0, 1):
        register_general(
            f"text_pairs_{shots}",
            {"test": lambda: pairs},
            prompt="translation",
            key="src",
            lang="es",
            shots=shots,
            **given,
        )
    register_general(
        "text_wrong", {"test": lambda: pairs}, prompt="rte", key="premise", lang="en", **given
    )
    return folder


def table_of(name):
    (table,) = task.read_tables(DatasetConfig(name, LENGTHS, split="test"), None)
    return table


@pytest.mark.parametrize("name", ["text_exam", "text_pairs_0", "text_pairs_1"])
def test_seqio_makes_the_examples_that_we_make(paths, name):
    table = table_of(name)
    dataset = task.get_task_or_mixture(name).get_dataset(LENGTHS, "test", shuffle=False)
    made = list(dataset.as_numpy_iterator())
    assert len(made) == len(table.raws) > 0
    for ours, theirs in zip(table.raws, made, strict=True):
        example = table.format.example(ours, None)
        for key in ("inputs", "targets"):
            np.testing.assert_array_equal(example[key], theirs[key])


def test_shown_rows_are_not_asked(paths):
    table = table_of("text_pairs_1")
    assert [raw["src"] for raw in table.raws] == ["Text 1.", "Text 2.", "Text 3."]
    source = table.format.vocabulary.decode(table.format.example(table.raws[0], None)["inputs"])
    assert source.count("Texto 0.") == 1 and "Texto 1." not in source
    assert len(table_of("text_pairs_0").raws) == 4


def test_a_cache_holds_what_is_needed_to_answer(paths, tmp_path):
    for name in ("text_exam", "text_pairs_1"):
        cache_task.main([name, "--output_cache_dir", str(tmp_path)])
        config = DatasetConfig(
            name, LENGTHS, split="test", use_cached=True, cache_dir=str(tmp_path)
        )
        (cached,) = token_cache.read_tables(config, None)
        table = table_of(name)
        assert cached.format.describe() == table.format.describe()
        for ours, kept in zip(table.raws, cached.raws, strict=True):
            one, two = table.format.example(ours, None), cached.format.example(kept, None)
            np.testing.assert_array_equal(one["inputs"], two["inputs"])
            free = dict(tokens=two["targets"])
            assert cached.format.record(two, **free) == table.format.record(one, **free)


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


def test_a_file_with_fewer_rows_than_are_shown_is_refused(paths):
    register_general(
        "text_pairs_9",
        {"test": lambda: str(paths / "pairs.jsonl")},
        prompt="translation",
        key="src",
        lang="es",
        shots=9,
        vocabulary_path=tiny.VOCABULARY,
    )
    with pytest.raises(ValueError, match="task text_pairs_9 shows 9 rows, and there are 4"):
        table_of("text_pairs_9")


def test_rows_of_another_kind_are_refused(paths):
    with pytest.raises(ValueError, match=r"pairs.jsonl: task text_wrong needs rows with 'premise'"):
        table_of("text_wrong")


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
