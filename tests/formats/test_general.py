"""Rows of general tasks: the same keys for each kind, and faults with their line."""

import json

import pytest
from shared import needs

from medmt5.formats.general import read_general
from medmt5.formats.gold import Report

ROWS = [
    {"task": "rte", "premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
    {"sentence1": "a bank", "sentence2": "the bank", "word": "bank", "label": "true"},
    {"task": "sst2", "text": "good", "label": "positive"},
    {"task": "mt", "src_lang": "en", "tgt_lang": "fr", "src": "yes", "tgt": "oui", "id": "m"},
    {"document": "A long text.", "summary": "A text.", "id": 7},
    {"question": "Who wrote Don Quixote?", "answers": ["Cervantes", "Miguel de Cervantes"]},
]
EXPECTED = [
    {"id": "1", **ROWS[0]},
    {"task": "word sense", "id": "2", **ROWS[1]},
    {"id": "3", **ROWS[2]},
    {**ROWS[3], "extra_refs": []},
    {"task": "summary", **ROWS[4], "id": "7"},
    {"task": "question", "id": "6", **ROWS[5]},
]


def file_of(tmp_path, *rows, end="\n"):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path = tmp_path / "rows.jsonl"
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def fault(path):
    with pytest.raises(ValueError) as error:
        list(read_general(path))
    return str(error.value).removeprefix(path)


def test_every_kind_has_the_same_keys_whatever_a_row_leaves_out(tmp_path):
    report = Report()
    assert list(read_general(file_of(tmp_path, *ROWS), report=report)) == EXPECTED
    assert report.documents == 6


def test_other_keys_are_dropped_and_idx_is_an_id(tmp_path):
    path = file_of(tmp_path, {**ROWS[0], "idx": 0, "genre": "news"})
    assert list(read_general(path)) == [{**EXPECTED[0], "id": "0"}]


def test_extra_references_stay_a_list(tmp_path):
    rows = [{**ROWS[3], "extra_refs": refs} for refs in (["ouais", "si"], [], None)]
    found = [row["extra_refs"] for row in read_general(file_of(tmp_path, *rows))]
    assert found == [["ouais", "si"], [], []]


def test_a_label_may_be_true_or_false_but_no_number(tmp_path):
    rows = [{**ROWS[1], "label": label} for label in (True, False)]
    assert [row["label"] for row in read_general(file_of(tmp_path, *rows))] == ["true", "false"]
    assert fault(file_of(tmp_path, {**ROWS[1], "label": 1})) == ":1: label is 1, not a string"


def test_windows_line_ends_a_byte_order_mark_and_line_separators_are_read(tmp_path):
    row = {"text": "one\u2028two\u0085three", "label": "x"}
    path = file_of(tmp_path, "\ufeff" + json.dumps(row, ensure_ascii=False), "", row, end="\r\n")
    found = list(read_general(path))
    assert [(r["text"], r["id"]) for r in found] == [(row["text"], "1"), (row["text"], "3")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{", "not JSON"),
        ("[]", "[] is not an object"),
        ('{"text": "a", "text": "b", "label": "c"}', "key 'text' is there twice"),
        ({"prompt": "a"}, "keys prompt are of no known kind (premise, hypothesis, label; "),
        ({}, "keys none are of no known kind"),
        ({"premise": "a", "hypothesis": "b"}, "no label; a row of this kind has premise, hypothe"),
        ({"src": "a", "tgt": "b"}, "no src_lang, tgt_lang; a row of this kind has src_lang, tgt"),
        ({"question": "a"}, "no answers; a row of this kind has question, answers"),
        ({**ROWS[0], "premise": "  "}, "premise is empty"),
        ({**ROWS[0], "premise": None}, "premise is null, not a string"),
        ({**ROWS[2], "text": float("nan")}, "text is NaN, not a string"),
        ({**ROWS[2], "text": True}, "text is true, not a string"),
        ({**ROWS[2], "task": 3}, "task is 3, not a string"),
        ({**ROWS[3], "extra_refs": [""]}, "extra_refs is empty"),
        ({**ROWS[3], "extra_refs": 0}, "extra_refs is 0; write a string or a list of strings"),
        ({**ROWS[5], "answers": []}, "answers is []; write a string or a list of strings"),
        ({**ROWS[5], "answers": ["a", 1]}, "answers is 1, not a string"),
    ],
)
def test_faults_name_their_line_and_can_be_skipped(tmp_path, row, expected):
    path = file_of(tmp_path, ROWS[0], row, ROWS[2])
    assert fault(path).startswith(":2: " + expected)
    report = Report(skip_bad=True)
    assert [r["id"] for r in read_general(path, report=report)] == ["1", "3"]
    assert report.skipped == 1


def test_a_file_without_rows_is_refused(tmp_path):
    assert fault(file_of(tmp_path, "", "  ")) == ": no rows"


@pytest.mark.parametrize(
    ("name", "rows", "keys"),
    [
        ("en-rte-dev", 277, ["premise", "hypothesis", "label"]),
        ("es-xnli-test", 1500, ["premise", "hypothesis", "label"]),
        ("en-sst2-dev", 872, ["text", "label"]),
        ("en-meqsum-train", 600, ["document", "summary"]),
        ("en-zh-tatoeba", 1000, ["src_lang", "tgt_lang", "src", "tgt", "extra_refs"]),
        ("en-fr-wmt14-test500", 500, ["src_lang", "tgt_lang", "src", "tgt", "extra_refs"]),
    ],
)
def test_published_files_are_read_whole(name, rows, keys):
    found = list(read_general(str(needs(f"data/general/{name}.jsonl"))))
    assert len(found) == rows
    assert all(list(row) == ["task", "id", *keys] for row in found)
