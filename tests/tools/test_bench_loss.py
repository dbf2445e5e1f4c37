"""The benchmark of the loss, at the smallest size: a line and a record for every method."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_loss as tool  # noqa: E402 (the tools folder is no package)

pytestmark = pytest.mark.slow  # compiles every method


def test_every_method_has_a_line_and_the_plain_gradients(tmp_path, capsys):
    path = tmp_path / "loss.json"
    sizes = ["--tokens", "64", "--embed", "8", "--vocab", "256", "--chunks", "16", "8"]
    tool.main([*sizes, "--repeats", "3", "--json", str(path)])
    results = json.loads(path.read_text())["results"]
    printed = capsys.readouterr().out
    assert list(results) == ["float32", "bfloat16"]
    for records in results.values():
        assert [r["method"] for r in records] == ["plain", "chunks of 16", "chunks of 8"]
        assert records[0]["times_plain"] == [1.0, 1.0, 1.0]
        assert records[0]["gradient_difference"] == 0.0
        for record in records:
            assert f"  {record['method']} " in printed
            assert len(record["seconds"]) == 3
            low, middle, high = record["quartiles"]
            assert 0 < low <= middle <= high
        plain, *chunked = (record["temporary_mib"] for record in records)
        assert max(chunked) < plain
    # Rounding of float32; in bfloat16 the plain gradient of the kernel is rounded, ours is not.
    assert 0 < max(r["gradient_difference"] for r in results["float32"]) < 2e-6
    assert 1e-4 < max(r["gradient_difference"] for r in results["bfloat16"]) < 2**-8
