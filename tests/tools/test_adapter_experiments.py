"""What is tuned from what, what is kept of a run, and the tables made of it."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import adapter_experiments  # noqa: E402 (the tools folder is no package)
import adapter_tables  # noqa: E402
import experiment_runs  # noqa: E402


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "data").mkdir()
    return adapter_experiments.Plan(tmp_path / "runs", tmp_path / "data")


def test_every_method_begins_where_it_should_with_a_recipe_that_exists(plan):
    seen = set()
    for run in plan.runs.values():
        assert set(run.needs) <= seen, run.name
        seen.add(run.name)
        files = [word for word in run.command if word.startswith("--gin_file=")]
        assert all((ROOT / word.removeprefix("--gin_file=")).exists() for word in files)
    needed = {name: plan.runs[f"{name}-1"].needs[1] for name in adapter_experiments.METHODS}
    assert needed == dict.fromkeys(needed, "base") | {
        "promot": "prompt-1",
        "lora-promot": "lora-1",
    }
    assert plan.runs["lora-promot-without-2"].needs[1] == "lora-promot-2"


def measured(folder, step, target, other, texts=("premise", "A film.")):
    """What training leaves of an evaluation."""
    at = folder / "eval" / f"step_{step}"
    at.mkdir(parents=True)
    names = {"laptop_argument_en": target, "laptop_meqsum_en": other}
    scores = {
        "laptop_argument_en": {"unconstrained": {"accuracy": target, "unanswered": 0.0}},
        "laptop_meqsum_en": {"unconstrained": {"rouge1": other, "bleu": 1.0}},
    }
    (at / "scores.json").write_text(json.dumps(scores))
    for name in names:
        lines = [json.dumps({"predicted": text}) for text in texts]
        (at / f"{name}-unconstrained.jsonl").write_text("\n".join(lines))
    with open(folder / "eval" / "scalars.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "loss": 2.0, "accuracy": 0.5}) + "\n")


def test_tables_are_made_of_what_is_collected(plan, tmp_path, capsys, monkeypatch):
    for seed, score in ((0, 60.0), (1, 64.0)):
        folder = plan.folder / f"full-{seed}"
        measured(folder, 100, score - 20, 30.0)
        measured(folder, 200, score, 10.0, texts=["Neither.", "claim", "claim to", "premise"])
    with open(plan.folder / "full-0" / "eval" / "scalars.jsonl", "a") as file:
        file.write(json.dumps({"step": 200, "loss": 3.0}) + "\n")  # made again by a resumed run
    for name in ("base", "full-0", "full-1"):
        (plan.folder / name).mkdir(exist_ok=True)
        facts = {"command": f"x {plan.folder}", "commit": "abc", "minutes": 1}
        (plan.folder / name / "done.json").write_text(json.dumps(facts))
    path = tmp_path / "adapters.jsonl"
    experiment_runs.collect(plan, str(path))
    base, full, _ = map(json.loads, path.read_text().splitlines())
    assert base["steps"] == [] and [at["step"] for at in full["steps"]] == [100, 200]
    assert full["steps"][1] == {
        "step": 200,
        "loss": 3.0,
        "scores": {"laptop_argument_en": 60.0, "laptop_meqsum_en": 10.0},
        "captured": {"laptop_argument_en": 75.0, "laptop_meqsum_en": 75.0},
    }
    monkeypatch.setattr(sys, "argv", ["adapter_tables", str(path)])
    adapter_tables.main()
    text = capsys.readouterr().out
    end = "62.0 (60.0–64.0) | 10.0 (10.0–10.0) | 2.50 (2.00–3.00) | 75.0 (75.0–75.0)"
    assert f"| all parameters | {end} |" in text
    assert "| 100 | 42.0 / 30.0 |\n| 200 | 62.0 / 10.0 |" in text
    assert "| ProMoT | – | – | – | – |" in text


def test_the_figure_begins_where_the_base_was_and_ends_where_a_run_did():
    def at(score):
        return {0: {"scores": {adapter_tables.TARGET: 50.0, "other": score}}}

    curves = {"before": {1: at(20.0)}, "full": {100: at(10.0), 200: at(0.0)}}
    drawn = ElementTree.fromstring(adapter_tables.figure(curves))
    (line,) = (path for path in drawn.findall("{*}path") if path.get("stroke"))
    floor, top = adapter_tables.HEIGHT - adapter_tables.BOTTOM, adapter_tables.TOP
    left, right = adapter_tables.LEFT, adapter_tables.WIDTH - adapter_tables.RIGHT
    points = [tuple(map(float, point.split())) for point in line.get("d")[1:].split("L")]
    assert points == [(left, top), ((left + right) / 2, (floor + top) / 2), (right, floor)]
    assert "all parameters" in {text.text for text in drawn.findall("{*}text")}
