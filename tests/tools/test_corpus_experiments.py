"""The comparison of raw and cleaned text: its runs, its corpora, and the loss that it measures."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import corpus_experiments as experiments  # noqa: E402 (the tools folder is no package)
import corpus_tables  # noqa: E402
import span_loss  # noqa: E402

from medmt5 import batches  # noqa: E402
from medmt5.corpus import config  # noqa: E402
from medmt5.corpus.shards import stages  # noqa: E402


@pytest.fixture
def plan(tmp_path, monkeypatch):
    data = tmp_path / "data"
    for language in ("es", "eu"):
        (data / "raw" / language).mkdir(parents=True)
        (data / "raw" / language / "a.jsonl").write_text('{"text": "Dolor."}\n')
    (data / "seqlab" / "es").mkdir(parents=True)
    (data / "seqlab" / "es" / "es-e3c-test.tsv").write_text("Dolor\tO\n")
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(data))
    return experiments.Plan(tmp_path / "runs", data)


def test_every_run_needs_runs_before_it_and_reads_the_corpus_it_is_of(plan):
    seen = set()
    for run in plan.runs.values():
        assert set(run.needs) <= seen, run.name
        seen.add(run.name)
    assert len([name for name in seen if name.startswith("loss-")]) == 3 * 2 * 2
    for name, kind in (("pretrain-raw-1", "raw"), ("loss-raw-1-on-clean", "clean")):
        command = plan.runs[name].command
        assert f"MEDMT5_CORPUS_DIR={plan.corpus(kind)}" in command
        assert f"MEDMT5_CORPUS_HELD_OUT={experiments.HELD_OUT}" in command


def test_one_corpus_is_of_every_step_and_the_other_of_none(plan):
    raw, clean = (config.load(str(plan.folder / f"{kind}.toml")) for kind in ("raw", "clean"))
    assert [source.name for source in raw.sources] == ["es", "eu"]
    assert len(raw.files()) == len(clean.files()) == 2
    assert stages(raw) == ["read", "duplicates"] and not raw.duplicates.kinds
    assert stages(clean)[1:-1] == [*experiments.STEP_NAMES, "contamination"]
    assert clean.duplicates.kinds == ["exact", "near"]


def test_what_is_kept_of_a_loss_is_its_last_line(plan):
    folder = plan.folder / "loss-raw-0-on-clean"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text('05:00 reading\n{"all": {"loss": 2.5}}\n')
    assert plan.kept("loss-raw-0-on-clean") == {"loss": {"all": {"loss": 2.5}}}
    assert plan.kept("pretrain-raw-0") == {}


def test_tables_are_means_over_seeds(tmp_path, monkeypatch, capsys):
    def loss(run, value):
        return {"run": run, "loss": {"corpus_words_es": {"loss": value}, "all": {"loss": value}}}

    sizes = {
        "read": {"es": {"documents": 1200, "bytes": 4000}, "eu": {"documents": 1, "bytes": 10}},
        "duplicates": {"es": {"documents": 1193, "bytes": 3000}},
    }
    removed = {"quality": {"es": {"short": 3, "symbols": 4}, "eu": {"short": 1}}}
    lines = [
        {"run": "build-clean", "counts": sizes, "removed": removed},
        loss("loss-raw-0-on-clean", 4.0),
        loss("loss-raw-1-on-clean", 5.0),
        loss("loss-clean-0-on-clean", 3.0),
        {
            "run": "e3c_es-raw-0-test",
            "scores": {"e3c_es": {"constrained": {"f1": 20.0, "precision": 25, "recall": 16}}},
        },
    ]
    path = tmp_path / "corpora.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(sys, "argv", ["corpus_tables", str(path)])
    corpus_tables.main()
    text = capsys.readouterr().out
    assert "| es | 1,200 | 1,193 | 75 | quality 7 |\n| eu | 1 | 0 | 0 | quality 1 |" in text
    assert "| all | – | – | 4.50 (4.00–5.00) | 3.00 |" in text
    assert "| raw | 20.0 | 25.0 | 16.0 |\n| clean | – | – | – |" in text


@pytest.mark.slow
def test_the_loss_of_all_is_the_mean_over_the_target_tokens_of_each(tmp_path, capsys):
    model = tiny.labelling_model(str(tmp_path / "model"))
    span_loss.main(["--checkpoint", model, "--task", "sample_text", "--split", "train"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    whole = found.pop("all")
    lengths = {"inputs": 128, "targets": 128}
    tables = batches.read_tables(batches.DatasetConfig("sample_text", lengths), None)
    assert [table.name for table in tables] == list(found)
    tokens = []
    for table in tables:
        indices = np.arange(len(table.raws))
        tokens.append(table.sizes(indices, indices.astype(np.uint64))[:, 1].sum())
    mean = np.average([task["loss"] for task in found.values()], weights=tokens)
    # Sums of float32 in another order.
    assert whole["loss"] == pytest.approx(mean, rel=1e-5)
