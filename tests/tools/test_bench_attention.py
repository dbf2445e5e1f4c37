"""The benchmark of attention: it times nothing that is not equal, and counts FLOPs as written."""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_attention as tool  # noqa: E402 (the tools folder is no package)

CROSS = tool.TINY[2]


@pytest.fixture
def one_kernel(monkeypatch):
    monkeypatch.setattr(tool, "PLATFORMS", ("gpu",))
    monkeypatch.setattr(tool, "TINY", (CROSS,))


def test_a_device_without_a_kernel_is_told(one_kernel, capsys):
    assert tool.main([]) == 0
    assert capsys.readouterr().out.startswith("cpu has no fused attention")


def test_interpreted_kernels_are_equal(one_kernel, tmp_path, capsys):
    path = tmp_path / "attention.json"
    assert tool.main(["--interpret", "--json", str(path)]) == 0
    assert "gpu cross: 100 x 160, 2 heads: equal" in capsys.readouterr().out
    found = json.loads(path.read_text())["results"]["gpu cross"]["errors"]
    assert len(found["fused"]) == len(found["plain"]) == 4  # result, query, key and value
    assert 0 < max(found["fused"]) < max(found["plain"]) < 2**-7  # bfloat16 rounds by 2**-9


@pytest.mark.parametrize("factor", [1.02, float("nan")])
def test_a_wrong_kernel_is_told_and_not_timed(one_kernel, factor, monkeypatch, capsys):
    def wrong(query, key, value, *, distance_bias, query_segments, key_segments, **_):
        plain = tool.methods(CROSS, "gpu", True)["plain"]
        return factor * plain(query, key, value, distance_bias, query_segments, key_segments)

    monkeypatch.setattr(tool, "fused_attend", wrong)
    monkeypatch.setattr(tool, "measure", None)
    assert tool.main(["--interpret"]) == 1
    assert "NOT EQUAL" in capsys.readouterr().out


@pytest.mark.slow  # compiles every method
def test_every_method_and_pass_is_timed_in_turn(monkeypatch):
    monkeypatch.setattr(tool, "CALLS", 1)
    records = tool.measure(CROSS, 1, 2, "gpu", True, repeats=2)
    assert list(records) == ["plain forward", "plain both", "fused forward", "fused both"]
    assert all(len(record["seconds"]) == 2 for record in records.values())
    # 1 row, 2 heads, 100 x 160 pairs, 64 numbers, 2 products: 8,192,000 FLOP; in 1 ms 8.2 GFLOP/s.
    flops = CROSS.flops(1, 2)
    assert flops == 8_192_000
    for record in records.values():
        record["seconds"] = [1e-3] * 3
    lines = tool.table("title", records, flops, peak=81.92e9).splitlines()
    assert "10%" in lines[2] and "30%" in lines[3]  # three times the products in both passes


def test_a_causal_mask_leaves_half_of_the_pairs_and_the_diagonal():
    # 100 x 101 / 2 pairs, 64 numbers, 4 operations.
    assert tool.TINY[1].flops(1, 1) == 5050 * 64 * 4


@pytest.mark.parametrize(
    "kind, peak",
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("cpu", None),
    ],
)
def test_devices_are_known_by_the_names_that_jax_gives_them(kind, peak):
    assert tool.peak_flops(kind) == peak


def test_rows_are_packed_and_padded():
    _, (query, key), of_out = tool.example(CROSS, 2, 2)
    assert ((query > 0) == of_out.any((2, 3))).all()
    assert query.shape == (2, 100) and key.shape == (2, 160)
    assert jnp.unique(query).tolist() == jnp.unique(key).tolist() == [0, 1, 2, 3]
    assert int((key == 0).sum()) == 2 * 16
