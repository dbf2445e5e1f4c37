"""Files to lines and texts: what is no text is said to be none."""

import gzip

import pytest

from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.lines import read_lines, read_text, size_of


def write(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    return str(path)


def test_lines_lose_their_ends_and_a_byte_order_mark_and_nothing_else(tmp_path):
    path = write(tmp_path, "\ufeffé\r\n\n  b \u2028c\n\ufeff\x0bd\re\r\r\nlast".encode())
    assert list(read_lines(path)) == [
        (1, "é"),
        (2, ""),
        (3, "  b \u2028c"),
        (4, "\ufeff\x0bd\re\r"),
        (5, "last"),
    ]


def test_a_whole_text_keeps_line_ends_and_byte_order_mark(tmp_path):
    assert read_text(write(tmp_path, "\ufeffa\r\nb".encode())) == "\ufeffa\r\nb"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("fever".encode("utf-16"), "UTF-16"),
        (("fever and cough " * 9).encode("utf-16-le"), "UTF-16"),
        (gzip.compress(b"fever", mtime=0), "a gzip archive"),
        (b"PK\x03\x04 docx", "a zip archive or an office document"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x7fELF\x02\x01\x00\xff\xfe\n", "a binary file"),
    ],
)
def test_a_binary_file_is_named_as_what_it_is_even_where_bad_lines_are_skipped(
    tmp_path, content, kind
):
    path = write(tmp_path, content)
    for read in (lambda: list(read_lines(path, Report(skip_bad=True))), lambda: read_text(path)):
        with pytest.raises(ValueError, match=rf"a\.txt is {kind}, not UTF-8 text; convert it"):
            read()


def test_a_nul_character_in_a_text_does_not_make_it_binary(tmp_path):
    assert list(read_lines(write(tmp_path, b"a\x00b\n"))) == [(1, "a\x00b")]


def test_a_character_cut_by_the_end_of_the_first_block_is_no_fault(tmp_path):
    path = write(tmp_path, b"\x00" + b"a" * 8190 + "é".encode())
    assert len(list(read_lines(path))[0][1]) == 8192


def test_invalid_utf8_is_reported_by_line_and_byte_or_skipped(tmp_path, caplog):
    path = write(tmp_path, b"fine\ncaf\xe9\nfine\n")
    with pytest.raises(BadRecord, match=r"a\.txt:2: invalid UTF-8 at byte 4 of the line"):
        list(read_lines(path))
    with pytest.raises(BadRecord, match=r"a\.txt:2: invalid UTF-8 at byte 9 of the file"):
        read_text(path)
    report = Report(skip_bad=True)
    assert [number for number, _ in read_lines(path, report)] == [1, 3]
    assert report.skipped == 1 and "a.txt:2" in caplog.text
    assert report.read_bytes == 15


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none: cannot be read \(No such file"):
        list(read_lines(str(tmp_path / "none")))
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        list(read_lines(str(tmp_path)))


def test_the_size_of_files_and_folders_is_known_and_that_of_a_pipe_is_not(tmp_path):
    path = write(tmp_path, b"12345")
    assert size_of([path, str(tmp_path)]) == 10
    assert size_of([path, "/dev/null"]) is None
