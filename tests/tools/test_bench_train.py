"""The benchmark of training beside peers, at the smallest size: counts, turns and tables."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_train as tool  # noqa: E402 (the tools folder is no package)
import bench_train_worker as worker  # noqa: E402

from medmt5.models.t5 import T5Config  # noqa: E402
from medmt5.reporting import training_flops  # noqa: E402
from medmt5.state import Architecture, flat_params  # noqa: E402

pytestmark = pytest.mark.slow  # each contender is a process that compiles

CASE = worker.Case(
    part="train",
    dtype="float32",
    layers=2,
    embed=24,
    heads=3,
    mlp=40,
    vocab=300,
    rows=2,
    source=12,
    target=5,
)


def test_the_products_are_those_that_are_counted():
    products = tool.step_products(CASE)
    counted = sum(2 * np.prod(shape) * count for shape, count in products)
    config = T5Config(**CASE.sizes())
    assert counted == training_flops(config, rows=2, source=12, target=5)
    # The head forward, the gradient of what it multiplies, and its own.
    heads = [shape for shape, _ in products if CASE.vocab in shape]
    assert heads == [(1, 10, 24, 300), (1, 10, 300, 24), (1, 24, 10, 300)]


def test_parameters_are_the_same_everywhere_and_as_large_as_fresh_ones():
    import jax

    sizes = dataclasses.replace(CASE, layers=1).sizes()
    architecture = Architecture.t5(T5Config(**sizes))
    fresh = flat_params(jax.jit(architecture.init)(jax.random.key(0)))
    shapes = {name: array.shape for name, array in fresh.items()}
    made = worker.parameters(shapes)
    alone = worker.parameters({name: shapes[name] for name in reversed(shapes)})
    for name, array in fresh.items():
        assert np.array_equal(made[name], alone[name])
        # 96 numbers at least: their root mean square is off by less than a third.
        assert np.sqrt(np.mean(np.square(made[name]))) == pytest.approx(
            float(np.sqrt(np.mean(np.square(array)))), rel=0.33
        ), name
    assert not np.array_equal(
        made["encoder/layers_0/mlp/wi_0/kernel"], made["encoder/layers_0/mlp/wi_1/kernel"]
    )


def test_contenders_compute_the_same_and_are_in_the_table(tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    path = tmp_path / "bench.json"
    parts = ["--only", "train", "decode", "--dtypes", "float32"]
    tool.main(["--quick", *parts, "--json", str(path)])
    train, decode = json.loads(path.read_text())["results"]
    captured = capsys.readouterr()
    assert "T5X is left out: --t5x DIR names its folder" in captured.err
    names = [record["contender"] for record in train["contenders"]]
    assert names == ["ours", "ours, unrolled", "PyTorch"]
    ours, unrolled, theirs = train["contenders"]
    assert unrolled["losses"][0] == pytest.approx(ours["losses"][0], abs=1e-5)
    # Rounding of float32 sums; a loss of 8.3 has seven digits.
    assert theirs["losses"][0] == pytest.approx(ours["losses"][0], abs=1e-5)
    assert ours["losses"][2] < ours["losses"][1] < ours["losses"][0]
    assert ours["times_ours"] == [1.0, 1.0, 1.0]
    assert ours["temporary_mib"] > 0
    for record in train["contenders"] + decode["contenders"]:
        assert len(record["turns"]) == 2
        low, middle, high = record["seconds"]
        assert 0 < low <= middle <= high
        assert f"| {record['contender']} | " in captured.out
    low, middle, high = ours["share_of_ceiling"]
    assert 0 < low <= middle <= high
    assert decode["contenders"][1]["same_tokens"] == 1.0


def test_packed_sentences_fill_their_rows(capsys):
    report = tool.main(["--quick", "--only", "sentences", "--dtypes", "float32"])
    (record,) = report["results"][0]["contenders"]
    assert record["contender"] == "ours, packed"
    # 39 and 42 tokens on average: one sentence fills 0.56 of a row of 64 and 80.
    assert 0.8 < record["filled"] <= 1.0
    assert "### sentences, float32, 2 x 64/80" in capsys.readouterr().out


def test_a_peer_that_fails_is_left_out_and_says_why(tmp_path, capsys):
    # The first that T5X's worker imports.
    (tmp_path / "jax.py").write_text("raise ImportError('no JAX in here')")
    case = dataclasses.replace(CASE, part="products", products=[(1, 4, 4, 4), (3, 2, 5, 4)])
    ours = tool.Contender("products in JAX", "bench_train_ours.py", sys.executable, case)
    broken = tool.Contender("T5X", "bench_train_t5x.py", sys.executable, CASE, str(tmp_path))
    records = tool.measure("train", [ours, broken], rounds=2)
    assert [record["contender"] for record in records] == ["products in JAX"]
    assert [len(turn["products"]) for turn in records[0]["turns"]] == [2, 2]
    said = "ended with code 1: ImportError: no JAX in here"
    assert f"train: T5X is left out: {said}" in capsys.readouterr().err
    with pytest.raises(tool.Failed, match=said):
        tool.measure("train", [broken, ours], rounds=2)


def test_ratios_and_shares_are_taken_within_a_round():
    flops = training_flops(T5Config(**CASE.sizes()), rows=2, source=12, target=5)
    shapes, counts = zip(*tool.step_products(CASE), strict=True)
    # A machine of 1 GFLOP/s, in the second round of a half.
    alone = [[2e-9 * float(np.prod(shape)) * slower for shape in shapes] for slower in (1, 2)]
    assert sum(counts) > len(counts)

    def record(name: str, seconds: list[float], **more) -> dict:
        turns = [
            {"seconds": s, "cpu_seconds": 2 * s, "loss": 1.0, "peak_rss_mib": 5.0} for s in seconds
        ]
        return {"contender": name, "first": {"loss": 2.0}, "turns": turns, **more}

    ideal = flops / 1e9
    products = record("products in JAX", [0.0, 0.0])
    for turn, seconds in zip(products["turns"], alone, strict=True):
        turn["products"] = seconds
    records = [
        record("ours", [2 * ideal, 4 * ideal]),
        record("T5X", [4 * ideal, 8 * ideal]),
        products,
    ]
    ours, theirs = tool.summarise("train", records, CASE)
    assert ours["share_of_ceiling"] == pytest.approx([0.5, 0.5, 0.5])
    assert theirs["share_of_ceiling"] == pytest.approx([0.25, 0.25, 0.25])
    assert theirs["times_ours"] == pytest.approx([2.0, 2.0, 2.0])
    assert ours["ceiling_gflops"] == pytest.approx([0.625, 0.75, 0.875])


@pytest.mark.parametrize(
    "content, expected",
    [
        ("She\tO\ncoughs\tB-Sign\n\nNo\tO\n", [("She", "coughs"), ("No",)]),
        ("\nShe coughs\n\nNo\n", [("She", "coughs"), ("No",)]),
    ],
)
def test_sentences_are_read_from_lines_of_words_or_of_text(tmp_path, content, expected):
    path = tmp_path / "data"
    path.write_text(content)
    found = list(tool.read_sentences(path))
    assert [sentence.words for sentence in found] == expected
    assert all(len(sentence.tags) == len(sentence.words) for sentence in found)


def test_a_vocabulary_larger_than_the_model_is_refused(sample_vocabulary_path):
    given = argparse.Namespace(data=[], vocabulary=sample_vocabulary_path, vocab=1024)
    with pytest.raises(ValueError, match=r"has 2048 rows, the model 1024; use --vocab 2048"):
        tool.make_examples(given)
