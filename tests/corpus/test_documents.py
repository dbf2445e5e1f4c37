import pytest

from medmt5.corpus.documents import Bad, Document, Reason


def test_json_leaves_out_empty_fields_and_gives_the_same_document_back():
    document = Document("Fiebre.", "7", "pubmed", language="es", licence="CC BY 4.0")
    record = document.to_json()
    assert record == {
        "text": "Fiebre.",
        "id": "7",
        "source": "pubmed",
        "language": "es",
        "licence": "CC BY 4.0",
    }
    assert Document.from_json(record, "a.jsonl:1") == document


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "a.jsonl:3: a document is a JSON object, not list"),
        ({"text": "a", "id": "1"}, "a.jsonl:3: a document needs text, id and source; no source"),
        ({"text": "a", "id": "1", "source": "s", "lang": "es"}, "'lang' is no field .* language"),
        ({"text": "a", "id": 1, "source": "s"}, "id is 1; it must be a string"),
    ],
)
def test_a_record_that_is_no_document_is_refused_with_what_it_lacks(record, message):
    with pytest.raises(ValueError, match=message):
        Document.from_json(record, "a.jsonl:3")


def test_a_reason_is_a_plain_string_where_it_is_written():
    assert f"{Bad('a.gz', Reason.TRUNCATED_GZIP).reason}" == "truncated gzip"
