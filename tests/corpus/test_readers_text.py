"""JSONL, plain text, Moses and Parquet."""

import codecs
import dataclasses
import gzip
import json
import zipfile

import pytest
from cloud import Cloud

from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers import READERS


def read(path, format, **settings):
    """Documents, and pairs of place and reason."""
    items = list(READERS[format](source="s", **settings)(str(path)))
    documents = [item for item in items if isinstance(item, Document)]
    return documents, [(b.where, b.reason) for b in items if isinstance(b, Bad)]


def test_keys_of_jsonl_are_those_of_the_corpus_that_it_is_from(tmp_path):
    path = tmp_path / "a.jsonl"
    record = {
        "content": "Texto.",
        "uid": 7,
        "lg": "spa",
        "link": "https://x.org",
        "rights": "CC0",
        "from": "NUBes",
        "heading": "T",
        "meta": {"a": 1},
    }
    path.write_text(json.dumps(record) + "\n")
    documents, bad = read(
        path,
        "jsonl",
        text_key="content",
        id_key="uid",
        language_key="lg",
        url_key="link",
        licence_key="rights",
        source_key="from",
        title_key="heading",
    )
    assert not bad
    assert documents == [Document("Texto.", "7", "s/NUBes", "es", "https://x.org", "CC0", "T")]


def test_shards_of_a_build_keep_their_languages(tmp_path):
    path = tmp_path / "a.jsonl"
    shard = Document("uno", "1", "pubmed", "es", "https://x.org", "CC0", "T")
    others = [{"text": "a", "language": "English"}, {"text": "b", "lang": "fr", "language": "es"}]
    records = [shard.to_json(), *others]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    documents, bad = read(path, "jsonl", language="en")
    assert documents[0] == dataclasses.replace(shard, source="s")
    assert [d.language for d in documents] == ["es", "en", "fr"]
    assert not bad


def test_lines_that_are_no_documents_are_reported_and_the_others_read(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [
        b'{"text": "one", "lang": "en"}',
        b'{"text": "two"',
        b"",
        b'["text"]',
        b'{"texts": "three"}',
        b'{"text": 4}',
        b'{"text": "fi\xe9vre"}',
        b"[" * 100_000,
        b'{"text": "five", "url": ["u"]}',
        b'{"text": "six", "id": null, "lang": null}\r',
    ]
    path.write_bytes(codecs.BOM_UTF8 + b"\n".join(lines))
    documents, bad = read(path, "jsonl")
    assert [(d.text, d.id, d.language) for d in documents] == [
        ("one", "a.jsonl:1", "en"),
        ("six", "a.jsonl:10", ""),
    ]
    assert bad == [
        (f"{path}:2", "broken JSON"),
        (f"{path}:4", "wrong fields"),
        (f"{path}:5", "wrong fields"),
        (f"{path}:6", "wrong fields"),
        (f"{path}:7", "not UTF-8"),
        (f"{path}:8", "broken JSON"),
        (f"{path}:9", "wrong fields"),
    ]


def test_a_truncated_file_gives_its_whole_lines(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 1000 + b'{"text": "b"}\n')[:-9])
    documents, bad = read(path, "jsonl")
    assert {d.text for d in documents[:1000]} == {"a"}
    assert bad == [(str(path), "truncated gzip")]


TEXT = "Fiebre.\nTos.\n\n \n漢字 é\n\n\nFin."


def test_a_text_is_one_document_or_one_per_paragraph_or_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT, newline="\r\n")
    (whole,), _ = read(path, "text", language="es")
    assert (whole.text, whole.id, whole.language) == (TEXT, "a.txt", "es")
    paragraphs, _ = read(path, "text", unit="paragraph")
    assert [(d.text, d.id) for d in paragraphs] == [
        ("Fiebre.\nTos.", "a.txt:1"),
        ("漢字 é", "a.txt:5"),
        ("Fin.", "a.txt:8"),
    ]
    lines, _ = read(path, "text", unit="line")
    assert [d.id for d in lines] == ["a.txt:1", "a.txt:2", "a.txt:5", "a.txt:8"]
    with pytest.raises(ValueError, match="unit 'page' is not one of file, paragraph, line"):
        read(path, "text", unit="page")


@pytest.mark.parametrize("unit", ["file", "paragraph"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding, unit):
    path = tmp_path / "a.txt"
    text = "fièvre 漢 😀\n" * 30_000
    path.write_text(text, encoding=encoding)
    documents, bad = read(path, "text", unit=unit)
    assert ([d.text for d in documents], bad) == ([text.strip()], [])


def test_text_that_is_not_utf8_is_reported_by_file_or_line_and_binary_files_by_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("bueno\nniño\n\nmejor\n".encode("latin-1"))
    assert read(path, "text") == ([], [(str(path), "not UTF-8")])
    documents, bad = read(path, "text", unit="line")
    assert ([d.text for d in documents], bad) == (["bueno", "mejor"], [(f"{path}:2", "not UTF-8")])
    (bad,) = READERS["text"](source="s")(str(path))
    assert bad.detail == "byte 0xf1 at 8; convert the file to UTF-8, as with iconv"
    for unit in ("file", "line"):
        path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
        assert read(path, "text", unit=unit) == ([], [(str(path), "binary file")])
        path.write_text("abc\n", encoding="utf-16")
        path.write_bytes(path.read_bytes()[:-1])
        assert read(path, "text", unit=unit)[1] == [(str(path), "broken UTF-16")]


def test_what_is_too_long_is_passed_over(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\n" + "b" * 5000 + "\nc\n\n" + "d\n" * 1000 + "\ne")
    assert read(path, "text", max_document_bytes=1000)[1] == [(str(path), "document too long")]
    documents, bad = read(path, "text", unit="paragraph", max_document_bytes=1000)
    assert [d.text for d in documents] == ["a", "c", "e"]
    assert bad == [(f"{path}:2", "document too long"), (f"{path}:5", "document too long")]


def test_moses_takes_one_language_and_counts_the_other(tmp_path):
    spanish, english = tmp_path / "EMEA.en-es.es", tmp_path / "EMEA.en-es.en"
    spanish.write_text("Uno.\n\nTres.\nCuatro.\n")
    english.write_text("One.\nTwo.\nThree.\nFour.")
    documents, bad = read(spanish, "moses", language="es", other_language="en")
    assert not bad
    assert [(d.text, d.id, d.language) for d in documents] == [
        ("Uno.", "EMEA.en-es.es:1", "es"),
        ("Tres.", "EMEA.en-es.es:3", "es"),
        ("Cuatro.", "EMEA.en-es.es:4", "es"),
    ]
    documents, _ = read(spanish, "moses", language="spa", segments_per_document=2)
    assert [d.text for d in documents] == ["Uno.\nTres.", "Cuatro."]
    english.write_text("One.\nTwo.\n")
    (*_, bad) = READERS["moses"](source="s", language="es", other_language="en")(str(spanish))
    assert (bad.reason, bad.detail) == ("unequal line counts", "4; 2 in EMEA.en-es.en")
    assert read(english, "moses", language="es") == ([], [(str(english), "wrong file name")])
    english.unlink()
    assert read(spanish, "moses", language="es", other_language="en")[1] == [
        (str(english), "cannot be opened")
    ]
    with pytest.raises(ValueError, match="set language"):
        READERS["moses"](source="s")


def test_moses_is_read_from_the_zip_that_opus_gives_and_from_gzip(tmp_path):
    path = tmp_path / "en-es.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("EMEA.en-es.en", "One.\nTwo.\n")
        archive.writestr("EMEA.en-es.es", "Uno.\n")
        archive.writestr("LICENSE", "free")
    documents, bad = read(path, "moses", language="es", other_language="en")
    assert [d.id for d in documents] == ["en-es.txt.zip!EMEA.en-es.es:1"]
    assert bad == [(f"{path}!EMEA.en-es.es", "unequal line counts")]
    for language, text in (("es", b"Uno.\nDos.\n"), ("en", b"One.\nTwo.\n")):
        (tmp_path / f"a.{language}.gz").write_bytes(gzip.compress(text))
    documents, bad = read(tmp_path / "a.es.gz", "moses", language="es", other_language="en")
    assert ([d.text for d in documents], bad) == (["Uno.", "Dos."], [])


def test_a_truncated_file_gives_the_segments_before_it_breaks_off(tmp_path):
    path = tmp_path / "a.es"
    path.write_bytes(gzip.compress(b"Uno.\nDos.\nTres.\n")[:-6])
    documents, bad = read(path, "moses", language="es", segments_per_document=5)
    assert ([d.text for d in documents], bad) == (
        ["Uno.\nDos.\nTres."],
        [(str(path), "truncated gzip")],
    )


def parquet(path, columns, **options):
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), path, **options)


def test_parquet_is_read_row_group_by_row_group_as_culturax_has_it(tmp_path):
    path = tmp_path / "es_part_00000.parquet"
    columns = {
        "text": [f"Texto {n}." for n in range(200)],
        "timestamp": ["2020"] * 200,
        "url": [f"https://x.org/{n}" for n in range(200)],
        "source": ["mC4"] * 200,
    }
    parquet(path, columns, row_group_size=70, compression="zstd")
    documents, bad = read(path, "parquet", language="es", source_key="source")
    assert (len(documents), bad) == (200, [])
    assert documents[199] == Document(
        "Texto 199.", "es_part_00000.parquet:200", "s/mC4", "es", "https://x.org/199"
    )
    assert read(path, "parquet", text_key="content") == ([], [(str(path), "wrong fields")])


def test_damaged_parquet_is_reported_and_rows_before_are_kept(tmp_path):
    path = tmp_path / "a.parquet"
    parquet(path, {"text": [None, "two", ""], "id": [1, 2, 3]})
    documents, bad = read(path, "parquet")
    assert [(d.text, d.id) for d in documents] == [("two", "2")]
    assert bad == [(f"{path}#1", "no text"), (f"{path}#3", "no text")]
    parquet(
        path, {"text": [f"{n} {n * 7919 % 1000}" * 20 for n in range(4000)]}, row_group_size=500
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert read(path, "parquet") == ([], [(str(path), "broken Parquet")])
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\xff" * 2000 + whole[middle + 2000 :])
    documents, bad = read(path, "parquet")
    assert bad == [(str(path), "broken Parquet")]
    assert len(documents) >= 1000
    path.write_bytes(b"")
    assert read(path, "parquet")[1] == [(str(path), "empty file")]


def test_a_remote_parquet_that_fails_is_to_be_read_again_and_is_not_broken(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    texts = [f"Texto {n}." for n in range(200)]
    parquet(tmp_path / "b/a.parquet", {"text": texts}, row_group_size=70)
    cloud = Cloud(tmp_path, monkeypatch)
    assert [d.text for d in read("gs://b/a.parquet", "parquet")[0]] == texts
    items = READERS["parquet"](source="s")("gs://b/a.parquet")
    next(items)
    cloud.failures = 1
    with pytest.raises(OSError, match="connection reset"):
        list(items)
