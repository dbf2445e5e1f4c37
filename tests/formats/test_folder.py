"""Tasks that are files, named by their path."""

import json

import pytest
import seqio
import tiny

from medmt5 import cache_task, inspect_task
from medmt5.formats import folder, task
from medmt5.tables import DatasetConfig
from medmt5.vocabulary import Vocabulary

HER = "She\tO\nhas\tO\nasthma\tB-Illness\n\n"
HIS = "Toma\tO\ninsulina\tB-Drug\n\n"


@pytest.fixture
def files(tmp_path):
    """A set in two languages, English alone with training data, and a set of questions."""
    rows = {"question": "Which?", "options": {"A": "x", "B": "y"}, "answer_idx": "A,B"}
    for name, text in (
        ("en-mine-train.tsv", HER + "takes\tO\ninsulin\tB-Drug\n\n"),
        ("en-mine-test.tsv", HER),
        ("es-mine-test.tsv", HIS),
        ("en-other-train.tsv", "a\tB-Zone\n\n"),
        ("fr-exam-dev.jsonl", json.dumps(rows) + "\n"),
        ("notes.txt", "no task"),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def tables(name, split, vocabulary=None):
    lengths = {"inputs": 32, "targets": 32}
    return task.read_tables(DatasetConfig(name, lengths, split=split), vocabulary)


def test_a_path_is_a_task_with_the_splits_that_are_there(files):
    found = task.get_task_or_mixture(f"{files}/en-mine")
    assert found.name == "mine_en" and set(found.splits) == {"train", "test"}
    assert task.get_task_or_mixture(f"{files}/../{files.name}/en-mine") is found
    (table,) = tables(f"{files}/en-mine", "train", Vocabulary(tiny.VOCABULARY))
    assert table.format.labels == table.format.inventory == ("Drug", "Illness")
    assert table.raws[0]["tags"] == ["O", "O", "B-Illness"]


def test_a_language_without_training_data_has_the_labels_of_the_others(files):
    (table,) = tables(f"{files}/es-mine", "test", Vocabulary(tiny.VOCABULARY))
    assert table.format.labels == ("Drug", "Illness")
    with pytest.raises(ValueError, match="has no split 'train'; it has test"):
        tables(f"{files}/es-mine", "train", Vocabulary(tiny.VOCABULARY))


def test_a_pattern_is_a_mixture_of_languages_and_a_folder_one_of_all_sets(files):
    found = task.get_task_or_mixture(f"{files}/*-mine")
    assert isinstance(found, seqio.Mixture) and len(found.tasks) == 2
    (files / "fr-exam-dev.jsonl").unlink()
    all_sets = tables(f"{files}/en-*", "train", Vocabulary(tiny.VOCABULARY))
    # One model of both: a label has one tag.
    assert [t.format.inventory for t in all_sets] == [("Drug", "Illness", "Zone")] * 2
    assert {t.format.labels for t in all_sets} == {("Drug", "Illness"), ("Zone",)}


def test_questions_are_a_task_too(files):
    (table,) = tables(f"{files}/fr-exam", "validation", Vocabulary(tiny.VOCABULARY))
    assert (table.format.prompt, table.format.several) == ("plain", True)
    assert table.raws[0]["lang"] == "fr"


def test_what_questions_are_like_is_told_by_all_files(files):
    row = {"question": "Which?", "options": {"A": "x", "B": "y"}, "answer_idx": "A"}
    for split, answer in (("dev", "A"), ("train", "B"), ("test", "A,B")):
        (files / f"es-quiz-{split}.jsonl").write_text(json.dumps(row | {"answer_idx": answer}))
    (table,) = tables(f"{files}/es-quiz", "validation", Vocabulary(tiny.VOCABULARY))
    assert table.format.several


def test_the_same_set_in_two_folders_is_two_tasks(files, tmp_path_factory):
    other = tmp_path_factory.mktemp("second")
    (other / "en-mine-train.tsv").write_text("x\tB-Other\n\n")
    names = {folder.registered(f"{path}/en-mine") for path in (files, other)}
    assert len(names) == 2


def test_what_is_not_there_is_said_with_what_is(files):
    with pytest.raises(ValueError, match="there are en-mine, en-other, es-mine, fr-exam"):
        folder.registered(f"{files}/en-mien")
    with pytest.raises(ValueError, match="in that folder there are none"):
        folder.registered(f"{files}/nowhere/en-mine")
    with pytest.raises(ValueError, match="is a folder; all its sets are .*/, one is .*/en-name"):
        folder.registered(f"{files}")


def test_a_set_without_training_files_or_labels_is_refused(tmp_path):
    (tmp_path / "en-mine-test.tsv").write_text(HER)
    with pytest.raises(ValueError, match="there is no <lang>-mine-train.tsv; leave the set"):
        folder.registered(f"{tmp_path}/en-mine")
    (tmp_path / "en-mine-train.tsv").write_text("word\tO\n\n")
    with pytest.raises(
        ValueError, match="no word is tagged in .*en-mine-train.tsv; all tags are O"
    ):
        folder.registered(f"{tmp_path}/en-mine")


def test_a_label_that_training_files_lack_is_named_with_its_line(files):
    (files / "es-mine-test.tsv").write_text(HIS + "dos\tB-Dose\n\n")
    (table,) = tables(f"{files}/es-mine", "test", Vocabulary(tiny.VOCABULARY))
    with pytest.raises(ValueError, match="'Dose' is unknown; this task has Drug, Illness"):
        table.format.example(table.raws[1], None)


def test_it_can_be_inspected_and_cached(files, tmp_path, capsys):
    given = [f"{files}/en-mine", "--vocabulary", tiny.VOCABULARY]
    inspect_task.main([*given, "--split", "test"])
    assert "label Illness: 1 spans" in capsys.readouterr().out
    cache_task.main([*given, "--output_cache_dir", str(tmp_path / "cache")])
    said = capsys.readouterr().out
    name = task.get_task_or_mixture(f"{files}/en-mine").name
    assert f"is cached as {name}" in said and (tmp_path / "cache" / name / "train").is_dir()
