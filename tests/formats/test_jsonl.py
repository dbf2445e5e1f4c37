"""JSON Lines: what is written, read back and refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents, gold, labelled, round_trip, unscored

from medmt5.formats import jsonl
from medmt5.formats.documents import Document, Entity


def test_jsonl_keeps_letters_and_rounds_scores_to_four_digits():
    document = Document("Fièvre 😀 aiguë", (Entity(9, 14, "Qualifier", "aiguë", 0.987654),))
    assert jsonl.to_jsonl(document) == (
        '{"text": "Fièvre 😀 aiguë", "entities": [{"start": 9, "end": 14, "label": "Qualifier", '
        '"text": "aiguë", "score": 0.9877}]}'
    )


def test_jsonl_tells_where_a_long_text_was_split_and_only_then():
    assert json.loads(jsonl.to_jsonl(labelled("a b", splits=(2,))))["splits"] == [2]
    assert "splits" not in json.loads(jsonl.to_jsonl(labelled("a b")))


@given(documents())
def test_jsonl_is_one_line_for_every_reader_and_reads_back(document):
    line = jsonl.to_jsonl(document)
    assert len(line.splitlines()) == 1
    record = json.loads(line)
    entities = tuple(Entity(**entity) for entity in record["entities"])
    assert Document(record["text"], entities) == document


def test_half_a_surrogate_pair_can_be_written_as_utf8():
    line = jsonl.to_jsonl(labelled("a\ud83d b"))
    assert json.loads(line.encode("utf-8"))["text"] == "a\ud83d b"


@given(st.lists(documents(), max_size=4))
def test_a_file_reads_back_with_ids_splits_and_scores(tmp_path_factory, drawn):
    drawn = [d._replace(id=f"n/{i}", splits=(i,)) for i, d in enumerate(drawn)]
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    assert round_trip(drawn, "jsonl", path) == drawn


def test_text_alone_or_triples_are_enough(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fever"}\n\n{"text": "a fever", "entities": [[2, 7, "Sign"]]}\r\n')
    first, second = gold("jsonl", path)[0]
    assert unscored(first) == ("fever", [])
    assert unscored(second) == ("a fever", [(2, 7, "Sign", "fever")])


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("fever", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["fever"]', 'no string under "text"'),
        ('{"text": 5}', 'no string under "text"'),
        ('{"text": "a", "entities": [{"start": 0, "end": 1}]}', "entity 1 is not understood"),
        ('{"text": "a", "entities": [[0, 1, "S"], [0, 1]]}', "entity 2 is not understood"),
        ('{"text": "a", "entities": [["0", 1, "S"]]}', "'0' is not an integer"),
        ('{"text": "a", "entities": [[0, 9, "S"]]}', "outside the text of 1 characters"),
    ],
)
def test_a_broken_line_is_named_or_skipped(tmp_path, line, fault):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "x"}}\n{line}\n{{"text": "y"}}\n')
    with pytest.raises(ValueError, match=rf"a\.jsonl:2.*: .*{fault}"):
        gold("jsonl", path)
    read, report = gold("jsonl", path, skip_bad=True)
    assert report.skipped == 1 and [read[0].text, read[-1].text] == ["x", "y"]


def test_fields_that_are_not_kept_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "author": "me"}\n' * 2)
    assert "2 field 'author' not kept" in gold("jsonl", path)[1].summary()
