"""Offset tables: columns, where the texts are, and what is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents, gold, labelled, round_trip, unscored

from medmt5.formats import exchange

HEAD = "filename\tmark\tlabel\toff0\toff1\tspan"


@given(st.lists(documents(), max_size=3))
def test_a_folder_reads_back(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("offsets") / "out"
    drawn = [*drawn, labelled("\ufeffno entities")]
    read = round_trip(drawn, "offsets", folder)
    assert [unscored(d) for d in read] == [unscored(d) for d in drawn]


def test_the_files_of_a_folder_by_hand(tmp_path):
    folder = tmp_path / "out"
    document = labelled("no\r\nrenal\nfailure", (4, 17, "Disease"), id="case 1")
    exchange.write_documents([document], "offsets", folder)
    assert (folder / "entities.tsv").read_bytes().decode() == (
        f"{HEAD}\ncase 1\tT1\tDisease\t4\t17\trenal failure\n"
    )
    assert (folder / "text_files" / "case 1.txt").read_bytes() == b"no\r\nrenal\nfailure"
    with pytest.raises(ValueError, match="already holds a table; give a new or empty folder"):
        exchange.writer("offsets", folder)


def corpus(tmp_path, table, texts="text_files", **files):
    folder = tmp_path / "train" / "subtrack1_entities"
    folder.mkdir(parents=True)
    place = (folder / texts).resolve()
    place.mkdir(exist_ok=True)
    for name, content in files.items():
        (place / f"{name}.txt").write_text(content)
    (folder / "a.tsv").write_text(table)
    return folder / "a.tsv"


@pytest.mark.parametrize("texts", ["text_files", "../text_files", "."])
def test_texts_are_found_where_the_corpora_have_them(tmp_path, texts):
    table = f"{HEAD}\tcode\tsemantic_rel\na\tT1\tENFERMEDAD\t0\t4\tgota\t90560007\tEXACT\n"
    path = corpus(tmp_path, table, texts, a="gota aguda", b="nada")
    read, report = gold("offsets", path)
    assert [unscored(d) for d in read] == [
        ("gota aguda", [(0, 4, "ENFERMEDAD", "gota")]),
        ("nada", []),
    ]
    assert [d.id for d in read] == ["a", "b"]
    assert report.other == {"values of column 'code'": 1, "values of column 'semantic_rel'": 1}


def test_names_of_the_sister_corpora_and_names_with_an_ending_are_read(tmp_path):
    table = "filename\tlabel\tann_id\tstart_span\tend_span\ttext\na.txt\tS\tT1\t2\t7\tfever\n"
    (document,), _ = gold("offsets", corpus(tmp_path, table, a="a fever"))
    assert unscored(document) == ("a fever", [(2, 7, "S", "fever")])


def test_a_folder_of_texts_alone_is_enough(tmp_path):
    path = corpus(tmp_path, "", a="fever")
    (document,), _ = gold("offsets", path.parent / "text_files")
    assert document == labelled("fever", id="a")


def test_nested_rows_are_counted_with_their_line(tmp_path, caplog):
    table = f"{HEAD}\na\tT1\tD\t0\t11\tgout attack\na\tT2\tD\t0\t4\tgout\n"
    (document,), report = gold("offsets", corpus(tmp_path, table, a="gout attack"))
    assert len(document.entities) == len(report.lost) == 1
    assert "a.tsv:3 (T2): D 0-4 lies within D 0-11: not kept" in caplog.text


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a\tT1\tD\t0", "too few columns"),
        ("a\tT1\tD\tx\t4\tgout", "offsets that are no numbers"),
        ("a\tT1\tD\t1\t5\tgout", "quotes 'gout'"),
        ("b\tT1\tD\t0\t4\tgout", "there is no text b.txt"),
    ],
)
def test_a_broken_row_is_named_or_skipped(tmp_path, row, fault):
    path = corpus(tmp_path, f"{HEAD}\na\tT2\tD\t0\t4\tgout\n{row}\n", a="gout attack")
    with pytest.raises(ValueError, match=rf"a\.tsv:3.*{fault}"):
        gold("offsets", path)
    (document,), report = gold("offsets", path, skip_bad=True)
    assert report.skipped == 1 and len(document.entities) == 1


def test_missing_columns_and_texts_are_named(tmp_path):
    path = corpus(tmp_path, "file\tlabel\n", a="x")
    with pytest.raises(ValueError, match=r"a\.tsv:1: no column filename off0 off1"):
        gold("offsets", path)
    with pytest.raises(ValueError, match=r"no \.txt files in "):
        gold("offsets", tmp_path)
