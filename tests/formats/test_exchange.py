"""Writers and readers by name; resuming; every format there and back."""

import io

import pytest
from labelled import gold, labelled, round_trip

from medmt5.formats import exchange, page

_TWO = (labelled("a fever", (2, 7, "Sign")), labelled("none\r\nhere"))


@pytest.mark.parametrize("format", ["jsonl", "conll", "inline"])
def test_line_formats_are_written_as_they_come(format):
    stream = io.StringIO()
    with exchange.writer(format, stream) as out:
        out.write(_TWO[0])
        first = stream.getvalue()
        out.write(_TWO[1])
    assert first.endswith("\n") and stream.getvalue().startswith(first)
    assert not stream.closed
    # CoNLL ends a document with a blank line, the others with the end of their only line.
    ends = stream.getvalue().count("\n\n" if format == "conll" else "\n")
    assert ends == 2


def test_html_waits_for_the_last_document_because_of_its_legend():
    stream = io.StringIO()
    with exchange.writer("html", stream) as out:
        out.write(_TWO[0])
        assert stream.getvalue() == ""
    assert stream.getvalue() == page.to_html(_TWO[:1])


@pytest.mark.parametrize("format", ["jsonl", "conll", "inline", "html"])
def test_a_path_gets_what_a_stream_gets_in_utf8(format, tmp_path):
    given_documents = [labelled("fièvre 😀", (0, 6, "Signe"))]
    stream, path = io.StringIO(), tmp_path / "out"
    assert exchange.write_documents(given_documents, format, stream) == 1
    assert exchange.write_documents(given_documents, format, path) == 1
    assert path.read_bytes() == stream.getvalue().encode("utf-8")


def test_brat_writes_pairs_whose_offsets_hold_byte_for_byte(tmp_path):
    folder = tmp_path / "new" / "brat"
    second = labelled("no\r\nfever", (4, 9, "Sign"))
    assert exchange.write_documents([_TWO[0], second], "brat", folder) == 2
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["00001.ann", "00001.txt", "00002.ann", "00002.txt"]
    assert (folder / "00001.ann").read_text("utf-8") == "T1\tSign 2 7\tfever\n"
    assert (folder / "00002.txt").read_bytes() == b"no\r\nfever"
    assert (folder / "00002.ann").read_text("utf-8") == "T1\tSign 4 9\tfever\n"


def test_brat_does_not_overwrite_annotations_and_needs_a_folder(tmp_path):
    (tmp_path / "00001.ann").write_text("by hand")
    with pytest.raises(ValueError, match="already holds .ann files; give a new or empty folder"):
        exchange.writer("brat", tmp_path)
    with pytest.raises(ValueError, match="give a folder instead"):
        exchange.writer("brat", io.StringIO())


def test_an_unknown_format_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'xml' is unknown; use one of jsonl, conll, brat, inline"):
        exchange.writer("xml", io.StringIO())


def test_every_format_that_is_written_can_be_read():
    assert set(exchange.FORMATS) | {"text"} == set(exchange.READERS)
    with pytest.raises(ValueError, match="'xml' is unknown; use one of text, jsonl, conll, brat"):
        exchange.reader("xml")


def test_plain_text_is_a_document_per_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffever\r\n\nno <b> \x00\tx")
    assert [d.text for d in gold("text", tmp_path / "a.txt")[0]] == ["fever", "", "no <b> \x00\tx"]


@pytest.mark.parametrize("format", ["conll", "inline", "pubtator"])
def test_a_text_that_begins_with_a_byte_order_mark_keeps_it(format, tmp_path):
    (read,) = round_trip([labelled("\ufefffever", (0, 6, "S"))], format, tmp_path / "a")
    assert read.text == "\ufefffever"


@pytest.mark.parametrize("format", ["inline", "html", "pubtator", "conll"])
def test_half_a_surrogate_pair_is_refused_with_what_to_write_instead(format, tmp_path):
    with pytest.raises(ValueError, match="surrogate"):
        exchange.write_documents([labelled("a \ud83d")], format, tmp_path / "a")


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    for format in ("jsonl", "html", "brat"):
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match=r"cannot be written \(Not a directory\)"):
            exchange.writer(format, tmp_path / "file" / "a")


# Resuming

DOCUMENTS = [
    labelled("\ufeffa fèver", (3, 8, "Sign")),
    labelled(""),
    labelled("no\r\nfever 😀", (4, 9, "Sign"), (10, 11, "Face")),
    labelled("x"),
]
LINE_FORMATS = [format for format in exchange.RESUMABLE if format != "brat"]


def resume(documents, format, path):
    with exchange.writer(format, path, resume=True) as out:
        for document in documents:
            out.write(document)


@pytest.mark.parametrize("format", LINE_FORMATS)
def test_a_file_cut_at_any_byte_is_completed_to_the_same_bytes(format, tmp_path):
    path = tmp_path / "whole"
    exchange.write_documents(DOCUMENTS, format, path)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        resume(DOCUMENTS, format, path)
        assert path.read_bytes() == whole, cut
    path.unlink()
    resume(DOCUMENTS, format, path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("format", exchange.RESUMABLE)
def test_chunks_that_are_there_are_passed_over_except_the_last(format, tmp_path):
    path = tmp_path / "out"
    exchange.write_documents(DOCUMENTS[:3], format, path)
    with exchange.writer(format, path, resume=True) as out:
        assert out.skip(2) and not out.skip(2)
        for document in DOCUMENTS[2:]:
            out.write(document)
    exchange.write_documents(DOCUMENTS, format, tmp_path / "whole")
    for file in [tmp_path / "whole", *(tmp_path / "whole").rglob("*")]:
        if file.is_file():
            assert (path / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("format", exchange.RESUMABLE)
def test_another_input_is_noticed_and_nothing_is_overwritten(format, tmp_path):
    path = tmp_path / "out"
    exchange.write_documents(DOCUMENTS[:3], format, path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for others in ([labelled("other")] * 4, DOCUMENTS[:2]):
        with pytest.raises(ValueError, match="give another output|or another output"):
            resume(others, format, path)
        after = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        assert after == before


def test_scores_may_differ_because_devices_do(tmp_path):
    path = tmp_path / "out"
    exchange.write_documents(DOCUMENTS[:3], "jsonl", path)
    shaken = [
        d._replace(entities=tuple(e._replace(score=0.4999) for e in d.entities)) for d in DOCUMENTS
    ]
    resume(shaken, "jsonl", path)
    assert path.read_text().count("0.5") == 3


def test_half_a_pair_of_brat_files_is_completed(tmp_path):
    folder = tmp_path / "out"
    exchange.write_documents(DOCUMENTS[:2], "brat", folder)
    (folder / "00003.txt").write_bytes(DOCUMENTS[2].text.encode())
    (folder / "00003.ann.tmp").write_text("T1\tSi")
    resume(DOCUMENTS, "brat", folder)
    assert len(list(folder.iterdir())) == 8
    assert [d.text for d in gold("brat", folder)[0]] == [d.text for d in DOCUMENTS]


@pytest.mark.parametrize("format", ["html", "bioc", "offsets", "docbin"])
def test_formats_that_cannot_be_resumed_say_which_can(format, tmp_path):
    with pytest.raises(ValueError, match="cannot be resumed; jsonl, conll, brat, inline, pubtator"):
        exchange.writer(format, tmp_path / "a", resume=True)


def test_an_error_leaves_the_documents_that_were_written(tmp_path):
    for format in LINE_FORMATS:
        with pytest.raises(KeyError), exchange.writer(format, tmp_path / format) as out:
            out.write(DOCUMENTS[0])
            raise KeyError
        assert len(gold(format, tmp_path / format)[0]) == 1
