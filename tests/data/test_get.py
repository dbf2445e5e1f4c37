"""`medmt5 data get`: the files of a set's authors become those that tasks read."""

import functools
import http.server
import io
import json
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from shared import needs

from medmt5.data import command, get, sources, upstream
from medmt5.data.check import check_files, data_files
from medmt5.data.findings import Findings
from medmt5.data.sources import SETS
from medmt5.formats.conll import Sentence, read_conll
from medmt5.formats.questions import read_questions


def words_and_tags(sentences):
    return [list(zip(s.words, s.tags, strict=True)) for s in sentences]


def test_columns_are_read_with_tabs_or_spaces_and_repaired(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(
        b"Un\tO\t\r\n\r\n\r\n"
        b"\xc3 O\n"  # a cut `à`
        b"cafe\xcc\x81 I-Claim HighQuality\n"  # decomposed; begins without B-
        b"I-Claim\n"  # no word
        b"plus jeunes I-Claim\n"
    )
    assert words_and_tags(upstream.read_columns([str(path)], "fr", "train")) == [
        [("Un", "O")],
        [("à", "O"), ("café", "B-Claim"), ("plus", "I-Claim")],
    ]


def test_a_row_without_a_tag_is_refused_with_its_line(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a O\n\nword\n")
    with pytest.raises(ValueError, match=r"x\.tsv:3: 'word' has no tag"):
        list(upstream.read_columns([str(path)], "en", "train"))


def test_e3c_development_is_the_last_15_percent_of_training(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("".join(f"w{i} O\n\n" for i in range(10)))
    read = functools.partial(upstream.read_e3c, [str(path)], "en")
    assert [s.words for s in read("dev")] == [("w8",), ("w9",)]  # 8.5 rounds to 8
    assert len(list(read("train"))) == 8 and len(list(read("test"))) == 10


def test_diann_markup_becomes_tags_and_its_last_documents_development(tmp_path):
    path = str(tmp_path / "english.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(upstream.DIANN_DEV + 1):
            archive.writestr(f"E/E_Training/Annotated/{i:03}.txt", f"Text {i}.")
        archive.writestr(
            "E/E_Test/Annotated/1.txt",
            "<scp>Not <neg>without</neg> <dis>hearing loss</dis></scp>, _<dis>deaf</dis>.\n\n"
            "<dis>a</dis><dis>b</dis>",
        )
    read = functools.partial(upstream.read_diann, [path], "en")
    first, second = words_and_tags(read("test"))
    assert first == [
        ("Not", "O"),
        ("without", "O"),
        ("hearing", "B-dis"),
        ("loss", "I-dis"),
        (",", "O"),
        ("_deaf", "B-dis"),
        (".", "O"),
    ]
    assert second == [("ab", "B-dis")]
    assert [s.words[1] for s in read("train")] == ["0"]
    assert len(list(read("dev"))) == upstream.DIANN_DEV


def test_casimedicos_is_read_from_its_archive(tmp_path):
    path, content = str(tmp_path / "x.tar.gz"), b"La B-Premise HighQuality\r\n"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("casimedicos-arg/ES/dev.tsv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    assert words_and_tags(upstream.read_casimedicos([path], "es", "dev")) == [[("La", "B-Premise")]]


def pubmedqa(folder):
    folder.mkdir(parents=True)
    row = {"CONTEXTS": ["Known."], "LONG_ANSWER": "It does.", "final_decision": "yes"}
    rows = {pmid: {"QUESTION": f"Does {pmid}?", **row} for pmid in ("11", "12", "13")}
    (folder / "ori_pqal.json").write_text(json.dumps(rows))
    (folder / "test_ground_truth.json").write_text('{"12": "yes"}')


def test_pubmedqa_is_split_by_its_answers_and_comes_back_as_written(tmp_path):
    pubmedqa(tmp_path / "clones/pubmedqa/data")
    dev, test = get.write_set(
        "pubmedqa", str(tmp_path / "out"), manual_dir=str(tmp_path / "clones")
    )
    assert test == str(tmp_path / "out/qa/en/en-pubmedqa-test.jsonl")
    assert [r["id"] for r in read_questions(dev)] == ["11", "13"]
    (record,) = read_questions(test, lang="en")
    paths = [str(tmp_path / "clones/pubmedqa/data" / name) for name in ("ori_pqal.json",)]
    assert record == [*upstream.questions(paths, "en", "test")][1]
    account = (tmp_path / "out/sources/pubmedqa.md").read_text()
    assert SETS["pubmedqa"].commit in account and "MIT" in account and "@inproceedings" in account
    assert "1 questions, 0 multi-answer (expected 500 and 0: not 1cbae8e's files?)" in account
    assert "`data/ori_pqal.json`: sha256 " in account


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    folder = tmp_path / "www"
    folder.mkdir()
    Handler.asked = []
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setattr(sources, "RAW", f"http://127.0.0.1:{made.server_port}")
        yield folder
        made.shutdown()


def test_files_are_downloaded_at_their_commit_and_only_once(server, tmp_path):
    source = SETS["e3c"]
    for path in {path for paths in source.files["it"].values() for path in paths}:
        target = server / source.repository / source.commit / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("Ha O\nfebbre B-ety\n\n" * 20)
    output = tmp_path / "out"
    # What an interruption leaves behind is no file.
    part = output / "downloads/E3C-Corpus@8196181" / source.files["it"]["test"][0]
    part.parent.mkdir(parents=True)
    part.with_name("test.txt.part").write_text("Ha O\nfeb")
    written = get.write_set("e3c", str(output), languages=["it"])
    assert [len(list(read_conll(path))) for path in written] == [17, 3, 20]
    assert len(Handler.asked) == 2
    assert get.write_set("e3c", str(output), languages=["it"]) == written
    assert len(Handler.asked) == 2


def test_a_download_that_breaks_off_is_no_file(server, tmp_path, monkeypatch):
    def broken(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"Ha O\n")

    monkeypatch.setattr(Handler, "do_GET", broken)
    with pytest.raises(ValueError, match="broke off before 1,000 bytes"):
        get.write_set("e3c", str(tmp_path), languages=["it"])
    assert not [path for path in tmp_path.rglob("*.tsv") if path.is_file()]
    assert not list(tmp_path.rglob("train.txt"))


def test_what_cannot_be_had_is_said_with_what_to_do(server, tmp_path, capsys):
    output = str(tmp_path / "out")
    with pytest.raises(ValueError, match=r"test\.txt.* check out 8196181.*give --manual_dir"):
        source = SETS["e3c"]
        get.download(source, source.files["it"]["test"][0], output)
    with pytest.raises(ValueError, match="train.txt does not exist; clone https://github.com/hltf"):
        get.write_set("e3c", output, manual_dir=str(tmp_path), languages=["it"])
    with pytest.raises(ValueError, match="e3c has no de; it has en, es, fr, it, eu"):
        get.write_set("e3c", output, languages=["de"])
    with pytest.raises(SystemExit) as stop:
        command.main(["get", "nothing", "--output", output])
    assert stop.value.code == 2 and not Path(output, "seqlab").exists()


def test_every_set_says_where_it_is_from_and_counts_what_it_has():
    for source in SETS.values():
        assert len(source.commit) == 40 and source.licence and "title = {" in source.citation
        splits = {(lang, split) for lang, files in source.files.items() for split in files}
        assert splits == {*source.counts}


def test_the_documentation_names_every_set_with_its_licence_and_counts():
    text = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, source in SETS.items():
        for lang in source.files:
            (row,) = [r for r in rows if r.startswith(f"| `{name}` | {lang} |")]
            for split in source.files[lang]:
                assert "{:,} / {:,}".format(*source.counts[lang, split]) in row, (name, lang, split)
        assert source.repository in text and source.commit[:7] in text


def test_sentences_and_questions_are_written_as_they_are_read():
    assert get.to_text(Sentence(("A", "b"), ("O", "B-X"))) == "A\tO\nb\tB-X\n\n"
    assert get.count([Sentence(("A", "b"), ("B-X", "B-X"))]) == (1, 2)


@pytest.mark.slow
def test_real_files_are_made_of_their_authors_byte_by_byte(tmp_path):
    """Needs clones of the repositories, in `upstream/` beside the data."""
    clones, data = str(needs("upstream")), needs("data/seqlab")
    for name, source in SETS.items():
        if source.kind == "labelling":
            for path in get.write_set(name, str(tmp_path), manual_dir=clones):
                known = data / Path(path).relative_to(tmp_path / "seqlab")
                assert not known.exists() or known.read_bytes() == Path(path).read_bytes()
    findings = Findings(1)
    check_files(data_files([str(tmp_path)]), findings)
    assert findings.total("error") == 0
