"""What the hosts of a TPU slice are given: one folder with medmt5, the recipes and `run.sh`.

`run.sh` installs, starts and watches training on its own host, so what is called from afar is short
and the same for every run, and the user's flags pass through no other shell. How the folder gets
there is `launch_tpu`'s business.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import launching
from launching import Programs

RUN_SH = """\
#!/bin/bash
# Written by launch_tpu for {name}: run.sh install | start | state | follow | last | run
cd "$(dirname "$0")"
case $1 in
install)
  # First end what an earlier start has left: a TPU serves one process at a time.
  if [ -e pid ]; then
    kill -TERM -- -$(cat pid) 2>/dev/null
    for _ in {{1..300}}; do kill -0 -- -$(cat pid) 2>/dev/null || break; sleep .2; done
    kill -KILL -- -$(cat pid) 2>/dev/null
  fi
  rm -f pid status
  # The image's own Python may be too old.
  export PATH=$HOME/.local/bin:$PATH
  command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh || exit
  uv venv --quiet --allow-existing --python 3.12 env || exit
  # TensorBoard's events reach gs:// through google-cloud-storage.
  uv pip install --quiet --python env/bin/python --reinstall-package medmt5 \\
    google-cloud-storage {package}
  ;;
start)
  if [ "$(bash run.sh state)" = running ]; then exit; fi
  setsid bash run.sh run >log 2>&1 </dev/null &
  echo $! >pid
  ;;
state)
  if [ -e status ]; then echo "ended $(cat status)"
  elif [ -e pid ] && kill -0 $(cat pid) 2>/dev/null; then echo running
  else echo none
  fi
  ;;
follow)
  tail -n 50 -s .2 --pid=$(cat pid) -f log
  ;;
last)
  tail -n 20 log | sed "s/^/$(hostname): /"
  ;;
run)
  export PATH=$PWD/env/bin:$PATH {env}
  set -- {command}
  {until_told}
  echo $status >status
  exit $status
  ;;
esac
"""


def folder_name(run: str) -> str:
    """Name of the folder, in the home folder of every host."""
    return f"medmt5-{run}"


def run_sh(flags: argparse.Namespace, gin: Sequence[str]) -> str:
    """The text of `run.sh`."""
    if flags.package.startswith("git+"):
        package = shlex.quote(f"medmt5[data,tpu] @ {flags.package}")
    else:  # the wheel beside run.sh; the newest, where an earlier launch brought another version
        package = '"medmt5[data,tpu] @ file://$PWD/$(ls -t *.whl | head -n 1)"'
    recipes = [r if launching.ships_with_medmt5(r) else Path(r).name for r in flags.recipe]
    return RUN_SH.format(
        name=flags.name,
        package=package,
        env=shlex.join(flags.env),
        command=shlex.join(launching.train_command(recipes, gin)),
        until_told=launching.UNTIL_TOLD.rstrip().replace("\n", "\n  "),
    )


def check(flags: argparse.Namespace) -> None:
    """Raise ValueError for what cannot go into the folder."""
    names = [path.name for path in launching.own_recipes(flags.recipe)]
    if len(set(names)) < len(names):
        raise ValueError(f"recipes go into one folder: {', '.join(names)} need different names")
    if bad := [text for text in flags.env if not text.partition("=")[0].isidentifier()]:
        raise ValueError(f"--env {bad[0]} is not NAME=VALUE")
    if not flags.package.startswith("git+") and not Path(flags.package).exists():
        raise ValueError(f"there is no {flags.package}; --package is a checkout, a wheel, git+URL")


def copy_source(checkout: Path, to: Path) -> Path:
    """Copy what a wheel is made of: built in place, it would hold files that are deleted since."""
    to.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, to)
    for name in ("medmt5", "gin_configs", "tasks"):
        shutil.copytree(checkout / name, to / name)
    return to


@contextlib.contextmanager
def folder(programs: Programs, flags: argparse.Namespace, gin: Sequence[str]) -> Iterator[Path]:
    """The folder, for as long as this lasts; a dry run shows what is in it."""
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent, folder_name(flags.name))
        path.mkdir()
        (path / "run.sh").write_text(run_sh(flags, gin), encoding="utf-8")
        for recipe in launching.own_recipes(flags.recipe):
            shutil.copy(recipe, path)
        if Path(flags.package).is_file():
            shutil.copy(flags.package, path)
        elif Path(flags.package).is_dir():
            source = copy_source(Path(flags.package), Path(parent, "source"))
            wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(path))
            programs.run(sys.executable, *wheel, str(source))
        if programs.dry_run:
            print(f"# {path} holds {', '.join(sorted(p.name for p in path.iterdir()))}; run.sh is:")
            print((path / "run.sh").read_text(encoding="utf-8"))
        yield path
