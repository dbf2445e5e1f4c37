"""The benchmark of the corpus and the plan made of it, at the smallest size."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_corpus as tool  # noqa: E402 (the tools folder is no package)
import bench_corpus_files as files  # noqa: E402
import corpus_scale as scale  # noqa: E402

from medmt5.corpus.build import PARTITION_BYTES  # noqa: E402
from medmt5.corpus.documents import Document  # noqa: E402
from medmt5.corpus.readers import reader_of  # noqa: E402

NEEDS = {
    **dict.fromkeys(("tmx", "pubmed", "pmc", "wikipedia"), "lxml"),
    **{"parquet": "pyarrow", "html": "trafilatura", "warc": "warcio", "pdf": "pypdf"},
}


@pytest.fixture(scope="module")
def texts():
    return list(files.documents(0.03, 7))


def test_generated_text_is_that_of_its_seed_in_four_languages(texts):
    assert texts == list(files.documents(0.03, 7)) != list(files.documents(0.03, 8))
    assert {document.language for document in texts} == set(files.LANGUAGES)
    assert sum(len(document.text.encode()) for document in texts) > 30_000


@pytest.mark.parametrize("format_", files.FORMATS)
def test_what_is_written_in_a_format_is_read_again(format_, texts, tmp_path):
    pytest.importorskip(NEEDS.get(format_, "numpy"))
    if format_ == "wikipedia":
        pytest.importorskip("mwparserfromhell")
    path = files.write(tmp_path, format_, texts)
    items = list(reader_of("s", format_, files.FORMATS[format_].settings)(str(path)))
    assert all(isinstance(item, Document) for item in items)
    found = " ".join(item.text for item in items).split()
    expected = " ".join(document.text for document in texts).split()
    # Titles come on top; markup of a page or of a PDF's lines goes.
    assert len(found) == pytest.approx(len(expected), rel=0.05)
    rare = {word for word in expected if word.isalpha() and word.islower() and len(word) > 7}
    assert len(rare & set(found)) > 0.9 * len(rare)


def test_duplicates_and_the_stages_of_a_build_are_measured(tmp_path, texts):
    pytest.importorskip("py3langid")
    pytest.importorskip("ahocorasick")
    given = tool.parse(["--megabytes", "0.03", "--only", "build"])
    assert tool.prepare(tmp_path, given) == len(list(files.documents(0.03, 0)))
    build = tool.measure("build", str(tmp_path), 2, 1.0)
    assert list(build["stages"]) == list(tool.STAGES)
    assert build["bytes"]["keys"] > build["bytes"]["found"] and build["bytes"]["output"] > 0
    keys = tool.measure("keys near", str(tmp_path), 3, 60.0)
    assert len(keys["seconds"]) == 3
    for record in (build, keys, *build["stages"].values()):
        low, middle, high = record["mb_per_second"]
        assert 0 < low <= middle <= high
    assert keys["documents"] == build["documents"] and keys["grown_mib"] is None
    printed = tool.table([build, keys])
    assert "| build: find duplicates |" in printed and "| keys near |" in printed


@pytest.mark.slow  # a process of its own for each case
def test_the_command_adds_a_line_per_case(tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "Dolor agudo.", "lang": "es"}) * 1)
    path = tmp_path / "bench.jsonl"
    options = ["--inputs", str(tmp_path / "in.jsonl"), "--repeats", "2", "--json", str(path)]
    tool.main([*options, "--only", "step [uq]*"])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["case"] for record in records] == ["step unicode", "step quality"]
    for record in records:
        assert record["commit"] and record["machine"]["cores"] and record["documents"] == 1
        assert record["peak_mib"] > 10
    assert "| step quality |" in capsys.readouterr().out


def records():
    def case(speed, **more):
        return {"mb_per_second": [speed, speed, speed], **more}

    return {
        "read jsonl": case(50.0, file_bytes_per_byte=0.25),
        "read warc": case(0.5, file_bytes_per_byte=1.0),
        "build": case(
            0.5,
            megabytes=2.0,
            bytes={"keys": 3e6, "cleaned": 1e6, "found": 0, "output": 5e5},
        ),
    }


def test_a_plan_is_as_worked_by_hand():
    assumed = scale.Assumptions(
        vcpus=10, vcpu_speed=0.5, busy=0.8, hours=10, vcpu_dollars=0.1, days=30, read_seconds=0.0
    )
    # 36 GB at 0.5 MB/s: 72,000 s = 20 core-hours, 50 vCPU-hours; 5 of 10 x 10 in 10 hours.
    row = scale.plan(records(), "jsonl", 36, assumed)
    assert row["core_hours"] == pytest.approx(20)
    assert (row["machines"], row["hours"]) == (1, pytest.approx(5))
    # Keys of 1.5 bytes and text of 0.5 per byte of text.
    assert row["between_gigabytes"] == pytest.approx(72)
    assert row["output_gigabytes"] == pytest.approx(9)
    # 9 GB of files in partitions of 128 MiB: 68, and so 128. Of 54 GB of keys each holds 2.2 times.
    assert PARTITION_BYTES == 2**27 and row["partitions"] == 128
    assert row["partition_gib"] == pytest.approx(2.2 * 54e9 / 128 / 2**30)
    assert row["reads"] == 36 * 128 * scale.READS
    # Processors 5, a month of 72 GB 1.44, and reads by the ten thousand.
    reads = 36 * 128 * scale.READS / 1e4 * 0.004
    assert row["dollars"] == pytest.approx(50 * 0.1 + 72 * 0.02 + reads)
    # Reading pages takes 2 s per MB more than the 0.02 of JSONL that are in the build.
    web = scale.plan(records(), "warc", 36, assumed)
    assert web["core_hours"] == pytest.approx(20 * (2 + 2 - 0.02) / 2)
    printed = scale.table([row, web])
    assert "| 36 GB | jsonl | 20 | 1 | 5.0 |" in printed and "| 36 GB | warc | 40 |" in printed


def test_a_plan_is_made_of_the_file_and_says_what_is_missing(tmp_path, capsys):
    path = tmp_path / "bench.jsonl"
    facts = {"commit": "abc", "machine": {"processor": "X"}}
    lines = [json.dumps({"case": case, **facts, **record}) for case, record in records().items()]
    path.write_text("\n".join(lines))
    scale.main([str(path), "--gigabytes", "36", "--vcpus", "10"])
    printed = capsys.readouterr().out
    assert "measured at abc on X" in printed and "'vcpus': 10" in printed
    assert "| 36 GB | warc |" in printed and "pubmed" not in printed
    path.write_text(lines[0])
    with pytest.raises(SystemExit):
        scale.main([str(path)])
    assert "has no case 'build'" in capsys.readouterr().err
