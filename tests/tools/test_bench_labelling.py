"""The benchmark's calibration, its equality check and its table, at the smallest size."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_labelling as tool  # noqa: E402 (the tools folder is no package)

from medmt5.formats.labelling import Labelling  # noqa: E402
from medmt5.state import Architecture  # noqa: E402

pytestmark = pytest.mark.slow  # compiles every method

SIZES = ["--layers", "1", "--embed", "32", "--heads", "2", "--mlp", "32"]
GRID = ["--vocabularies", "1024", "--words", "5", "--batches", "2", "--widths", "4"]


def test_ours_write_the_same_and_every_method_has_a_line(tmp_path, capsys):
    path = tmp_path / "bench.json"
    tool.main(
        [
            *SIZES,
            *GRID,
            "--beams",
            "2",
            "--sentences",
            "4",
            "--repeats",
            "2",
            "--no-hf",
            "--json",
            str(path),
        ]
    )
    results = json.loads(path.read_text())["results"]
    names = [record["method"] for record in results]
    ours = ["token by token", "speculative, width 4", "in turns, width 16", "predictor (width 16)"]
    assert names == [tool.FIRST, *ours, "beam 2", "beam 2, allowed rows"]
    printed = capsys.readouterr().out
    for record in results:
        greedy = not record["method"].startswith("beam")
        assert record["sentences"] == 4
        assert record["same_as_first"] == (4 if greedy else None)
        assert len(record["seconds"]) == 2
        low, middle, high = record["ms_per_sentence"]
        assert 0 < low <= middle <= high
        assert f"  {record['method']} " in printed
    assert results[0]["times_faster"] == [1.0, 1.0, 1.0]
    tokens = results[0]["tokens_per_sentence"]
    _, per_row = results[0]["passes_per_batch_and_row"]
    assert per_row == pytest.approx(tokens)  # one by one
    assert results[2]["passes_per_batch_and_row"][1] < tokens / 2


@pytest.mark.parametrize("share", [0.03, 0.5])
def test_calibrated_weights_open_about_as_many_spans_as_asked_for(share):
    config = tool.T5Config(
        vocab_size=1024,
        dtype="float32",
        emb_dim=64,
        num_heads=2,
        num_encoder_layers=1,
        num_decoder_layers=1,
        mlp_dim=64,
        dropout_rate=0.0,
    )
    architecture, format_ = Architecture.t5(config), Labelling(tool.Ids(1024), ["A", "B"])
    params = tool.calibrated(architecture, format_, spans_per_word=share)
    examples = tool.sentences(format_, count=32, words=20, rows=1024, seed=5)
    predictor = tool.Predictor(architecture, params, eos_id=tool.EOS)
    found = predictor.predict(examples, format_=format_)
    spans = np.mean([np.isin(p.tokens, format_.tags.opens).sum() / 20 for p in found])
    # Calibrated on other sentences and before any tag is written.
    assert 0.4 * share < spans < 2 * share


def test_hugging_face_is_made_to_write_as_many_tokens():
    pytest.importorskip("transformers")
    results = tool.main([*SIZES, *GRID, "--sentences", "2", "--repeats", "1", "--labels", "40"])
    names = [record["method"] for record in results]
    assert names[-2:] == ["HF greedy", "HF beam 4"]
    assert results[-1]["same_as_first"] is None  # it is not constrained


def test_the_peer_needs_transformers(capsys):
    with pytest.raises(SystemExit):
        tool.parse(["--peer", "anywhere", "--no-hf"])
    assert "--peer runs on transformers' model" in capsys.readouterr().err
