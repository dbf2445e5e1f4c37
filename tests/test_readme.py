"""The README's map, recipes and commands are those of the tree."""

import re
import shlex
from pathlib import Path

import pytest

from medmt5 import cli, launch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_every_path_of_the_map_exists_and_every_module_is_on_it():
    rows = re.findall(r"^\| (`[^|]*`) \|", README, flags=re.MULTILINE)
    named = set()
    for row in rows:
        folder = ""
        for path in re.findall(r"`([^`]+)`", row):
            path = path if "/" in path else f"{folder}/{path}"
            folder = path.rsplit("/", 1)[0]
            named.add(path.rstrip("/"))
    assert not [path for path in named if not (ROOT / path).exists()]
    modules = {f"medmt5/{path.name}" for path in (ROOT / "medmt5").glob("*.py")}
    assert modules - named == {"medmt5/__init__.py"}


@pytest.mark.parametrize("line", [line for line in shell_lines() if "medmt5 " in line])
def test_commands_of_the_readme_name_real_commands_and_gin_files(line):
    words = shlex.split(line[line.index("medmt5 ") :].split("|")[0])
    assert words[1] in cli.COMMANDS
    if words[1] in launch.COMMANDS:
        bindings, others = launch.gin_flags(words[2:])
        flags = launch.parser(words[1]).parse_args(others)
        assert bindings
        for file in flags.gin_file:
            assert file == "my_recipe.gin" or (ROOT / file).exists(), file


def test_make_targets_of_the_readme_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"`?make ([\w-]+)`?", README)) <= {*targets, "make"}
