"""Every task that ships with medmt5: its splits are read, its examples made; names and counts."""

import dataclasses
import shutil

import data_folder
import numpy as np
import pytest
import seqio
import shared
from medmt5.tasks import mixtures, question_answering, sequence_labelling

from medmt5.formats import task
from medmt5.tables import DatasetConfig, Table
from medmt5.vocabulary import Vocabulary

# Those of other tests are not looked at.
OURS = [
    name
    for name in task.all_names()
    if name.startswith(
        (
            *sequence_labelling.SETS,
            *question_answering.SETS,
            *question_answering.PROMPTS,
            *("medical_mt5", "open_labelling", "laptop_labelling", "raw_text", "general_text"),
            *("rte", "cb", "wic", "xnli", "sst2", "wmt", "multi30k", "tatoeba", "xsum"),
            *("wikilingua", "meqsum", "triviaqa", "webquestions", "mmedbench"),
        )
    )
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(data_folder.write(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def environment(data_dir, monkeypatch):
    monkeypatch.setenv("MEDMT5_DATA_DIR", data_dir)
    mixtures.size.cache_clear()


@pytest.mark.parametrize("name", [n for n in OURS if n in seqio.TaskRegistry.names()])
def test_every_split_of_a_task_is_read_and_becomes_ids(name, sample_vocabulary):
    found = task.get_task_or_mixture(name)
    lengths = {"inputs": 64, "targets": 64}
    for split in found.splits:
        format_, raws = task.open_split(found, split, lengths, sample_vocabulary)
        table = Table(name, 1.0, format_, format_.prepare(raws, lengths))
        (example,) = table.examples(np.array([0]), np.array([7], np.uint64))
        assert len(example["inputs"]) > 1 and len(example["targets"]) > 1
        if hasattr(format_, "modes"):
            given = format_.example(table.raws[0], None)
            record = format_.record(given, tokens=given["targets"])
            expected = record.get("gold", record["predicted"])
            assert record["predicted"] == expected or record["predicted"] in record["references"]


@pytest.mark.parametrize("name", [n for n in OURS if n in seqio.MixtureRegistry.names()])
def test_every_mixture_has_rates(name):
    members = task.tasks_of(name)
    assert len(members) >= 1 and all(rate > 0 for _, rate in members)


def test_medical_mt5_has_its_14_training_sets_and_22_tests():
    assert len(task.tasks_of("medical_mt5")) == len(task.tasks_of("medical_mt5_balanced")) == 14
    tests = task.get_task_or_mixture("medical_mt5_test").tasks
    assert len(tests) == 22 and all("test" in test.splits for test in tests)


def test_one_model_of_all_sets_has_one_tag_per_label(sample_vocabulary_path):
    vocabulary = Vocabulary(sample_vocabulary_path)
    formats = [member.make_format(vocabulary) for member, _ in task.tasks_of("medical_mt5")]
    tags = {}
    for format_ in formats:
        for label, opening in zip(format_.tags.labels, format_.tags.opens, strict=True):
            assert tags.setdefault(label, opening) == opening
        assert len(format_.prompt) == len(format_.labels)
    assert len(set(tags.values())) == len(tags) == 10


def test_a_misspelt_name_is_told_what_is_near():
    with pytest.raises(ValueError, match="no task or mixture 'headqaes' .* mean headqa_es"):
        task.get_task_or_mixture("headqaes")
    with pytest.raises(ValueError, match="'zzzz' is registered. medmt5 inspect --list shows all"):
        task.get_task_or_mixture("zzzz")


def test_a_split_that_a_set_lacks_is_told_which_there_are(sample_vocabulary):
    config = DatasetConfig("glaucoma_en", {"inputs": 64, "targets": 64})
    with pytest.raises(ValueError, match="glaucoma_en has no split 'train'; it has test"):
        task.read_tables(config, sample_vocabulary)


@pytest.mark.parametrize("name", ["pubmedqa", "headqa", "mmedbench"])
def test_a_mixture_is_evaluated_without_training_files(
    name, tmp_path, data_dir, monkeypatch, sample_vocabulary
):
    shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("*[Tt]rain*"))
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(tmp_path / "data"))
    config = DatasetConfig(name, {"inputs": 64, "targets": 64}, split="test")
    for table in task.read_tables(config, sample_vocabulary):
        assert len(table.raws) == 6 and table.rate == 1.0
    training = dataclasses.replace(config, split="train")
    with pytest.raises(ValueError, match="has no split 'train'|does not exist"):
        task.read_tables(training, sample_vocabulary)


# Sentences of train, validation and test, and spans of each.
COUNTS = {
    "ncbi_disease_en": ((5424, 923, 940), (5134, 787, 960)),
    "bc5cdr_disease_en": ((4560, 4581, 4797), (4182, 4246, 4424)),
    "neoplasm_en": ((4404, 679, 1251), (2266, 326, 686)),
    "neoplasm_es": ((4404, 679, 1251), (2265, 326, 686)),
    "neoplasm_it": ((4405, 679, 1251), (2265, 326, 686)),
    "e3c_en": ((669, 851), (437, 516)),
    "e3c_es": ((455, 679), (509, 800)),
    "e3c_fr": ((504, 605), (569, 695)),
    "e3c_it": ((451, 673), (345, 460)),
    "diann_en": ((4782, 1309), (1413, 243)),
    "diann_es": ((4639, 1284), (1326, 229)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_the_published_releases(name, monkeypatch):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(shared.needs("data")))
    found = task.get_task_or_mixture(name)
    counts = []
    for split in ("train", "validation", "test"):
        raws = list(found.source.read(split))
        spans = sum(tag.startswith("B-") for raw in raws for tag in raw["tags"])
        counts.append((len(raws), spans))
    if len(COUNTS[name][0]) == 2:  # what is validation here is a part of the release's train
        (a, b), (c, d), last = counts
        counts = [(a + c, b + d), last]
    assert tuple(zip(*counts, strict=True)) == COUNTS[name]
