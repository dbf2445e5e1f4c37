"""brat: pairs of files, fragments, and what brat holds that a flat document cannot."""

import pytest
from hypothesis import given
from labelled import documents, gold, labelled, round_trip, unscored

from medmt5.formats import brat, exchange
from medmt5.formats.documents import BREAK, unescape_label


def test_brat_offsets_count_characters_not_bytes_or_utf16_units():
    document = labelled("😀 fièvre", (2, 8, "Symptom"))
    assert brat.to_brat(document) == "T1\tSymptom 2 8\tfièvre\n"


def test_a_brat_entity_over_a_line_break_becomes_fragments():
    text = "chronic\nrenal\r\n failure, fever"
    document = labelled(text, (0, 23, "Disease"), (25, 30, "Symptom"))
    assert brat.to_brat(document) == (
        "T1\tDisease 0 7;8 13;15 23\tchronic renal  failure\nT2\tSymptom 25 30\tfever\n"
    )


def test_a_brat_label_with_spaces_is_escaped_because_brat_ends_labels_there():
    document = labelled("cough", (0, 5, "Sign or Symptom"))
    assert brat.to_brat(document) == "T1\tSign_x0020_or_x0020_Symptom 0 5\tcough\n"


def test_brat_refuses_an_entity_of_line_breaks_alone():
    with pytest.raises(ValueError, match="only line breaks"):
        brat.to_brat(labelled("a\n\nb", (1, 3, "X")))


@given(documents())
def test_brat_fragments_quote_the_text(document):
    if any(not BREAK.sub("", entity.text) for entity in document.entities):
        return
    lines = brat.to_brat(document).splitlines()
    assert len(lines) == len(document.entities)
    for line, entity in zip(lines, document.entities, strict=True):
        _, place, text = line.split("\t")
        label, offsets = place.split(" ", 1)
        spans = [tuple(map(int, span.split(" "))) for span in offsets.split(";")]
        assert unescape_label(label) == entity.label
        assert " ".join(document.text[start:end] for start, end in spans) == text
        assert entity.start <= spans[0][0] and spans[-1][1] <= entity.end


# Reading


def brat_can_hold(document):
    return all(BREAK.sub("", entity.text) for entity in document.entities)


def trimmed(document):
    """Brat's fragments begin and end with what is no line end."""
    found = []
    for start, _, label, text in unscored(document)[1]:
        inner = text.lstrip("\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
        start += len(text) - len(inner)
        inner = inner.rstrip("\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
        found.append((start, start + len(inner), label, inner))
    return document.text, found


@given(documents().filter(brat_can_hold))
def test_a_folder_reads_back(tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("brat")
    (read,) = round_trip([document], "brat", folder)
    assert unscored(read) == trimmed(document)
    assert read.id == "00001"


def write(folder, text, annotations, name="a"):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(annotations.encode())


def test_what_is_not_a_flat_entity_is_counted_with_file_line_and_name(tmp_path, caplog):
    write(
        tmp_path,
        "acute renal and hepatic failure",
        "T1\tDisease 0 11;24 31\tacute renal failure\n"
        "T2\tDisease 16 31\thepatic failure\n"
        "T3\tOrgan 16 23\thepatic\r\n"
        "R1\tOf Arg1:T1 Arg2:T2\n*\tEquiv T1 T2\n"
        "E1\tX:T1\nA1\tNegated T1\nN1\tReference T1 U:1\tx\n"
        "#1\tAnnotatorNotes T1\tsure?\n\n",
    )
    (document,), report = gold("brat", tmp_path)
    assert unscored(document)[1] == [(16, 31, "Disease", "hepatic failure")]
    assert [lost.why for lost in report.lost] == ["discontinuous", "nested"]
    assert "a.ann:1 (T1): Disease 0-11 24-31 is discontinuous: not kept" in caplog.text
    assert "a.ann:3 (T3): Organ 16-23 lies within Disease 16-31: not kept" in caplog.text
    assert report.other == {
        "relations": 2,
        "events": 1,
        "attributes": 1,
        "normalisations": 1,
        "notes": 1,
    }


def test_folders_are_read_in_order_and_names_come_back_when_written(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source, "b", "", "b")
    write(source, "\ufefffever\r\n", "T1\tSign 1 6\tfever\n", "2/a 1.x")
    (source / "c.txt").write_text("no annotations")
    read, _ = gold("brat", source)
    assert [document.id for document in read] == ["2/a 1.x", "b", "c"]
    exchange.write_documents(read, "brat", target)
    assert (target / "2" / "a 1.x.ann").read_text() == "T1\tSign 1 6\tfever\n"
    assert gold("brat", target)[0] == read
    assert gold("brat", target / "2" / "a 1.x.ann")[0][0].text == "\ufefffever\r\n"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("T1\tSign 0 5", "is not `T1<TAB>Label start end<TAB>text`"),
        ("T1\tSign 0 5\tcough", "quotes 'cough', but the text at"),
        ("T1\tSign 0 50\tfever", "quotes 'fever'"),
        ("Sign", "is not"),
    ],
)
def test_a_broken_line_is_named_or_skipped(tmp_path, line, fault):
    write(tmp_path, "fever", f"T2\tSign 0 5\tfever\n{line}\n")
    with pytest.raises(ValueError, match=rf"a\.ann:2.*{fault}"):
        gold("brat", tmp_path)
    (document,), report = gold("brat", tmp_path, skip_bad=True)
    assert report.skipped == 1 and len(document.entities) == 1


def test_a_folder_without_texts_or_with_lone_annotations_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no .txt files"):
        gold("brat", tmp_path)
    write(tmp_path, "fever", "")
    (tmp_path / "b.ann").write_text("")
    with pytest.raises(ValueError, match=r"b\.ann: there is no \.txt file beside it"):
        gold("brat", tmp_path)
    (tmp_path / "c.txt").write_bytes(b"\xff")
    assert len(gold("brat", tmp_path, skip_bad=True)[0]) == 1


def test_ids_that_would_leave_the_folder_are_replaced_by_numbers(tmp_path):
    odd = ["../a", "/etc/x", "a//b", ".hidden", "C:\\x", ""]
    exchange.write_documents([labelled("x", id=id) for id in odd], "brat", tmp_path / "out")
    assert sorted(path.stem for path in tmp_path.rglob("*.txt")) == [
        f"{i:05d}" for i in range(1, 7)
    ]


def test_two_documents_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two documents are named a"):
        exchange.write_documents([labelled("x", id="a")] * 2, "brat", tmp_path / "out")
