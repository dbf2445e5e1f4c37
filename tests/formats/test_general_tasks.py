"""Tasks over general rows: which examples come before a source, and which rows a split has."""

import json

import numpy as np
import pytest
import tiny

from medmt5 import cache_task, token_cache
from medmt5.formats import task
from medmt5.formats.general_tasks import LAST_FIFTH, drawn, register_general
from medmt5.tables import DatasetConfig

LENGTHS = {"inputs": 128, "targets": 32}
GIVEN = dict(prompt="translation", key="src", lang="es", vocabulary_path=tiny.VOCABULARY)


def write(path, beginning, count):
    rows = (
        {"src_lang": "en", "tgt_lang": "es", "src": f"{beginning} {i}.", "tgt": f"Texto {i}."}
        for i in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda: str(path)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Tasks over three rows to ask and four to show."""
    folder = tmp_path_factory.mktemp("general")
    train, test = write(folder / "train", "Shown", 4), write(folder / "test", "Asked", 3)
    splits = {"train": train, "test": test}
    for shots in (0, 1, 2):
        register_general(f"general_{shots}", splits, shots=shots, **GIVEN)
    register_general("general_other_seed", splits, shots=1, seed=1, **GIVEN)
    register_general("general_test_alone", {"test": test}, shots=2, **GIVEN)
    gone = {"train": lambda: task.data_path("gone.jsonl", origin="nowhere"), "test": test}
    register_general("general_train_is_gone", gone, shots=2, **GIVEN)
    (folder / "damaged").write_text("{\n")
    damaged = {"train": lambda: str(folder / "damaged"), "test": test}
    register_general("general_train_is_damaged", damaged, shots=2, **GIVEN)
    register_general("general_too_many", {"test": test}, shots=3, **GIVEN)
    register_general("general_fifths", dict.fromkeys(LAST_FIFTH, train), fifths=LAST_FIFTH, **GIVEN)
    register_general("general_wrong", splits, **GIVEN | {"prompt": "rte", "key": "premise"})
    return folder


def table_of(name, split="test", lengths=LENGTHS):
    (table,) = task.read_tables(DatasetConfig(name, lengths, split=split), None)
    return table


def shown(name, split="test"):
    return [raw["shown"] for raw in table_of(name, split).raws]


def test_examples_are_rows_of_the_training_split(tasks):
    for text in shown("general_2"):
        assert text.count("Translate English to Spanish: Shown") == 2 and "Asked" not in text
    assert shown("general_0") == [""] * 3
    source = table_of("general_1").format.example(table_of("general_1").raws[0], None)["inputs"]
    text = table_of("general_1").format.vocabulary.decode(source)
    assert text == (f"{shown('general_1')[0]} Translate English to Spanish: Asked 0. <extra_id_0>")


def test_examples_are_the_same_each_time_and_others_by_another_seed(tasks):
    assert shown("general_1", "train") == shown("general_1", "train")
    assert shown("general_1", "train") != shown("general_other_seed", "train")


@pytest.mark.parametrize("name", ["general_test_alone", "general_train_is_gone"])
def test_without_training_rows_the_others_of_the_file_are_shown(tasks, name, caplog, monkeypatch):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(tasks))
    assert [sorted(set("012") & set(text)) for text in shown(name)] == [
        ["1", "2"],
        ["0", "2"],
        ["0", "1"],
    ]
    gone = "examples are rows of its test split, as .*gone.jsonl does not exist"
    assert any(map(lambda line: "does not exist" in line, caplog.messages)) == ("gone" in name), (
        gone
    )


def test_a_damaged_training_file_is_told(tasks):
    with pytest.raises(ValueError, match="damaged:1: not JSON"):
        table_of("general_train_is_damaged")


def test_a_row_is_never_its_own_example():
    for place in range(5):
        chosen = {tuple(drawn(5, 4, np.random.default_rng(s), but=place)) for s in range(30)}
        assert {frozenset(places) for places in chosen} == {frozenset(range(5)) - {place}}
        assert len(chosen) > 10  # their order is drawn too


def test_more_examples_than_there_are_other_rows_are_refused(tasks):
    with pytest.raises(ValueError, match="general_too_many shows 3 rows beside the one that is"):
        table_of("general_too_many")


def test_a_set_of_one_file_has_its_last_fifth_as_test(tmp_path):
    path = write(tmp_path / "rows", "Row", 11)
    register_general("general_eleven", dict.fromkeys(LAST_FIFTH, path), fifths=LAST_FIFTH, **GIVEN)
    rows = {
        split: [raw["src"] for raw in table_of("general_eleven", split).raws]
        for split in LAST_FIFTH
    }
    assert rows == {
        "train": [f"Row {i}." for i in range(8)],
        "test": [f"Row {i}." for i in range(8, 11)],
    }


def test_examples_lose_their_beginning_where_a_row_is_short(tasks):
    whole, short = table_of("general_2"), table_of("general_2", lengths=LENGTHS | {"inputs": 64})
    assert len(short.format.example(short.raws[0], None)["inputs"]) <= 64
    assert short.raws[0]["src"] == whole.raws[0]["src"]
    assert 0 < len(short.raws[0]["shown"]) < len(whole.raws[0]["shown"])
    assert whole.raws[0]["shown"].endswith(short.raws[0]["shown"])


@pytest.mark.parametrize("name", ["general_0", "general_1"])
def test_seqio_and_a_cache_make_the_examples_that_we_make(tasks, name, tmp_path):
    table = table_of(name)
    dataset = task.get_task_or_mixture(name).get_dataset(LENGTHS, "test", shuffle=False)
    cache_task.main([name, "--output_cache_dir", str(tmp_path)])
    config = DatasetConfig(name, LENGTHS, split="test", use_cached=True, cache_dir=str(tmp_path))
    (cached,) = token_cache.read_tables(config, None)
    assert cached.format.describe() == table.format.describe()
    rows = zip(table.raws, dataset.as_numpy_iterator(), cached.raws, strict=True)
    for ours, theirs, kept in rows:
        example, again = table.format.example(ours, None), cached.format.example(kept, None)
        for key in ("inputs", "targets"):
            np.testing.assert_array_equal(example[key], theirs[key])
            np.testing.assert_array_equal(example[key], again[key])
        tokens = example["targets"]
        record = table.format.record(example, tokens=tokens)
        assert record == cached.format.record(again, tokens=tokens)
        assert record["predicted"] == ours["tgt"]


def test_rows_of_another_kind_are_refused(tasks):
    with pytest.raises(ValueError, match="test: task general_wrong needs rows with 'premise'"):
        table_of("general_wrong")
