"""`medmt5 data check` names every malformed row, with its line and column."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmt5.data import command
from medmt5.data.check import check_files, data_files
from medmt5.data.check_conll import unfinished
from medmt5.data.findings import Findings
from medmt5.formats.conll import read_conll, to_iob2

GOOD = "A\tO\nfever\tB-Sign\n\nNo\tO\nfever\tB-Sign\n\n"


def write(folder, **files):
    """Files `name=content` of the folder, `_` for `-`; bytes as they are."""
    paths = []
    for name, content in files.items():
        path = folder / (name.replace("_", "-") + (".jsonl" if "[" in name else ".tsv"))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(str(path))
    return paths


def check(*paths, limit=None):
    findings = Findings(limit)
    items = check_files(paths, findings)
    return findings, items


def places(findings, severity="error"):
    return [(f.line, f.column, f.kind) for f in sorted(findings.kept) if f.severity == severity]


def test_every_malformed_row_is_named_with_its_line_and_column(tmp_path):
    rows = [
        "A\tO",
        "one",  # 2: no tab
        "\tO",  # 3: no word
        "mild\t",  # 4: no tag
        "mild\tO\tx",  # 5: three columns
        "",
        "mild\tC-Sign",  # 7: no such prefix
        "mild\tB-",  # 8: no label
        "",
        "a\tO",
    ]
    (path,) = write(tmp_path, x="\n".join(rows))
    findings, items = check(path)
    assert places(findings) == [
        (2, 4, "columns"),
        (3, 1, "columns"),
        (4, 6, "columns"),
        (5, 7, "columns"),  # the tab that is one too many
        (7, 6, "tag"),
        (8, 6, "tag"),
    ]
    assert items[path] == 1  # the sentence of the last row
    assert findings.kept[0].text() == (
        f"{path}:2:4: error: 'one' has one column; a line is word<TAB>tag, a sentence ends with a "
        "blank line"
    )


def test_a_clean_file_has_no_findings_and_needs_no_last_blank_line(tmp_path):
    paths = write(tmp_path, with_end=GOOD, without_end=GOOD.rstrip("\n"))
    findings, items = check(*paths)
    assert not findings.kept and list(items.values()) == [2, 2]


def test_invalid_utf8_is_at_its_byte_and_takes_its_sentence_along(tmp_path):
    (path,) = write(tmp_path, x=b"caf\xc3\xa9 \tO\nfi\xe8vre\tO\n\nA\tO\n")
    findings, items = check(path)
    assert places(findings) == [(2, 3, "record")] and items[path] == 1
    assert places(findings, "warning") == [(1, 5, "character")]


def test_line_ends_invisible_characters_and_empty_sentences_are_warnings(tmp_path):
    text = "A\tO\r\nB\u200bC\tO\r\n\r\n\r\nno\xa0more\tO\nx\rtO\ty\tO\n \nz\tO\n"
    (path,) = write(tmp_path, x=text.replace("x\rtO\ty", "x\ry"))
    findings, items = check(path)
    assert places(findings) == [] and items[path] == 3
    assert places(findings, "warning") == [
        (1, 4, "line end"),
        (2, 2, "character"),
        (4, 1, "empty sentence"),
        (5, 3, "character"),
        (6, 2, "character"),
        (7, 1, "white space"),
    ]
    shown = "\n".join(findings.lines())
    assert "4 lines end in CR LF" in shown and "ZERO WIDTH SPACE in the word" in shown


def test_an_i_that_begins_an_entity_is_wrong_in_iob2_and_right_in_iob1(tmp_path):
    iob2, iob1 = write(
        tmp_path,
        iob2="a\tB-X\nb\tI-X\n\nc\tO\nd\tB-X\n\ne\tI-X\n",
        iob1="a\tI-X\nb\tI-X\n\nc\tO\nd\tI-X\ne\tB-X\n",
    )
    findings, _ = check(iob2, iob1)
    assert places(findings) == [(7, 3, "I- begins an entity")]
    assert "'I-X' begins an entity, but the file is IOB2; write B-" in findings.kept[0].fault


def test_tags_of_another_scheme_than_most_of_the_file_are_errors(tmp_path):
    bioes = "a\tB-X\nb\tE-X\nc\tS-X\n\nd\tU-X\n\ne\tB-X\nf\tO\n\ng\tB-X\nh\tE-X\n"
    iob2 = "a\tB-X\nb\tI-X\n\nc\tB-X\n\nd\tS-X\n"
    findings, _ = check(*write(tmp_path, bioes=bioes, iob2=iob2))
    found = [(os.path.basename(f.path), f.line, f.fault.split(",")[0]) for f in findings.kept]
    assert sorted(found) == [
        ("bioes.tsv", 5, "tag 'U-X' is BILOU"),
        ("bioes.tsv", 7, "an entity ends with 'B-X'"),
        ("iob2.tsv", 6, "tag 'S-X' is BIOES"),
    ]


TAGS = [f"{prefix}-{label}" for prefix in "BILUES" for label in "XY"]


@given(st.lists(st.sampled_from(["O", *TAGS]), max_size=8))
def test_what_bioes_cannot_hold_is_what_the_reader_says(tags):
    _, odd = to_iob2(tags)
    found = list(unfinished(tags))
    assert (odd is None) == (not found)
    if found and found[0][1] == "begins":
        assert found[0][0] == odd


LINES = [f"w\t{tag}" for tag in ["O", "O", *TAGS]] + ["", "", " ", "\xa0", "w", "\tO", "w\tZ-X"]
# What the checker is stricter in: the reader takes both for the beginning of an entity.
STRICTER = {"I- begins an entity", "B- begins an entity"}


@given(lines=st.lists(st.sampled_from(LINES), max_size=12))
def test_the_checker_refuses_what_the_reader_refuses_and_only_that(lines, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("lines") / "x.tsv")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    findings, items = check(path)
    kinds = {
        kind for (_, severity, kind), n in findings.counts.items() if n and severity == "error"
    }
    try:
        count = len(list(read_conll(path)))
    except ValueError:
        assert kinds - STRICTER
    else:
        assert not kinds - STRICTER and items[path] == count


def test_labels_of_one_split_only_or_spelt_two_ways_and_shared_sentences_are_warnings(tmp_path):
    paths = write(
        tmp_path,
        en_a_train=GOOD + "x\tB-Test\n",
        en_a_test="No\tO\nfever\tB-sign\n\n",
        es_a_test=GOOD,
    )
    findings, _ = check(*paths)
    found = [(os.path.basename(f.path), f.line, f.kind) for f in findings.kept]
    assert sorted(found) == [
        ("en-a-test.tsv", 1, "test in train"),
        ("en-a-test.tsv", 2, "label"),  # sign in test alone
        ("en-a-test.tsv", 2, "label"),  # sign is Sign in train
        ("en-a-train.tsv", 2, "label"),  # Sign in train alone
        ("en-a-train.tsv", 7, "label"),  # Test in train alone
    ]
    assert f"at {paths[0]}:4" in next(f.fault for f in findings.kept if f.kind == "test in train")


def question(**changes):
    row = {"id": "1", "question": "Why?", "options": {"A": "this", "B": "that"}, "answer_idx": "A"}
    return json.dumps(row | changes) + "\n"


def test_questions_are_checked_by_their_reader_and_their_splits_compared(tmp_path):
    train, test = tmp_path / "en-q-train.jsonl", tmp_path / "en-q-test.jsonl"
    train.write_text(
        question() + '{"question": "x",}\n' + question(id="2", answer_idx="C") + question(id="1")
    )
    test.write_text(question(id="7", question="How?") + question(id="8"))
    findings, items = check(str(train), str(test))
    assert places(findings) == [(2, 18, "record"), (3, 1, "record")]
    assert places(findings, "warning") == [(2, 1, "test in train"), (4, 1, "identifier")]
    assert items == {str(train): 2, str(test): 2}


def test_rows_of_general_tasks_are_told_by_their_keys(tmp_path):
    path = tmp_path / "en-rte-dev.jsonl"
    path.write_text('{"premise": "a", "hypothesis": "b", "label": "c"}\n{"premise": "a"}\n')
    findings, items = check(str(path))
    assert places(findings) == [(2, 1, "record")] and items[str(path)] == 1


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    return stop.value.code, capsys.readouterr()


def test_the_exit_code_is_0_for_clean_1_for_errors_and_2_for_misuse(tmp_path, capsys):
    write(tmp_path, en_a_train=GOOD)
    assert run(capsys, "check", str(tmp_path))[0] == 0
    (bad,) = write(tmp_path, en_b_train="a\n" * 5 + GOOD)
    code, shown = run(capsys, "check", str(tmp_path), "--max-errors", "2")
    assert code == 1
    assert f"{bad}:2:2: error" in shown.out and f"{bad}:3:2: error" not in shown.out
    assert f"{bad}: 3 more of this kind: error, columns" in shown.out
    assert f"{bad}: 1 read, 5 errors, 0 warnings" in shown.out
    assert run(capsys, "check", str(tmp_path / "none"))[0] == 2
    assert run(capsys, "check")[0] == 2


def test_json_output_has_every_finding_and_all_counts(tmp_path, capsys):
    (path,) = write(tmp_path, en_b_train="a\n" * 30 + "\n" + GOOD)
    code, shown = run(capsys, "check", path, "--json", "--max-errors", "0")
    told = json.loads(shown.out)
    assert code == 1 and told["errors"] == 30 == len(told["findings"])
    assert told["findings"][4]["line"] == 5 and told["items"] == {path: 2}
    assert told["counts"] == [{"path": path, "severity": "error", "kind": "columns", "count": 30}]


def test_progress_says_the_share_that_is_read_and_the_time_left(tmp_path, monkeypatch, caplog):
    (path,) = write(tmp_path, en_a_train=GOOD * 400)  # more lines than between looks at the clock
    monkeypatch.setattr("medmt5.progress.PERIOD", 0.0)
    findings = Findings()
    with caplog.at_level("INFO", "medmt5.data.command"):
        check_files([path], findings, command.Progress(findings, [path]))
    assert caplog.messages and all("% read  ETA 0:0" in line for line in caplog.messages)


def test_links_are_followed_once_and_files_of_other_names_are_said(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    (path,) = write(tmp_path / "data", en_a_train=GOOD)
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "linked").symlink_to(tmp_path / "data")
    assert data_files([str(tmp_path / "all")]) == [
        path.replace(str(tmp_path / "data"), str(tmp_path / "all" / "linked"))
    ]
    (tmp_path / "data" / "English.jsonl").write_text("{}")
    with caplog.at_level("INFO"):
        assert data_files([str(tmp_path / "data")]) == [path]
    assert "1 files of other names are left out, such as" in caplog.text


def test_folders_give_the_files_that_are_named_like_data(tmp_path):
    (tmp_path / "seqlab").mkdir()
    (tmp_path / "notes.tsv").write_text("x")
    paths = write(tmp_path / "seqlab", en_a_test=GOOD, en_a_train=GOOD)
    assert data_files([str(tmp_path)]) == paths
    with pytest.raises(FileNotFoundError, match="has no <lang>-<dataset>-<split>"):
        (tmp_path / "empty").mkdir()
        data_files([str(tmp_path / "empty")])
