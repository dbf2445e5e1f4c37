"""The main job, whole, and from a wheel that is installed elsewhere; at the smallest size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# As a user has it: the suite's own flags (eight devices, no optimisation) make it ten times slower.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def run(*command, cwd, **kwargs):
    kwargs = {"env": ENVIRONMENT} | kwargs
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_quickstart_trains_scores_labels_and_reports_and_its_model_labels_lines(tmp_path):
    medmt5 = (sys.executable, "-m", "medmt5.cli")
    steps = ("--pretrain-steps", "30", "--finetune-steps", "30")
    done = run(*medmt5, "quickstart", "-o", "out", *steps, cwd=tmp_path)
    assert "sample_clinical_es" in done.stdout
    scores = json.loads((tmp_path / "out/eval/scores.json").read_text())
    assert set(scores) == {f"sample_clinical_{lang}" for lang in ("en", "es", "fr", "it")}
    assert all(s["constrained"]["faithful"] == 100.0 for s in scores.values())
    report = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<svg" in report and "Fine-tuning" in report
    text = "She takes ramipril for arterial hypertension."
    labelled = run(*medmt5, "label", "-m", "out/finetune", cwd=tmp_path, input=text + "\n")
    assert json.loads(labelled.stdout)["text"] == text


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_finds_its_recipes_tasks_and_sample_data(tmp_path):
    pip = (sys.executable, "-m", "pip", "--quiet")
    run(*pip, "wheel", str(ROOT), "--no-deps", "-w", str(tmp_path), cwd=tmp_path)
    (wheel,) = tmp_path.glob("medmt5-*.whl")
    site = tmp_path / "site"
    run(*pip, "install", "--no-deps", "--target", str(site), str(wheel), cwd=tmp_path)
    recipe = "gin_configs/recipes/quickstart_pretrain.gin"
    done = run(
        sys.executable,
        "-c",
        "import medmt5, medmt5.cli as c; print(medmt5.__file__); c.main()",
        "train",
        f"--gin_file={recipe}",
        "--gin.MODEL_DIR='never'",
        "--dry_run",
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": str(site)},
    )
    assert str(site) in done.stdout
    assert "dry run" in done.stderr
    assert not (tmp_path / "never").exists()
