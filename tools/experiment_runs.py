"""Many runs that depend on each other, each of which can be resumed: what the experiments share.

An experiment is a `Plan` of commands. A run that is done has `done.json` in its folder, with its
command, commit and minutes. Stopped by Ctrl-C or SIGTERM, runs save what they have; the same
command goes on. What is run and what is kept of it is left to the experiment.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from medmt5.files import write_text
from medmt5.progress import duration

ROOT = Path(__file__).parents[1]
DONE = "done.json"


class Run(NamedTuple):
    """A command, and the runs whose results it reads."""

    name: str
    needs: tuple[str, ...]
    command: list[str]


class Plan:
    """Runs, in the order in which they are worth having.

    Args:
      folder: gets one folder per run.
      data: where the data sets are.
    """

    def __init__(self, folder: Path, data: Path):
        self.folder, self.data = folder, data
        self.runs: dict[str, Run] = {}

    @property
    def vocabulary(self) -> Path:
        return self.folder / "vocabulary" / "sentencepiece.model"

    def add(self, name: str, needs: tuple[str, ...], *command: object) -> None:
        self.runs[name] = Run(name, needs, list(map(str, command)))

    def add_vocabulary(self, size: int, texts: Sequence[Path]) -> None:
        """A run that trains a vocabulary of so many pieces."""
        self.add(
            "vocabulary",
            (),
            *(sys.executable, "tools/train_vocabulary.py", "--size", size),
            *("--output", self.vocabulary, *texts),
        )

    def medmt5(
        self, name: str, verb: str, recipe: str, needs: tuple[str, ...], **macros: object
    ) -> None:
        bindings = [f"--gin.{macro}={value!r}" for macro, value in macros.items()]
        file = f"--gin_file=gin_configs/recipes/{recipe}.gin"
        self.add(name, needs, sys.executable, "-m", "medmt5.cli", verb, file, *bindings)

    def train(self, name: str, recipe: str, *needs: str, **macros: object) -> None:
        given = {"MODEL_DIR": str(self.folder / name), "VOCABULARY_PATH": str(self.vocabulary)}
        self.medmt5(name, "train", recipe, ("vocabulary", *needs), **given, **macros)

    def evaluate(self, model: str, kind: str, task: str, mode: str) -> None:
        """Score a trained model on the tests of a task, in one mode of decoding."""
        name = f"{model}-{kind}"
        self.medmt5(
            name,
            "eval",
            "tiny_eval",
            (model,),
            CHECKPOINT_PATH=str(self.folder / model),
            EVAL_OUTPUT_DIR=str(self.folder / name),
            MIXTURE_OR_TASK_NAME=task,
            DECODING=(mode,),
        )

    def done(self, name: str) -> bool:
        return (self.folder / name / DONE).exists()

    def ready(self, wanted: str) -> Iterator[Run]:
        """Runs that can begin, of those whose name matches `wanted`."""
        for run in self.runs.values():
            if fnmatch.fnmatch(run.name, wanted) and not self.done(run.name):
                if all(map(self.done, run.needs)):
                    yield run

    def kept(self, name: str) -> dict:
        """What is collected of a run that is done, beside its command, commit and minutes."""
        raise NotImplementedError


class Workers:
    """Runs side by side, each on its share of the cores."""

    def __init__(self, plan: Plan, jobs: int):
        cores = sorted(os.sched_getaffinity(0))
        self.plan = plan
        self.free = [cores[i::jobs] for i in range(jobs)]
        self.active: dict[str, tuple[subprocess.Popen, float, list[int], str]] = {}

    def start(self, run: Run) -> None:
        cores = self.free.pop()
        folder = self.plan.folder / run.name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "ab") as log:
            process = subprocess.Popen(
                run.command,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        os.sched_setaffinity(process.pid, cores)
        print(f"{time.strftime('%H:%M:%S')} {run.name} begins", flush=True)
        self.active[run.name] = (process, time.time(), cores, commit())

    def finished(self) -> None:
        """Take note of what has ended.

        Raises:
          RuntimeError: a run failed.
        """
        for name, (process, began, cores, code) in list(self.active.items()):
            if process.poll() is None:
                continue
            del self.active[name]
            self.free.append(cores)
            folder = self.plan.folder / name
            if process.returncode:
                raise RuntimeError(f"{name} failed; see {folder / 'log.txt'}")
            minutes = (time.time() - began) / 60
            command = shlex.join(self.plan.runs[name].command)
            facts = {"command": command, "commit": code, "minutes": round(minutes, 1)}
            write_text(str(folder / DONE), json.dumps(facts, indent=2))
            print(f"{time.strftime('%H:%M:%S')} {name} done, {duration(60 * minutes)}", flush=True)

    def stop(self) -> None:
        for process, *_ in self.active.values():
            process.send_signal(signal.SIGTERM)
        for process, *_ in self.active.values():
            process.wait()


def commit() -> str:
    """The commit that ran, with `+` where the tree had changes."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def run_all(plan: Plan, jobs: int, wanted: str) -> None:
    """Run what is not done yet; returns when nothing is left that can begin."""
    workers = Workers(plan, jobs)
    try:
        while True:
            workers.finished()
            waiting = [run for run in plan.ready(wanted) if run.name not in workers.active]
            if not waiting and not workers.active:
                return
            for run in waiting[: len(workers.free)]:
                workers.start(run)
            time.sleep(1)
    finally:
        workers.stop()


def collect(plan: Plan, path: str) -> None:
    """Write what is done to one file, without the paths of this machine."""
    lines = []
    for name in filter(plan.done, plan.runs):
        facts = json.loads((plan.folder / name / DONE).read_text())
        text = json.dumps({"run": name, **facts, **plan.kept(name)}, ensure_ascii=False)
        for there, said in (
            (str(plan.folder), "EXPERIMENTS"),
            (str(plan.data), "$MEDMT5_DATA_DIR"),
            (sys.executable, "python"),
        ):
            text = text.replace(there, said)
        lines.append(text + "\n")
    write_text(path, "".join(lines))
    print(f"{len(lines)} of {len(plan.runs)} runs are in {path}")


def main(
    make_plan: Callable[[Path, Path], Plan],
    about: str | None,
    arguments: Sequence[str] | None = None,
) -> None:
    """The command line of an experiment.

    Args:
      make_plan: folder of the runs, folder of the data -> plan.
      about: what `--help` says.
      arguments: by default those of the process.
    """
    flags = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--folder", type=Path, required=True, help="gets a folder per run")
    flags.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    flags.add_argument("--only", default="*", help="pattern of names, such as '*-0*'")
    flags.add_argument("--list", action="store_true", help="show the runs; start none")
    flags.add_argument("--collect", metavar="FILE", help="write the results so far; start none")
    given = flags.parse_args(arguments)
    data = os.environ.get("MEDMT5_DATA_DIR")
    if not data:
        flags.error("MEDMT5_DATA_DIR is not set; docs/data.md says what belongs there")
    plan = make_plan(given.folder.absolute(), Path(data).absolute())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if given.list:
        for name in fnmatch.filter(plan.runs, given.only):
            print(f"{'done' if plan.done(name) else '    '} {name}")
    elif given.collect:
        collect(plan, given.collect)
    else:
        try:
            run_all(plan, given.jobs, given.only)
        except KeyboardInterrupt:
            sys.exit(130)
        except RuntimeError as error:
            sys.exit(f"error: {error}")
