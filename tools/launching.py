"""What `launch_tpu` and `launch_slurm` share: the flags of a run, its command, running programs.

Only the standard library: a checkout and the user's own gcloud or sbatch are enough. What a cloud
or a cluster is asked for is in those two.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What a process that was told to stop ends with, as if SIGTERM had killed it.
STOPPED = 128 + 15

# Bash: runs "$@" and puts how it ends into $status. `medmt5 train` saves and ends with 0 when it is
# told to stop, which looks like the end of training: the status is STOPPED then. A signal
# interrupts `wait`, hence the loop.
UNTIL_TOLD = f"""\
"$@" & child=$!
trap 'told=1; kill -TERM $child' TERM
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
if [ $told ]; then status={STOPPED}; fi
"""


class Failed(Exception):
    """A program that was called, or the training itself, has failed; the message says how."""

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status


def run_name(text: str) -> str:
    """A name that Google Cloud, SLURM and file systems take."""
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name: use up to 40 of a-z, 0-9 and -, beginning with a letter"
        )
    return text


def parser(program: str, about: str) -> argparse.ArgumentParser:
    """A parser with the flags that every run has."""
    flags = argparse.ArgumentParser(
        prog=program,
        description=about,
        epilog="All --gin.NAME=VALUE flags go to `medmt5 train` as they are; "
        "--gin.MODEL_DIR=\"'...'\" is needed: a run goes on from there. The same command again "
        "joins a run that is there already.",
    )
    flags.add_argument("--name", type=run_name, required=True, help="of the run")
    flags.add_argument(
        "--recipe",
        action="append",
        default=[],
        help="gin file; repeat, later ones win: a recipe, then gin_configs/meshes/...",
    )
    flags.add_argument(
        "--max_restarts", type=int, default=20, help="after preemptions; %(default)s by default"
    )
    flags.add_argument("--poll", type=float, default=15, help="seconds between looks at the state")
    flags.add_argument("--dry_run", action="store_true", help="print every command, run none")
    return flags


def parse(
    flags: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command line; `--gin.` flags are returned apart, checked for their form."""
    gin = [argument for argument in arguments if argument.startswith("--gin.")]
    for flag in gin:
        if "=" not in flag:
            raise ValueError(f"{flag} has no value; write {flag}=VALUE")
        if "\n" in flag:
            raise ValueError(f"{flag.splitlines()[0]}... has several lines; write it on one")
    return flags.parse_args([a for a in arguments if not a.startswith("--gin.")]), gin


def model_dir(gin: Sequence[str]) -> str:
    """MODEL_DIR among the gin flags; the last one wins.

    Raises:
      ValueError: there is none, or it is no quoted string.
    """
    values = [flag.partition("=")[2] for flag in gin if flag.startswith("--gin.MODEL_DIR=")]
    if not values:
        raise ValueError("no MODEL_DIR, where a run is saved; add --gin.MODEL_DIR=\"'...'\"")
    try:
        value = ast.literal_eval(values[-1].strip())
    except (SyntaxError, ValueError):
        value = None
    if not isinstance(value, str):
        raise ValueError(
            f"MODEL_DIR {values[-1]} is no gin string; mind the quotes: --gin.MODEL_DIR=\"'...'\""
        )
    return value


def ships_with_medmt5(recipe: str) -> bool:
    """Whether `medmt5 train` finds this gin file wherever it is installed."""
    return recipe.startswith("gin_configs/") and (ROOT / recipe).is_file()


def own_recipes(recipes: Sequence[str]) -> list[Path]:
    """The recipes that do not ship with medmt5.

    Raises:
      ValueError: none is given at all, or one is missing.
    """
    if not recipes:
        raise ValueError("no --recipe; try --recipe gin_configs/recipes/quickstart_pretrain.gin")
    own = [Path(recipe) for recipe in recipes if not ships_with_medmt5(recipe)]
    if missing := [str(path) for path in own if not path.is_file()]:
        raise ValueError(f"there is no recipe {missing[0]}")
    return own


def train_command(recipes: Sequence[str | Path], gin: Sequence[str]) -> list[str]:
    """The words of the command that every host runs."""
    return ["medmt5", "train", "--distributed", *(f"--gin_file={r}" for r in recipes), *gin]


def again() -> str:
    """This program as the user would call it, without its arguments."""
    return f"python {sys.argv[0]}"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def elapsed(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class Progress:
    """Says a state when it changes, and every ten minutes while it does not."""

    PERIOD = 600

    def __init__(self, name: str):
        self._name, self._state = name, ""
        self._since = self._said = time.monotonic()

    def tell(self, state: str) -> None:
        now = time.monotonic()
        if state != self._state:
            self._state, self._since = state, now
            say(f"{self._name}: {state}")
        elif now - self._said > self.PERIOD:
            say(f"{self._name}: {state} for {elapsed(now - self._since)}")
        else:
            return
        self._said = now


class Programs:
    """Runs other programs, or in a dry run prints what would be run."""

    def __init__(self, dry_run: bool):
        self.dry_run = dry_run

    def need(self, program: str, advice: str) -> None:
        """Raise Failed with the advice unless the program is installed."""
        if not self.dry_run and shutil.which(program) is None:
            raise Failed(f"{program} is not on PATH: {advice}")

    def run(self, *command: str) -> None:
        """Run to the end; what the program prints goes to the terminal."""
        print(shlex.join(command), flush=True)
        if self.dry_run:
            return
        if status := subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
            raise Failed(f"{shlex.join(command[:4])} ... failed with status {status}; see above")

    def ask(self, *command: str) -> str:
        """Run to the end and return what the program prints; its errors become ours."""
        if self.dry_run:
            print(shlex.join(command), flush=True)
            return ""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{shlex.join(command[:4])} ... says:\n{done.stderr.strip()}")
        return done.stdout

    @contextlib.contextmanager
    def following(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program whose output goes to the terminal, for as long as this lasts."""
        if self.dry_run:
            print(shlex.join(command), flush=True)
            command = ("true",)
        # A group of its own, to be ended with what it has started: gcloud starts ssh.
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def main(program: str, launch: Callable[[Sequence[str]], int]) -> None:
    """Run a launcher on the command line's arguments; errors become a message and a status."""
    try:
        sys.exit(launch(sys.argv[1:]))
    except ValueError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except Failed as failure:
        print(f"{program}: {failure}", file=sys.stderr)
        sys.exit(failure.status)
