"""The runner of experiments: what it runs, in which order, and what it keeps of it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import experiment_runs  # noqa: E402 (the tools folder is no package)
import experiment_tables  # noqa: E402
import experiments  # noqa: E402


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "data").mkdir()
    return experiments.Plan(tmp_path / "runs", tmp_path / "data")


def fake(plan, name, needs=(), code="print('done')"):
    plan.runs[name] = experiment_runs.Run(name, tuple(needs), [sys.executable, "-c", code])


def test_every_run_needs_runs_that_come_before_it(plan):
    seen = set()
    for run in plan.runs.values():
        assert set(run.needs) <= seen, run.name
        seen.add(run.name)
    # Seeds 0 to 2 of 7 sets alone, 2 models of all, and 2 sets without medical text, each tested.
    assert sum(name.endswith("-test") for name in seen) == 3 * (7 + 2 + 2 * 2)
    assert sum(name.endswith("-free") for name in seen) == 3 * 7 + 2


def test_runs_wait_for_what_they_need_and_are_not_repeated(plan):
    plan.runs.clear()
    note = plan.folder / "order.txt"
    code = f"open({str(note)!r}, 'a').write('{{}} ')"
    fake(plan, "second", ["first"], code.format("second"))
    fake(plan, "first", (), code.format("first"))
    plan.folder.mkdir()
    for _ in range(2):
        experiment_runs.run_all(plan, 2, "*")
        assert note.read_text() == "first second "
    facts = json.loads((plan.folder / "first" / "done.json").read_text())
    assert facts.keys() == {"command", "commit", "minutes"}


def test_a_run_that_fails_ends_all_and_is_not_done(plan):
    plan.runs.clear()
    fake(plan, "bad", (), "print('why'); raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="bad failed; see .*log.txt"):
        experiment_runs.run_all(plan, 1, "*")
    assert not plan.done("bad")
    assert (plan.folder / "bad" / "log.txt").read_text() == "why\n"


def test_what_is_collected_names_no_folder_of_this_machine_and_makes_the_tables(
    plan, tmp_path, capsys, monkeypatch
):
    for seed, f1 in ((0, 60.0), (1, 62.0)):
        for name, score in (("e3c_es-medical", f1), ("e3c_es-general", f1 - 5)):
            folder = plan.folder / f"{name}-{seed}-test"
            folder.mkdir(parents=True)
            result = {"f1": score, "support": 9, "intervals": {"f1": [1.0, 2.0]}, "type_f1": 3.0}
            free = result | {"f1": score - 20, "faithful": 80.0}
            scores = {"e3c_es": {"constrained": result, "unconstrained": free}}
            (folder / "scores.json").write_text(json.dumps(scores))
            facts = {"command": f"{sys.executable} {folder}", "commit": "abc", "minutes": 1}
            (folder / "done.json").write_text(json.dumps(facts))
    path = tmp_path / "collected.jsonl"
    experiment_runs.collect(plan, str(path))
    assert str(tmp_path) not in path.read_text() and sys.executable not in path.read_text()
    first = json.loads(path.read_text().splitlines()[0])
    assert first["command"] == "python EXPERIMENTS/e3c_es-medical-0-test"
    kept = first["scores"]["e3c_es"]["constrained"]
    assert kept == {"f1": 60.0, "support": 9, "interval": [1.0, 2.0]}
    monkeypatch.setattr(sys, "argv", ["experiment_tables", str(path)])
    experiment_tables.main()
    text = capsys.readouterr().out
    assert "| e3c_es | 61.0 ± 1.4 (2) | 56.0 ± 1.4 (2) | – | 5.0 ± 0.0 (2) |" in text
    assert "| that set | medical | e3c_es | 61.0 ± 1.4 (2) | 41.0 ± 1.4 (2) |" in text
