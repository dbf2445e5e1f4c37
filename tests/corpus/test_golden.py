"""A corpus of twenty documents in `golden/`: every count below was worked out by hand.

read            pubmed 1001 1001-es 1002 1003 1004  web w1-w8  emea 1 3 4 5  notes 1 5 9   20
not read        web lines 9 (cut JSON) and 10 (no text), notes/latin1.txt (not UTF-8)
unicode         changes w3 (`Ã©` for é)
boilerplate     changes w2 (tags)
language        finds it for w1-w6 and w8; w6 is German, w7 says fr and is English         18
quality         1003 has four words, notes 9 three; mean word length of emea 4 is
                (9*2 + 3 + 2 + 2) / 12 = 2.1                                               15
medical         w5 is about football                                                       14
personal        changes notes 5: an e-mail address, a telephone and a record number
contamination   1004 quotes the question in evaluation/                                    13
duplicates      w1 is 1002, and emea 1 and 3 are the same, but for punctuation; w8 is notes 1
                and two words: of 43 words 39 runs of five, of 45 words 41, 39/41 = 0.95     10
"""

import gzip
import html.parser
import json
import shutil
from pathlib import Path

import pytest

from medmt5.corpus import build, config, diff, manifest

GOLDEN = Path(__file__).parent / "golden"
DOCUMENTS = {
    # stage: pubmed, web, emea, notes
    "read": (5, 8, 4, 3),
    "unicode": (5, 8, 4, 3),
    "boilerplate": (5, 8, 4, 3),
    "language": (5, 6, 4, 3),
    "quality": (4, 6, 3, 2),
    "medical": (4, 5, 3, 2),
    "personal": (4, 5, 3, 2),
    "contamination": (3, 5, 3, 2),
    "duplicates": (3, 3, 2, 2),
}


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "built"
    build.build(config.load(str(GOLDEN / "corpus.toml")), str(folder))
    return folder


@pytest.fixture(scope="module")
def made(folder):
    return manifest.read(str(folder))


def documents(made, source, stage):
    languages = made["sources"][source]["counts"].get(stage, {})
    return sum(counts["documents"] for counts in languages.values())


def test_documents_after_every_stage_are_those_counted_by_hand(made):
    assert tuple(DOCUMENTS) == tuple(made["stages"])
    for stage, counts in DOCUMENTS.items():
        found = tuple(documents(made, name, stage) for name in ("pubmed", "web", "emea", "notes"))
        assert found == counts, stage


def test_languages_are_told_where_the_records_do_not_say_them(made):
    web = made["sources"]["web"]["counts"]
    assert {language: n["documents"] for language, n in web["read"].items()} == {"fr": 1, "und": 7}
    assert {language: n["documents"] for language, n in web["language"].items()} == {
        "en": 3,
        "es": 1,
        "fr": 1,
        "ja": 1,
    }


def test_words_and_bytes_are_counted(made):
    # Of `Entre los ... días.`, where á and í are two bytes each, and of `El ... paciente`.
    assert made["sources"]["emea"]["counts"]["duplicates"] == {
        "es": {"bytes": 96 + 87, "documents": 2, "words": 18 + 16}
    }
    assert made["sources"]["emea"]["lengths"] == {"es": {"16": 2}}
    # Every character of Japanese is a word, punctuation none.
    assert made["total"]["counts"]["duplicates"]["ja"]["words"] == 42


def test_what_is_removed_is_told_with_its_reason(folder, made):
    found = [
        (record["step"], record["reason"], record["source"], record["id"])
        for path in sorted((folder / "removed").iterdir())
        for record in map(json.loads, gzip.open(path, "rt", encoding="utf-8"))
    ]
    # Which of two equal documents of a source stays is decided by a hash.
    same = next(one for one in found if one[:3] == ("duplicates", "exact duplicate", "emea"))
    assert same[3] in ("EMEA.en-es.es:1", "EMEA.en-es.es:3")
    assert sorted(found) == sorted(
        [
            ("language", "language not wanted", "web", "w6"),
            ("language", "language contradicted", "web", "w7"),
            ("quality", "too short", "pubmed", "1003"),
            ("quality", "too short", "notes", "ward.txt:9"),
            ("quality", "word length", "emea", "EMEA.en-es.es:4"),
            ("medical", "few medical words", "web", "w5"),
            ("contamination", "in an evaluation set", "pubmed", "1004"),
            ("duplicates", "exact duplicate", "web", "w1"),
            ("duplicates", "near duplicate", "web", "w8"),
            same,
        ]
    )
    assert made["total"]["removed"]["language"] == {
        "fr": {"language contradicted": 1},
        "und": {"language not wanted": 1},
    }


def test_what_is_changed_is_counted_by_kind(made):
    assert made["total"]["changed"] == {
        "unicode": {"documents": 1},
        "boilerplate": {"documents": 1},
        "language": {"documents": 6},
        "personal": {"documents": 1, "email": 1, "phone": 1, "record": 1},
    }


def test_what_cannot_be_read_is_told_without_paths_of_this_machine(folder, made):
    bad = list(map(json.loads, (folder / "bad.jsonl").read_text(encoding="utf-8").splitlines()))
    assert [(one["where"], one["reason"]) for one in bad] == [
        ("web/pages.jsonl:9", "broken JSON"),
        ("web/pages.jsonl:10", "wrong fields"),
        ("notes/latin1.txt:1", "not UTF-8"),
    ]
    assert made["total"]["bad"] == {"broken JSON": 1, "not UTF-8": 1, "wrong fields": 1}
    assert str(GOLDEN) not in (folder / "manifest.json").read_text(encoding="utf-8")


def test_documents_come_out_as_they_should_read(folder):
    from medmt5.corpus.shards import read_documents

    found = {
        (document.source, document.id): document
        for path in (folder / "documents").rglob("*.gz")
        for document in read_documents(str(path))
    }
    assert len(found) == 10
    assert found["web", "w3"].text.startswith("Le diabète est une maladie chronique.")
    assert found["web", "w2"].text.startswith("La neumonía es una infección aguda")
    assert "at [EMAIL] or by phone: [PHONE].\n" in found["notes", "ward.txt:5"].text
    assert found["web", "w2"].licence == "CC BY-SA 4.0"


def test_licences_are_counted_of_what_stays(made):
    assert made["total"]["licences"] == {
        "": 2,
        "CC BY 4.0": 2,
        "CC BY-SA 4.0": 1,
        "EMA": 2,
        "abstract": 3,
    }


def test_the_folder_is_what_its_manifest_says_until_a_byte_differs(folder, tmp_path):
    assert manifest.check(str(folder)) == []
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shard = copy / "documents/ja/web-00000.jsonl.gz"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    (copy / "documents/fr/web-00000.jsonl.gz").unlink()
    (copy / "documents/fr/other.jsonl.gz").touch()
    assert manifest.check(str(copy)) == [
        "documents/fr/web-00000.jsonl.gz is missing",
        "documents/ja/web-00000.jsonl.gz has other bytes than were written",
        "documents/fr/other.jsonl.gz is not in manifest.json",
    ]


class Tags(html.parser.HTMLParser):
    """Tags of a page, and the addresses that it would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.found, self.fetched = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_shows_charts_and_samples_and_fetches_nothing(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not tags.open and not tags.fetched and "script" not in tags.found
    assert {"svg", "table"} <= tags.found
    # 2 + 2 + 2 English documents stay or go to quality; see the table above.
    assert "en, kept: 4 documents" in text
    assert "en, quality: 2 documents" in text
    assert "The home team won the match" in text


def test_the_card_has_the_sources_the_steps_and_what_they_removed(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| pubmed | pubmed | abstract 3 | 3 |" in card
    assert "| quality | too short | 2 | en 2 |" in card
    assert '* language: `wanted = ["en", "es", "fr", "ja"]`' in card


@pytest.mark.slow
def test_four_workers_write_the_same_bytes_as_one(folder, tmp_path):
    loaded = config.load(str(GOLDEN / "corpus.toml"))
    build.build(loaded, str(tmp_path / "four"), workers=4)
    assert tree(tmp_path / "four") == tree(folder)
    assert diff.text(diff.difference(str(folder), str(tmp_path / "four"))) == "no difference\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--runner=DirectRunner"],
        [
            "--runner=DirectRunner",
            "--direct_num_workers=4",
            "--direct_running_mode=multi_processing",
        ],
    ],
    ids=["in_process", "four_processes"],
)
def test_beam_writes_the_same_bytes(folder, tmp_path, options):
    pytest.importorskip("apache_beam")
    loaded = config.load(str(GOLDEN / "corpus.toml"))
    build.build(loaded, str(tmp_path / "beam"), beam=options)
    assert tree(tmp_path / "beam") == tree(folder)
