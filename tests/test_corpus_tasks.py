"""Tasks of a built corpus: its languages, rates, held-out documents; inspected and cached."""

import numpy as np
import pytest
from medmt5.tasks import corpus as corpus_tasks

from medmt5 import batches, cache_task, inspect_task
from medmt5.corpus import built
from medmt5.corpus.documents import Document
from medmt5.corpus.shards import documents_written
from medmt5.formats import task

LENGTHS = {"inputs": 32, "targets": 16}


def text(language, number):
    words = {"es": "El paciente toma aspirina por el dolor", "eu": "Gaixoak mina du buruan"}
    return f"{words[language]} {number}."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """60 documents in Spanish in two shards, 20 in Basque, in the formats of a build."""
    for name, language, numbers in (
        ("s-00000.jsonl.gz", "es", range(0, 60, 2)),
        ("s-00001.jsonl", "es", range(1, 60, 2)),
        ("s-00000.tfrecord", "eu", range(20)),
    ):
        path = tmp_path / "corpus" / "documents" / language / name
        with documents_written(str(path)) as write:
            for n in numbers:
                write(Document(text(language, n), str(n), "s", language))
    monkeypatch.setenv("MEDMT5_CORPUS_DIR", str(tmp_path / "corpus"))
    monkeypatch.setenv("MEDMT5_CORPUS_HELD_OUT", "4")
    return tmp_path / "corpus"


def texts(name, split):
    return {raw["text"] for raw in task.get_task_or_mixture(name).source.read(split)}


def test_every_document_is_trained_on_or_held_out_and_a_smaller_share_is_a_part(
    folder, monkeypatch
):
    train, held = texts("corpus_es", "train"), texts("corpus_es", "validation")
    assert train | held == {text("es", n) for n in range(60)} and not train & held
    expected = {n for n in range(60) if built.is_held_out(Document("x", str(n), "s"), 4)}
    assert held == {text("es", n) for n in expected} and expected
    monkeypatch.setenv("MEDMT5_CORPUS_HELD_OUT", "2")
    assert held < texts("corpus_es", "validation")


def test_mixtures_have_the_languages_of_the_folder_by_characters(folder):
    size = {lang: sum(map(len, texts(f"corpus_{lang}", "train"))) for lang in ("es", "eu")}
    for variant in corpus_tasks.VARIANTS:
        rates = {one.name: rate for one, rate in task.tasks_of(f"corpus{variant}")}
        assert rates == {f"corpus{variant}_{lang}": size[lang] for lang in ("es", "eu")}
    rates = [rate for _, rate in task.tasks_of("corpus_tempered")]
    assert rates == pytest.approx([size["es"] ** 0.3, size["eu"] ** 0.3])


def test_a_mixture_is_read_in_both_splits(folder, sample_vocabulary):
    for split in ("train", "validation"):
        config = batches.DatasetConfig("corpus", LENGTHS, split=split)
        tables = batches.read_tables(config, sample_vocabulary)
        assert [table.name for table in tables] == ["corpus_es", "corpus_eu"]
        for table in tables:
            ids = np.concatenate([raw["tokens"] for raw in table.raws])
            all_texts = task.get_task_or_mixture(table.name).source.read(split)
            expected = [i for raw in all_texts for i in sample_vocabulary.encode(raw["text"])]
            assert ids.tolist() == expected


def test_it_is_inspected_and_cached(folder, tmp_path, capsys, sample_vocabulary_path):
    model = ["--vocabulary", sample_vocabulary_path]
    lengths = ["--inputs", "32", "--targets", "16"]
    inspect_task.main(["corpus", *model, *lengths])
    printed = capsys.readouterr().out
    assert "corpus_es: " in printed and "corpus_eu: " in printed and "span_corruption" in printed
    cache_task.main(["corpus", *model, "--output_cache_dir", str(tmp_path / "cache")])
    config = batches.DatasetConfig(
        "corpus", LENGTHS, split="validation", use_cached=True, cache_dir=str(tmp_path / "cache")
    )
    tables = batches.read_tables(config, None)
    assert [table.name for table in tables] == ["corpus_es", "corpus_eu"]


@pytest.mark.parametrize(
    ("name", "variables", "message"),
    [
        ("corpus_ru", {}, "has no documents in 'ru'; it has es, eu"),
        ("corpus_es", {"MEDMT5_CORPUS_DIR": ""}, "MEDMT5_CORPUS_DIR is not set"),
        ("corpus", {"MEDMT5_CORPUS_DIR": "/nowhere"}, "/nowhere holds no corpus"),
        ("corpus_es", {"MEDMT5_CORPUS_HELD_OUT": "1"}, "is '1'; use a whole number from 2"),
        ("corpus_eu", {"MEDMT5_CORPUS_HELD_OUT": "10000000"}, "none is in the split validation"),
    ],
)
def test_what_is_missing_is_said(folder, monkeypatch, sample_vocabulary, name, variables, message):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    config = batches.DatasetConfig(name, LENGTHS, split="validation")
    with pytest.raises(ValueError, match=message):
        batches.read_tables(config, sample_vocabulary)
