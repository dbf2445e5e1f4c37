"""CoNLL files: what is read, and where each fault is reported."""

import pytest

from medmt5.formats.conll import Sentence, check_tag, read_conll


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "notes.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def message(path, **options):
    with pytest.raises(ValueError) as error:
        list(read_conll(path, **options))
    return str(error.value).replace(path, "notes.tsv")


def test_sentences_have_words_tags_and_the_line_they_begin_on(write):
    path = write("Acute\tB-Disease\npain\tI-Disease\n\n\nNo\tO\n")
    assert list(read_conll(path)) == [
        Sentence(("Acute", "pain"), ("B-Disease", "I-Disease"), 1),
        Sentence(("No",), ("O",), 5),
    ]


def test_byte_order_mark_windows_line_ends_and_a_missing_last_line_end_are_read(write):
    path = write("\ufeffNo\tO\r\n\r\nYes\tO")
    assert [s.words for s in read_conll(path)] == [("No",), ("Yes",)]


def test_only_a_line_feed_ends_a_line(write):
    # U+2028, U+0085 and a form feed end lines for str.splitlines.
    path = write("a\u2028b\tO\nc\u0085d\tO\ne\x0cf\tO\n")
    assert [s.words for s in read_conll(path)] == [("a\u2028b", "c\u0085d", "e\x0cf")]


def test_lines_of_white_space_separate_sentences(write):
    assert len(list(read_conll(write("a\tO\n \t \nb\tO\n")))) == 2


@pytest.mark.parametrize("row", ["pain", "pain O", "pain\t", "pain\tO\tO", "\tO"])
def test_a_row_without_exactly_a_word_and_a_tag_is_reported(write, row):
    text = message(write(f"Acute\tO\n{row}\n"))
    assert text.startswith(f"notes.tsv:2: {row!r} has ")
    assert "a line is word<TAB>tag" in text


@pytest.mark.parametrize("tag", ["X-Disease", "B", "I-", "Disease", "B_Disease", "o", "E-Disease"])
def test_a_tag_that_is_not_iob_is_reported(write, tag):
    text = message(write(f"a\tO\n\nb\t{tag}\n"))
    assert text == f"notes.tsv:3: tag {tag!r} is not IOB2; use O, B-LABEL or I-LABEL"


def test_an_unknown_label_is_reported_with_the_known_ones(write):
    path = write("a\tB-Disease\nb\tI-Drug\n")
    text = message(path, labels=("Disease", "Chemical"))
    assert text == "notes.tsv:2: label 'Drug' is unknown; this task has Disease, Chemical"
    assert len(list(read_conll(path))) == 1  # accepted where no labels are given


def test_a_label_may_hold_a_hyphen():
    check_tag("B-Sign-or-symptom", ("Sign-or-symptom",))


def test_invalid_utf8_is_reported_with_line_and_byte(write):
    text = message(write(b"a\tO\nf\xe9vrier\tO\n"))
    assert text.startswith("notes.tsv:2: invalid UTF-8 at byte 2 of the line")
    assert text.endswith("convert the file to UTF-8")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "  \n"])
def test_a_file_without_sentences_is_reported(write, content):
    assert message(write(content)) == "notes.tsv: no sentences; a line is word<TAB>tag"


def test_a_missing_file_is_reported(tmp_path):
    path = str(tmp_path / "none.tsv")
    with pytest.raises(ValueError, match=r"none\.tsv: cannot be read \(No such file"):
        list(read_conll(path))
