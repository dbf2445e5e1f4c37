"""The benchmark of the input, at the smallest size: a line and a record per pair of lengths."""

import json
import sys
from pathlib import Path

import pytest

from medmt5 import cache_task, token_cache
from medmt5.formats.labelling import Labelling
from medmt5.formats.span_corruption import SpanCorruption

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_input as tool  # noqa: E402 (the tools folder is no package)


def bench(tmp_path, format_, raws, lengths, *flags):
    about = token_cache.describe("t", "train", format_, format_.vocabulary, {})
    folder = str(tmp_path / "cache" / "t" / "train")
    cache_task.write_split(folder, about, format_, format_.vocabulary, raws, shard_bytes=2**20)
    path = tmp_path / "input.json"
    where = ["t", "--cache_dir", str(tmp_path / "cache"), "--json", str(path)]
    tool.main([*where, "--batch_size", "8", "--seconds", "0", "--lengths", *lengths, *flags])
    return json.loads(path.read_text())


def test_text_fills_its_rows_at_the_lengths_that_are_suggested(tmp_path, capsys, sample_vocabulary):
    raws = [{"text": f"The patient {n} was given aspirin for acute pain ."} for n in range(900)]
    report = bench(
        tmp_path, SpanCorruption(sample_vocabulary), raws, ["64x32", "64x14"], "--demand"
    )
    printed = capsys.readouterr().out
    wide, exact = report["results"]
    # Chunks of 70 tokens, 10 of them dropped in 3 spans: 70 - 10 + 3 + 1 = 64 and 10 + 3 + 1 = 14.
    assert wide["suggested_targets"] == exact["suggested_targets"] == 14
    # One row of 16 may hold the last chunk, which is shorter.
    assert exact["fill"] > 0.95 and wide["fill"] == pytest.approx(exact["fill"] * 78 / 96, abs=0.01)
    for row in report["results"]:
        assert row["tokens_per_cpu_second"] > 0 and row["batches"] >= 2
    assert "64x32" in printed and "64x14" in printed
    h100 = report["demand"]["NVIDIA H100"]
    assert list(h100) == ["small", "base", "large", "xl", "xxl"]
    assert sorted(h100.values(), reverse=True) == list(h100.values())


def test_labelled_sentences_of_one_host_of_two(tmp_path, capsys, sample_vocabulary):
    raws = [
        {"words": ["no", "gout"] * (n % 5 + 1), "tags": ["O", "B-Disease"] * (n % 5 + 1)}
        for n in range(64)
    ]
    format_ = Labelling(sample_vocabulary, ["Disease"])
    report = bench(tmp_path, format_, raws, ["64x96"], "--hosts", "2")
    assert report["results"][0]["hosts"] == 2
    assert 0.3 < report["decoding_fill"] < 1
    assert "real source tokens" in capsys.readouterr().out
