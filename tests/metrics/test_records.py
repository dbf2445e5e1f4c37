"""Prediction files: what is read, and what is said of broken ones."""

import json

import pytest

from medmt5.metrics import read_predictions, score
from medmt5.metrics.records import check_same, kind_of

LABELLING = {"words": ["a", "b"], "gold": [[0, 1, "X"]], "predicted": [[0, 2, "X", 0.5]]}
CHOICE = {"id": "q1", "gold": ["A", "C"], "predicted": [], "options": 5, "lang": "fr"}
TEXT = {"id": "t1", "references": ["pain"], "predicted": "Pain", "lang": "en"}


def write(path, *lines):
    lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "record, kind", [(LABELLING, "labelling"), (CHOICE, "choice"), (TEXT, "text")]
)
def test_the_keys_tell_the_kind(tmp_path, record, kind):
    records = read_predictions(write(tmp_path / "p.jsonl", record, record, ""))
    assert records == [record, record]
    assert kind_of(records) == kind


@pytest.mark.parametrize(
    "line, fault",
    [
        ('{"references": ["a"], "predic', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"references": ["a"], "predicted": NaN}', "NaN is not a number"),
        ("[" * 100000, "not JSON"),
        ({"text": "a"}, "keys text: neither labelling"),
        ({}, "keys none"),
        ({"references": ["a"]}, "a text record without 'predicted'"),
        (TEXT | {"references": []}, "one or more strings"),
        (TEXT | {"references": "pain"}, "list of one or more strings"),
        (TEXT | {"references": [None]}, "one or more strings"),
        (TEXT | {"predicted": None}, "must be a string, not None"),
        (TEXT | {"lang": 3}, '"lang" must be a string'),
        (CHOICE, "a choice record after text records"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, fault):
    path = write(tmp_path / "p.jsonl", TEXT, line)
    with pytest.raises(ValueError, match=r"p\.jsonl:2: .*" + fault):
        read_predictions(path)


@pytest.mark.parametrize(
    "record, fault",
    [
        ({"gold": ["A"], "predicted": ["A"]}, "a choice record without 'options'"),
        (CHOICE | {"gold": []}, '"gold" is empty'),
        (CHOICE | {"gold": "A"}, "'gold' must be a list of letters"),
        (CHOICE | {"predicted": [""]}, "'predicted' must be a list of letters"),
        (CHOICE | {"predicted": None}, "'predicted' must be a list of letters"),
        (CHOICE | {"options": 1}, '"options" is 1'),
        (CHOICE | {"options": 2.5}, '"options" is 2.5'),
        (CHOICE | {"rationale": "because"}, "'rationale' alone"),
        (CHOICE | {"rationale": "", "predicted_rationale": None}, "must be strings"),
        (LABELLING | {"words": "a b"}, '"words" must be a list'),
        (LABELLING | {"gold": None}, "'gold' must be a list of"),
        (LABELLING | {"gold": [[0, 1]]}, "is not .start, end, label"),
        (LABELLING | {"gold": [[0.5, 1, "X"]]}, "two whole numbers"),
        (LABELLING | {"gold": [[0, True, "X"]]}, "two whole numbers"),
        (LABELLING | {"gold": [[0, 1, ""]]}, "two whole numbers and a label"),
        (LABELLING | {"gold": [[1, 1, "X"]]}, "is empty or not within 2 words"),
        (LABELLING | {"predicted": [[-1, 1, "X"]]}, "is empty or not within 2 words"),
        (LABELLING | {"predicted": [[1, 3, "X"]]}, "is empty or not within 2 words"),
        ("a", "a record is a mapping, not str"),
    ],
)
def test_a_broken_record_is_named(record, fault):
    with pytest.raises(ValueError, match="record 1: .*" + fault):
        score([record])


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"p\.jsonl holds no predictions"):
        read_predictions(write(tmp_path / "p.jsonl", ""))
    with pytest.raises(ValueError, match="no predictions to score"):
        score([])


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_predictions(str(tmp_path / "none.jsonl"))


def test_lines_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(json.dumps(TEXT).encode() + b'\n{"references": ["\xe9"]}\n')
    with pytest.raises(ValueError, match=r"p\.jsonl:2: invalid UTF-8"):
        read_predictions(str(tmp_path / "p.jsonl"))


def test_a_blank_line_between_records_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"p\.jsonl:2: blank line"):
        read_predictions(write(tmp_path / "p.jsonl", TEXT, "", TEXT))


def test_tuples_are_as_good_as_lists():
    record = {"words": ("a", "b"), "gold": ((0, 1, "X"),), "predicted": [(0, 1, "X", 0.9)]}
    assert score([record], ["f1"])["f1"] == 100


@pytest.mark.parametrize(
    "kind, record, change, said",
    [
        ("choice", CHOICE, {"id": "q2"}, "id is 'q1' and 'q2'"),
        ("choice", CHOICE, {"gold": ["A"]}, "gold is"),
        ("text", TEXT, {"references": ["ache"]}, "references is"),
        ("labelling", LABELLING, {"words": ["b", "a"]}, "words is"),
        ("labelling", LABELLING, {"gold": []}, "gold is"),
    ],
)
def test_predictions_for_other_examples_are_named(kind, record, change, said):
    with pytest.raises(ValueError, match=f"a and b differ in line 2: {said}"):
        check_same(kind, [record, record], [record, record | change])


def test_predictions_for_fewer_examples_are_named():
    with pytest.raises(ValueError, match="a has 2 records and b has 1, so they differ in line 2"):
        check_same("text", [TEXT, TEXT], [TEXT])


def test_other_predictions_and_another_order_of_gold_are_the_same_examples():
    gold = {"gold": [[0, 1, "X"], [1, 2, "Y"]]}
    turned = {"gold": ((1, 2, "Y"), (0, 1, "X")), "predicted": []}
    check_same("labelling", [LABELLING | gold], [LABELLING | turned])
    check_same("choice", [CHOICE], [CHOICE | {"gold": ["C", "A"], "predicted": ["B"]}])
