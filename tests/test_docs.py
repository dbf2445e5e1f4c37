"""The commands of docs/ are accepted, and name files that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from fake_programs import FakePrograms

from medmt5 import launch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import launch_slurm  # noqa: E402 (the tools folder is no package)
import launch_tpu  # noqa: E402

LAUNCHERS = {"tools/launch_tpu.py": launch_tpu.launch, "tools/launch_slurm.py": launch_slurm.launch}


def blocks(kind):
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    return [b for text in texts for b in re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL)]


def commands(*beginnings):
    lines = [line for b in blocks("sh") for line in b.replace("\\\n", " ").splitlines()]
    return [re.sub(" +", " ", line) for line in lines if line.startswith(beginnings)]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The recipe of docs/tpu.md, under its name, in the working folder."""
    (text,) = blocks("gin")
    monkeypatch.chdir(tmp_path)
    Path("my_recipe.gin").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("line", commands("python tools/", "python3 tools/"))
def test_launch_commands_are_accepted(line, recipe, tmp_path, monkeypatch):
    programs = FakePrograms(tmp_path, monkeypatch)
    _, tool, *words = shlex.split(line)
    assert LAUNCHERS[tool]([*words, *([] if "--dry_run" in words else ["--dry_run"])]) == 0
    assert not programs.calls()


@pytest.mark.parametrize("line", commands("medmt5 train"))
def test_train_commands_are_accepted(line, recipe):
    bindings, others = launch.gin_flags(shlex.split(line)[2:])
    flags = launch.parser("train").parse_args(others)
    assert bindings
    for file in flags.gin_file:
        assert Path(file).exists() or (ROOT / file).exists(), file


FIRST, *OTHERS = commands("medmt5 plan")


@pytest.mark.parametrize(
    "line", [FIRST, *(pytest.param(line, marks=pytest.mark.slow) for line in OTHERS)]
)
def test_the_recipe_fits_where_the_docs_plan_it(line, recipe):
    # In a process of its own: it sets the number of devices.
    command = [sys.executable, "-m", "medmt5.cli", *shlex.split(line)[1:], "--compile", "none"]
    env = tiny.subprocess_env(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mesh_files_that_are_named_exist():
    named = {
        name
        for path in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"gin_configs/[\w/]+\.gin", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 6
    assert not [name for name in named if not (ROOT / name).exists()]
