"""The benchmark for accelerators, at the smallest size on a CPU: its jobs, its lines, its sizes."""

import ast
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_gpu as tool  # noqa: E402 (the tools folder is no package)

pytestmark = pytest.mark.slow  # each job is a process that compiles

TINY = tool.Step("medmt5", "quick", 512, 32, 16, 2)


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_sizes_are_those_of_the_gin_files(size):
    text = (ROOT / f"gin_configs/models/mt5/{size}.gin").read_text()
    base = (ROOT / "gin_configs/models/mt5/base.gin").read_text()
    found = {
        name: ast.literal_eval(value)
        for name, value in re.findall(r"^  (\w+) = ([^%\n]+)$", base + text, re.M)
    }
    (step,) = {
        job.step
        for job in tool.jobs(quick=False, batch=64)
        if job.part == "steps" and job.step.size == size and job.step.vocab == tool.MT5_WORDS
    }
    model = step.model()
    assert {name: getattr(model, name) for name in found} == found | {"dtype": model.dtype}
    assert model.dtype == found["dtype"]
    macros = dict(re.findall(r"^(REMAT_POLICY|SCAN_LAYERS) = (.+)$", base + text, re.M))
    assert (step.remat, step.scan) == tuple(map(ast.literal_eval, macros.values()))


def test_every_job_has_a_line_and_a_record(tmp_path, capsys):
    path = tmp_path / "gpu.jsonl"
    tool.main(["--quick", "--only", "steps", "loss", "--json", str(path)])
    printed = capsys.readouterr().out
    step, loss = map(json.loads, path.read_text().splitlines())
    assert tool.HEADER in printed
    assert f"| {TINY.title()} | 2 | " in printed
    assert step["step"]["batch"] == step["batch"] == 2
    assert len(step["seconds"]) == tool.REPEATS
    low, middle, high = step["quartiles"]
    assert 0 < low <= middle <= high
    assert step["tokens_per_second"] == pytest.approx(2 * 48 / middle)
    assert step["mfu"] is None  # nobody says what a CPU's peak is
    assert 0 < step["loss"] < 20
    assert "chunks of 16" in loss["output"]
    assert loss["output"] in printed


def test_pytorch_runs_the_same_shape():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    record, text = tool.start(tool.Job("torch", dataclasses.replace(TINY, engine="torch")), 300)
    assert record["batch"] == 2, record
    assert text.startswith("| torch, T5 1.1 quick 32/16 | 2 | ")


def test_the_batch_is_halved_until_it_fits(capsys):
    def attempt(rows: int) -> dict:
        if rows > 8:
            raise tool.DoesNotFit(f"{rows} GiB of 8")
        return {"loss": 1.0}

    found = tool.largest_fitting(32, attempt)
    assert found == {"loss": 1.0, "batch": 8, "did_not_fit": [32, 16]}
    assert "batch 32 does not fit: 32 GiB of 8" in capsys.readouterr().err

    def never(rows: int) -> dict:
        raise tool.DoesNotFit("no")

    with pytest.raises(tool.DoesNotFit):
        tool.largest_fitting(4, never)


def test_a_job_that_fails_or_runs_out_of_time_costs_no_other():
    record, text = tool.start(tool.Job("loss", tool=("bench_loss.py", "--tokens", "many")), 60)
    assert "invalid int value: 'many'" in record["error"]
    assert "failed: " in text
    record, text = tool.start(tool.Job("steps", TINY), 0.01)
    assert record["error"] == "out of time"
    record, _ = tool.start(tool.Job("attention", tool=("no_such_tool.py",)), 60)
    assert record["error"] == "no such tool"


def test_mfu_is_that_of_the_counted_products():
    step = tool.Step("medmt5", "large", tool.MT5_WORDS, 1024, 256, 64)
    record = {"device": "NVIDIA H100 80GB HBM3", "batch": 16, "seconds": [1.0, 1.0, 1.0]}
    found = tool.finished(step, record)
    assert found["sequences_per_second"] == 16.0
    assert found["tokens_per_second"] == 16 * 1280
    assert found["mfu"] == pytest.approx(found["flops"] / 989e12)
    # Six per parameter and token, the head for targets alone, and what attention adds: 10 to 30 %.
    body, head = 717_351_936, 1024 * 250_112
    encoder = 24 * (4 * 1024 * 1024 + 3 * 1024 * 2816)
    plain = 6 * 16 * (1024 * encoder + 256 * (body - encoder + head))
    assert 1.1 * plain < found["flops"] < 1.3 * plain


def test_it_needs_neither_tensorflow_nor_seqio():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'seqio', 'gin', 'orbax')));"
        "import bench_gpu as tool;"
        "tool.our_step(tool.Step('medmt5', 'quick', 512, 32, 16, 1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tools", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
