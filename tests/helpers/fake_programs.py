"""Programs that stand in for others, and the calls they got."""

import json
import os
import sys
from pathlib import Path

# -S -E: they start often, and need no packages.
PYTHON = f"#!{sys.executable} -SE\n"

PREAMBLE = """\
import json, os, pathlib, shutil, subprocess, sys
here = pathlib.Path(__file__).resolve().parents[1]
name, words = pathlib.Path(__file__).name, sys.argv[1:]
with open(here / "calls", "a") as file:
    file.write(json.dumps([name, *words]) + "\\n")
"""


class FakePrograms:
    """Puts programs into `folder/bin`, the first place of PATH, and reads what they were called.

    Args:
      folder: of a test; the programs know it as `here`.
      monkeypatch: sets PATH.
      alone: hide all other programs.
    """

    def __init__(self, folder: Path, monkeypatch, *, alone: bool = False):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        rest = "" if alone else ":/usr/bin:/bin"
        monkeypatch.setenv("PATH", f"{self.bin}{rest}")

    def add(self, name: str, python: str) -> None:
        """A program that notes its call and goes on as the text says, with its `words`."""
        self._write(name, PYTHON + PREAMBLE + python)

    def add_script(self, name: str, text: str) -> None:
        self._write(name, f"#!/bin/bash\n{text}")

    def _write(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def calls(self, *beginning: str) -> list[list[str]]:
        """Words of all calls that begin so, in their order."""
        path = self.folder / "calls"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if call[: len(beginning)] == list(beginning)]


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
