"""What all readers do: memory, ids, languages, settings, and the list of input files."""

import io
import json
import os
import pickle
import tracemalloc

import pytest

from medmt5.corpus import opening
from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers import READERS, inputs, reader_of

pytest.importorskip("lxml")


class Stream(io.RawIOBase):
    """A file of some size that is made as it is read."""

    def __init__(self, head, record, size, tail):
        block = record * (1 + (1 << 16) // len(record))
        self._parts = filter(None, [head, *[block] * (size // len(block)), tail])
        self._left = b""
        self._record = record
        self.records = size // len(block) * (len(block) // len(record))

    def readable(self):
        return True

    def readinto(self, buffer):
        self._left = self._left or next(self._parts, b"")
        piece = self._left[: len(buffer)]
        self._left = self._left[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


TEXT = (b"ramipril" * 100 + b" ") * 25  # few words: each costs tracemalloc time
STREAMS = {
    "pubmed": (
        b"<PubmedArticleSet>",
        b"<PubmedArticle><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>T</ArticleTitle>"
        b"<Abstract><AbstractText>" + TEXT + b"</AbstractText></Abstract></Article>"
        b"</MedlineCitation><PubmedData/></PubmedArticle>\n",
        b"</PubmedArticleSet>",
    ),
    "wikipedia": (
        b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">',
        b"<page><title>T</title><ns>1</ns><revision><text>" + TEXT + b"</text></revision></page>\n",
        b"</mediawiki>",
    ),
    "jsonl": (b"", json.dumps({"text": TEXT.decode(), "id": "1"}).encode() + b"\n", b""),
    "clinical_trials": (
        b"[",
        b'{"protocolSection": {"identificationModule": {"nctId": "NCT1", "briefTitle": "T"}, '
        b'"descriptionModule": {"briefSummary": "' + TEXT + b'"}}},\n',
        b"{}]",
    ),
}


@pytest.mark.parametrize("format", STREAMS)
@pytest.mark.parametrize(
    "size", [20 << 20, pytest.param(200 << 20, marks=pytest.mark.slow)], ids=["20MiB", "200MiB"]
)
def test_memory_does_not_grow_with_the_file(monkeypatch, format, size):
    head, record, tail = STREAMS[format]
    stream = Stream(head, record, size, tail)
    monkeypatch.setattr(opening, "open_file", lambda path: stream)
    reader = READERS[format](source="s")
    documents = 0
    before = resident() if os.path.exists("/proc/self/statm") else 0
    tracemalloc.start()
    largest = 0
    for number, item in enumerate(reader("file")):
        documents += isinstance(item, Document)
        # libxml2's memory is not Python's, so that the process is looked at too.
        if before and number % 1000 == 0:
            largest = max(largest, resident() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 16 MiB tell repeated ids; buffers and one document are the rest.
    assert peak < 18 << 20
    assert largest < 40 << 20
    assert documents == (0 if format == "wikipedia" else stream.records)


def test_a_line_of_any_length_is_passed_over_in_pieces(monkeypatch):
    stream = Stream(b'{"text": "a"}\n{"text": "', b"x" * 1024, 64 << 20, b'"}\n{"text": "b"}\n')
    monkeypatch.setattr(opening, "open_file", lambda path: stream)
    reader = READERS["jsonl"](source="s", max_document_bytes=100_000)
    tracemalloc.start()
    first, long, last = reader("f.jsonl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (first.text, first.id, last.text, last.id) == ("a", "f.jsonl:1", "b", "f.jsonl:3")
    assert (long.where, long.reason) == ("f.jsonl:2", "document too long")
    assert "max_document_bytes is 300000" in long.detail
    assert peak < 18 << 20  # with the 16 MiB that tell repeated ids


def jsonl(tmp_path, *records, **settings):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    items = list(READERS["jsonl"](source="s", **settings)(str(path)))
    documents = [item for item in items if isinstance(item, Document)]
    return documents, [item for item in items if isinstance(item, Bad)]


def test_an_id_that_was_there_before_gets_the_number_of_its_document(tmp_path):
    records = [{"text": "t", "id": id} for id in ("a", "b", "a", "a#4", "a")]
    documents, bad = jsonl(tmp_path, *records)
    assert [d.id for d in documents] == ["a", "b", "a#3", "a#4", "a#5"]
    assert not bad


def test_a_document_without_an_id_gets_that_of_its_place(tmp_path):
    path = tmp_path / "a.xml"
    articles = [
        f"<MedlineCitation>{id}<Article><ArticleTitle>T</ArticleTitle></Article></MedlineCitation>"
        for id in ("", "<PMID>7</PMID>", "")
    ]
    path.write_text(f"<PubmedArticleSet>{''.join(articles)}</PubmedArticleSet>")
    documents = list(READERS["pubmed"](source="s")(str(path)))
    assert [d.id for d in documents] == ["a.xml:1", "7", "a.xml:3"]
    for document in documents:  # what a build writes it also reads again
        assert Document.from_json(document.to_json(), "x") == document


def test_codes_of_languages_become_iso_639_1_and_unknown_ones_are_reported_once(tmp_path):
    codes = ["spa", "pt-BR", "fre", "zh_Hant", "EN", "und", "", "klingon", "klingon", "baq"]
    records = [{"text": "t", "lang": code} for code in codes]
    documents, bad = jsonl(tmp_path, *records, language="it")
    assert [d.language for d in documents] == [*"es pt fr zh en it it".split(), "", "", "eu"]
    assert [(b.reason, b.where.rpartition("#")[2]) for b in bad] == [
        ("unknown language code", "a.jsonl:8")
    ]
    assert "'klingon'" in bad[0].detail


def test_documents_without_text_or_too_long_are_reported_and_defaults_fill_in(tmp_path):
    documents, bad = jsonl(
        tmp_path,
        {"text": " \n"},
        {"text": "e" * 1200},
        {"text": " ok ", "licence": "CC0"},
        {"text": "ok"},
        max_document_bytes=1000,
        licence="CC BY",
    )
    assert [b.reason for b in bad] == ["no text", "document too long"]
    assert bad[1].detail.startswith("1200 bytes")
    assert [(d.text, d.licence) for d in documents] == [("ok", "CC0"), ("ok", "CC BY")]


def test_half_a_surrogate_pair_does_not_reach_the_files_that_are_written(tmp_path):
    documents, _ = jsonl(tmp_path, {"text": "a\ud83d b\ud83d\ude00", "id": "\ude00"})
    assert (documents[0].text, documents[0].id) == ("a\ufffd b\U0001f600", "\ufffd")


def test_a_source_is_its_readers_settings_and_mistakes_are_told_with_near_names():
    reader = READERS["wikipedia"](source="w", categories=("^Enf",))
    made = reader_of("w", "wikipedia", {"categories": ["^Enf"]})
    assert made == reader == pickle.loads(pickle.dumps(reader))
    for settings, message in (
        ({"catgories": ["a"]}, "key 'catgories' is unknown; did you mean categories"),
        ({"source": "other"}, "key 'source' is unknown"),
        ({"categories": "a"}, "categories is 'a'; it must be a list"),
        ({"members": [1]}, "members is \\[1\\]; it must be a list of strings"),
        ({"categories": ["("]}, "categories has '\\('"),
        ({"max_ratio": "9"}, "max_ratio is '9'; it must be a whole number"),
        ({"max_ratio": 0}, "max_ratio must be at least 1"),
        ({"language": "english"}, "'english' is not a code of ISO 639-1"),
    ):
        with pytest.raises(ValueError, match=rf"\[\[sources\]\] w: .*{message}"):
            reader_of("w", "wikipedia", settings)
    with pytest.raises(ValueError, match="format 'wikpedia' is unknown; did you mean wikipedia"):
        reader_of("w", "wikpedia", {})


def test_inputs_are_files_folders_and_patterns_each_once_in_order(tmp_path, monkeypatch):
    for name in ("b.xml", "a.xml", "in/c.xml", "in/.hidden", "in/[d].txt", "in/deep/e.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)

    def names(*paths):
        return [os.path.relpath(path) for path in inputs("s", paths)]

    assert names("*.xml") == names("b.xml", "a.xml", "?.xml") == ["a.xml", "b.xml"]
    assert names("in") == ["in/[d].txt", "in/c.xml", "in/deep/e.xml"]
    assert names("**/*.xml") == ["a.xml", "b.xml", "in/c.xml", "in/deep/e.xml"]
    assert names("in/[d].txt") == ["in/[d].txt"]
    assert inputs("s", [f"{tmp_path}/in/d*"]) == [f"{tmp_path}/in/deep/e.xml"]
    with pytest.raises(ValueError, match=r"s: '\*.json' matches no file"):
        names("*.xml", "*.json")
