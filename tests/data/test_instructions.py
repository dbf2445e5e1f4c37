"""`medmt5 data instructions`: what becomes of questions and sentences, and what stays out."""

import json
import string
from collections import Counter

import pytest
import seqio
from medmt5.tasks import instructions as tasks

from medmt5.data import command
from medmt5.data.check import check_files, kind_of
from medmt5.data.findings import Findings
from medmt5.data.instruction_rows import NO_MENTION, _needs_options
from medmt5.data.instruction_texts import TEXTS
from medmt5.data.instructions import (
    IN_TEST,
    IN_VALIDATION,
    TWICE,
    every_row,
    sources,
)
from medmt5.data.stats import describe
from medmt5.formats import task
from medmt5.formats.gold import Report
from medmt5.formats.instructions import read_instructions
from medmt5.tables import DatasetConfig


def question(text, *options, answer="A", **changes):
    letters = dict(zip("ABCDE", options, strict=False))
    return {"id": text, "question": text, "options": letters, "answer_idx": answer} | changes


def put(folder, path, *rows):
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    target.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def sentence(text, tags=None):
    words = text.split()
    tags = tags or ["O"] * len(words)
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))


FEVER = sentence("fever and mild fever", ["B-ety", "O", "B-ety", "I-ety"])
KNOWN = question("¿Qué nervio mueve el diafragma?", "El frénico.", "El vago.")


@pytest.fixture
def folder(tmp_path):
    put(
        tmp_path,
        "qa/es/es-exam-train.jsonl",
        KNOWN,
        question("¿Cuál de las siguientes?", "Uno", "Dos", rationale="Por eso."),
        question("Está en test", "a", "b"),
        question("Está en dev", "a", "b"),
    )
    put(tmp_path, "qa/es/es-exam-dev.jsonl", question("Está  EN dev", "b", "a", answer="B"))
    put(tmp_path, "qa/es/es-exam-test.jsonl", question("Está en test", "a", "b"))
    put(tmp_path, "qa/es/es-copy-train.jsonl", KNOWN)  # of the first question
    several = question("Lesquelles ?", "x", "y", "z", answer="A,C")
    put(tmp_path, "qa/fr/fr-exam-train.jsonl", several, question("Laquelle ?", "x", "y"))
    put(tmp_path, "seqlab/en/en-e3c-train.tsv", FEVER, sentence("a known test sentence"))
    put(tmp_path, "seqlab/en/en-other-test.tsv", sentence("A known test sentence"))
    put(tmp_path, "seqlab/en/en-e3c-dev.tsv", sentence("cough", ["B-ety"]))
    return tmp_path


def rows(folder, lang, stage, report=None, seed=0):
    built = every_row(str(folder), lang, stage, seed=seed, report=report)
    return {(b.split, b.row["id"]): b.row for b in built}


def test_a_question_becomes_a_choice_and_where_words_tell_so_an_open_one(folder):
    found = rows(folder, "es", "choice")
    row = found["train", f"qa/es/es-copy-train.jsonl/{KNOWN['id']}/choice"]
    assert (
        row["input"] == f"{KNOWN['question']}\nA. El frénico. B. El vago." and row["output"] == "A"
    )
    assert row["instruction"] in TEXTS["es"].choice and row["lang"] == "es"
    assert row["origin"] == "qa/es/es-copy-train.jsonl" and row["kind"] == "choice"
    found = rows(folder, "es", "general")
    row = found["train", f"qa/es/es-copy-train.jsonl/{KNOWN['id']}/open"]
    assert (row["input"], row["output"]) == (KNOWN["question"], "El frénico.")
    row = found["train", "qa/es/es-exam-train.jsonl/¿Cuál de las siguientes?/explain"]
    assert row["input"] == "¿Cuál de las siguientes?\nA. Uno B. Dos\nRespuesta: A. Uno"
    assert row["output"] == "Por eso." and row["instruction"] in TEXTS["es"].explain
    assert ("train", "qa/es/es-exam-train.jsonl/¿Cuál de las siguientes?/open") not in found


def test_nothing_of_a_test_split_nor_of_validation_is_trained_on(folder):
    report = Report()
    found = rows(folder, "es", "choice", report)
    asked = {split: {r["input"].split("\n")[0] for (s, _), r in found.items() if s == split}
             for split in ("train", "validation")}  # fmt: skip
    assert asked == {
        "train": {KNOWN["question"], "¿Cuál de las siguientes?"},
        "validation": {"Está  EN dev"},
    }
    assert report.other == Counter({IN_TEST: 1, IN_VALIDATION: 1, TWICE: 1})
    # A sentence of another set's test, too.
    texts = {row["input"] for row in rows(folder, "en", "general").values()}
    assert texts <= {"fever and mild fever", "cough"}


def test_a_question_is_not_asked_openly_in_training_where_a_test_has_it_with_other_options(folder):
    put(folder, "qa/es/es-exam-test.jsonl", KNOWN | {"options": {"A": "El frénico.", "B": "No."}})
    report = Report()
    found = rows(folder, "es", "general", report)
    assert all(row["input"] != KNOWN["question"] for row in found.values())
    assert report.other[IN_TEST] == 2  # es-exam's and es-copy's
    inputs = {row["input"].split("\n")[0] for row in rows(folder, "es", "choice").values()}
    assert KNOWN["question"] in inputs


def test_what_a_later_set_holds_out_is_not_trained_on_before(folder):
    # es-z has no development file: of so many questions some are held out of its training file.
    early, late = [
        [question(f"¿Qué número es {i}?", "uno", other) for i in range(300)]
        for other in ("dos", "tres")
    ]
    put(folder, "qa/es/es-exam-train.jsonl", *early)
    put(folder, "qa/es/es-z-train.jsonl", *late)
    asked = {"train": set(), "validation": set()}
    for (split, _), row in rows(folder, "es", "general").items():
        asked[split].add(row["input"])
    assert len(asked["validation"]) > 1 and not asked["train"] & asked["validation"]


def test_of_a_set_without_development_files_some_rows_are_held_out(tmp_path):
    put(tmp_path, "mmedbench/Train/French.jsonl",
        *(question(f"Quel est le numéro {i} ?", "x", "y") for i in range(400)))  # fmt: skip
    splits = Counter(split for split, _ in rows(tmp_path, "fr", "choice"))
    assert splits.total() == 400 and 1 <= splits["validation"] <= 20
    # They are the same in both stages, so neither trains on what the other is tested with.
    for stage in ("choice", "general"):
        held = {
            row["input"].split("\n")[0]
            for (split, _), row in rows(tmp_path, "fr", stage).items()
            if split == "validation"
        }
        assert len(held) == splits["validation"]


def test_where_several_options_may_be_right_all_questions_of_the_set_say_so(folder):
    one, other = rows(folder, "fr", "choice").values()
    assert {one["instruction"], other["instruction"]} <= set(TEXTS["fr"].choices)
    assert [one["output"], other["output"]] == ["A,C", "A"] and one["several"] is True


def test_mentions_are_listed_once_each_and_sentences_without_one_are_mostly_left_out(tmp_path):
    labelled = sentence("She takes aspirin", ["O", "O", "B-Drug"])
    put(tmp_path, "seqlab/en/en-mine-dev.tsv", labelled)
    twice = sentence("fever or fever , mild fever", ["B-dis", "O", "B-dis", "O", "B-dis", "I-dis"])
    plain = [sentence(f"nothing in number {i}") for i in range(300)]
    put(tmp_path, "seqlab/en/en-mine-train.tsv", twice, *plain)
    report = Report()
    found = rows(tmp_path, "en", "general", report)
    row = found["train", "seqlab/en/en-mine-train.tsv/1/Disability"]
    assert row["output"] == "fever; mild fever" and row["input"] == "fever or fever , mild fever"
    assert "the disabilities" in row["instruction"]
    row = found["validation", "seqlab/en/en-mine-dev.tsv/1/Drug"]
    assert "the mentions of type “Drug”" in row["instruction"] and row["output"] == "aspirin"
    none = [row for row in found.values() if row["output"] == "None"]
    assert 30 <= len(none) <= 90  # one in ten of 2 * 300, give or take four standard deviations
    assert all("None" in row["instruction"] for row in none)
    assert report.other[NO_MENTION] == 302 * 2 - 2 - len(none)


def test_a_seed_draws_the_wordings_and_nothing_else_does(folder):
    first = rows(folder, "es", "choice", seed=1)
    assert first == rows(folder, "es", "choice", seed=1)
    drawn = {rows(folder, "es", "choice", seed=i)[key]["instruction"]
             for i in range(20) for key in list(first)[:1]}  # fmt: skip
    assert drawn == set(TEXTS["es"].choice)


def test_questions_that_speak_of_their_options_are_not_asked_without_them():
    for lang, text, answer, needs in (
        ("en", "Which of the following is a drug?", "Insulin", True),
        ("en", "Which vitamin prevents scurvy?", "Vitamin C", False),
        ("en", "Is it benign?", "Yes", True),
        ("es", "Señale la correcta:", "Una", True),
        ("es", "¿Qué vitamina falta?", "Todas las anteriores", True),
        ("fr", "Quelle vitamine manque ?", "La vitamine C", False),
        ("it", "Quale vitamina manca?", "Nessuna delle precedenti", True),
        ("ru", "Какой витамин предотвращает цингу?", "Витамин C", False),
        ("ru", "Какое из перечисленных веществ?", "Витамин C", True),
        ("zh", "下列哪项正确", "维生素C", True),
        ("zh", "预防坏血病的维生素是", "维生素C", False),
        ("ja", "正しいのはどれか。", "ビタミンC", True),
        ("ja", "Which of the following is right?", "Vitamin C", True),
    ):
        assert _needs_options(text, answer, lang) == needs, text


@pytest.mark.parametrize("lang", TEXTS)
def test_every_kind_has_three_wordings_or_none_and_says_what_to_answer(lang):
    texts = TEXTS[lang]
    kinds = [texts.explain, texts.short, texts.open, texts.choice, texts.choices]
    assert all(len(set(kind)) >= 3 for kind in [*kinds, texts.label] if kind)
    assert len({bool(kind) for kind in [*kinds, texts.closed]}) == 1
    for wording in texts.label:
        assert [name for _, name, _, _ in string.Formatter().parse(wording) if name == ""] == [""]
        assert texts.none in wording
    assert texts.other.format("X").count("X") == 1


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        command.main(["instructions", *map(str, arguments)])
    return stop.value.code


def test_the_command_writes_what_it_counts(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(folder))
    output = tmp_path / "out"
    assert run("--output", output, "--dry-run") == 0
    dry = capsys.readouterr().out
    assert not output.exists() and "es              0 + 0            1 + 1" in dry
    assert run("--output", output) == 0
    said = capsys.readouterr().out
    assert "left out: 2 fr choice rows without any for validation" in said
    assert said.replace(f"written to {output}", "dry run: nothing was written") == dry
    files = sorted(str(p.relative_to(output)) for p in output.rglob("*.*"))
    assert files == [
        *("choice/es-choice-dev.jsonl", "choice/es-choice-train.jsonl"),
        *("general/en-label-dev.jsonl", "general/en-label-train.jsonl"),
        *("general/es-open-dev.jsonl", "general/es-open-train.jsonl"),
    ]
    paths = [str(output / file) for file in files]
    findings = Findings(None)
    assert {kind_of(path) for path in paths} == {"instructions"}
    assert check_files(paths, findings)[paths[0]] == 1 and findings.total("error") == 0
    facts = describe(paths)
    assert facts[0]["with_options"] == facts[0]["instructions_in_train"]["count"] + 1 == 1
    assert [row["answers"] for row in read_instructions(paths[0])] == [["B"]]


def test_what_cannot_be_built_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MEDMT5_DATA_DIR", raising=False)
    for arguments, code, fault in (
        ((), 1, "MEDMT5_DATA_DIR is not set; set it, or give --data"),
        (("--data", tmp_path / "no"), 2, "no is no folder; give one laid out as MEDMT5_DATA_DIR"),
        (("--data", tmp_path), 1, "has no questions or labelled sentences to train on in en, es"),
        (("--data", tmp_path, "--languages", "xx"), 1, "no wordings in xx; there are en, es, fr"),
    ):
        assert run("--output", tmp_path / "out", *arguments) == code
        assert fault in capsys.readouterr().err
    put(tmp_path, "qa/es/es-exam-train.jsonl", KNOWN, "{")
    assert run("--output", tmp_path / "out", "--data", tmp_path) == 1
    assert "es-exam-train.jsonl:2: not JSON" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_registered_tasks_have_the_rows_of_the_files(folder, monkeypatch, sample_vocabulary):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(folder))
    config = DatasetConfig("instructions_choice_alpaca_es", {"inputs": 256, "targets": 8})
    (table,) = task.read_tables(config, sample_vocabulary)
    assert {raw["id"] for raw in table.raws} == {
        id for split, id in rows(folder, "es", "choice") if split == "train"
    }
    assert table.format.prompt == "alpaca" and table.format.closed
    with pytest.raises(ValueError, match="has nothing in 'ru' to make general instructions of for"):
        tasks.read("general", "ru", "train")
    monkeypatch.delenv("MEDMT5_DATA_DIR")
    with pytest.raises(ValueError, match="MEDMT5_DATA_DIR is not set"):
        tasks.read("general", "es", "train")
    for stage, languages in tasks.LANGUAGES.items():
        assert len(seqio.MixtureRegistry.get(f"instructions_{stage}").tasks) == len(languages)


def test_mmedbench_comes_first_since_it_has_rationales(folder):
    put(folder, "mmedbench/Train/Spanish.jsonl", KNOWN | {"rationale": "Sale del cuello."})
    put(folder, "mmedbench/Test/Spanish.jsonl", question("Otra", "a", "b"))
    assert [source.name for source in sources(str(folder), "es", "choice")] == [
        *("es-mmedbench", "es-copy", "es-exam")
    ]
    found = rows(folder, "es", "general")
    assert any(row["output"] == "Sale del cuello." for row in found.values())
    assert {row["origin"] for row in found.values()} == {
        *("mmedbench/Train/Spanish.jsonl", "qa/es/es-exam-train.jsonl", "qa/es/es-exam-dev.jsonl")
    }
