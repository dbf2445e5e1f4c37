"""The experiments on real text behind docs/results.md, run by run, each of which can be resumed.

    python tools/experiments.py --folder runs/experiments --list
    python tools/experiments.py --folder runs/experiments --jobs 2
    python tools/experiments.py --folder runs/experiments --collect results/experiments.jsonl

Needs MEDMT5_DATA_DIR. Models of 2 M parameters from scratch. What is compared:

(a) constrained against unconstrained decoding: every model is scored both ways;
(b) pre-training on medical text against general text and against none;
(c) one model per set against one model of all sets;
(d) E3C and DIANN across languages: each language's model on the tests of all, and a dictionary of
    the training mentions of English and of the language itself;
(e) one model of all sets with and without label prompts.

A run that is done has `done.json` in its folder, with its command, commit and minutes. Stopped by
Ctrl-C or SIGTERM, runs save what they have; the same command goes on.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from medmt5.files import write_text
from medmt5.reporting import duration

ROOT = Path(__file__).parents[1]
DONE = "done.json"
SEEDS = (0, 1, 2)
LANGUAGES = ("en", "es", "fr", "it")
# Steps of 16 rows of 128 tokens: about 100 epochs of E3C, 20 of the others.
STEPS = {
    **{f"e3c_{lang}": 1200 for lang in LANGUAGES},
    "diann_en": 1500,
    "diann_es": 1500,
    "ncbi_disease_en": 2500,
}
ALL_STEPS = 4000
KEPT = ("f1", "precision", "recall", "support", "faithful")
TRAINING_TEXT = [
    "seqlab/en/en-ncbi-disease-train.tsv",
    *(f"seqlab/{lang}/{lang}-diann-train.tsv" for lang in ("en", "es")),
    *(f"seqlab/{lang}/{lang}-e3c-train.tsv" for lang in LANGUAGES),
]


class Run(NamedTuple):
    """A command, and the runs whose results it reads."""

    name: str
    needs: tuple[str, ...]
    command: list[str]


class Plan:
    """All runs, in the order in which they are worth having.

    Args:
      folder: gets one folder per run.
      data: where the data sets are.
    """

    def __init__(self, folder: Path, data: Path):
        self.folder, self.data = folder, data
        self.runs: dict[str, Run] = {}
        raw = [path for lang in LANGUAGES for path in sorted(data.glob(f"raw/{lang}/*.jsonl"))]
        texts = [*(data / path for path in TRAINING_TEXT), *raw]
        self._add(
            "vocabulary",
            (),
            *(sys.executable, "tools/train_vocabulary.py", "--size", "4084"),
            *("--output", self.vocabulary, *texts),
        )
        for corpus, mixture in (
            ("medical", "raw_text_and_copy"),
            ("general", "general_text_and_copy"),
        ):
            self._train(f"pretrain-{corpus}", "tiny_raw_multilingual", MIXTURE_OR_TASK_NAME=mixture)
        for name in ("e3c", "diann"):
            for lang in LANGUAGES if name == "e3c" else ("en", "es"):
                self._dictionary(name, lang, "en")
                self._dictionary(name, lang, lang)
        for seed in SEEDS:
            for task in STEPS:
                self._labelling(task, "medical", seed)
            for prompts in ("", "_shared"):
                self._labelling(f"laptop_labelling{prompts}_balanced", "medical", seed)
            for task in ("e3c_es", "diann_en"):
                for corpus in ("general", "none"):
                    self._labelling(task, corpus, seed)

    @property
    def vocabulary(self) -> Path:
        return self.folder / "vocabulary" / "sentencepiece.model"

    def _add(self, name: str, needs: tuple[str, ...], *command: object) -> None:
        self.runs[name] = Run(name, needs, list(map(str, command)))

    def _medmt5(
        self, name: str, verb: str, recipe: str, needs: tuple[str, ...], **macros: object
    ) -> None:
        bindings = [f"--gin.{macro}={value!r}" for macro, value in macros.items()]
        file = f"--gin_file=gin_configs/recipes/{recipe}.gin"
        self._add(name, needs, sys.executable, "-m", "medmt5.cli", verb, file, *bindings)

    def _train(self, name: str, recipe: str, *needs: str, **macros: object) -> None:
        given = {"MODEL_DIR": str(self.folder / name), "VOCABULARY_PATH": str(self.vocabulary)}
        self._medmt5(name, "train", recipe, ("vocabulary", *needs), **given, **macros)

    def _labelling(self, task: str, corpus: str, seed: int) -> None:
        """Fine-tuning, and the scores of its tests: in all languages of a set."""
        tested = task.rpartition("_")[0] if task.startswith(("e3c", "diann")) else task
        name = f"{task}-{corpus}-{seed}"
        initial = None if corpus == "none" else f"pretrain-{corpus}"
        self._train(
            name,
            "tiny_labelling",
            *([initial] if initial else []),
            INITIAL_CHECKPOINT_PATH=initial and str(self.folder / initial),
            MIXTURE_OR_TASK_NAME=task,
            TRAIN_STEPS=STEPS.get(task, ALL_STEPS),
            RANDOM_SEED=seed,
        )
        # Free decoding takes several times as long: on the sets that were trained on alone.
        for kind, mixture, mode in (
            ("test", tested, "constrained"),
            ("free", task, "unconstrained"),
        ):
            self._medmt5(
                f"{name}-{kind}",
                "eval",
                "tiny_eval",
                (name,),
                CHECKPOINT_PATH=str(self.folder / name),
                EVAL_OUTPUT_DIR=str(self.folder / f"{name}-{kind}"),
                MIXTURE_OR_TASK_NAME=mixture,
                DECODING=(mode,),
            )

    def _dictionary(self, name: str, lang: str, trained: str) -> None:
        self._add(
            f"dictionary-{name}-{trained}-{lang}",
            (),
            *(sys.executable, "tools/dictionary_baseline.py"),
            *("--train", self.data / f"seqlab/{trained}/{trained}-{name}-train.tsv"),
            *("--test", self.data / f"seqlab/{lang}/{lang}-{name}-test.tsv"),
        )

    def done(self, name: str) -> bool:
        return (self.folder / name / DONE).exists()

    def ready(self, wanted: str) -> Iterator[Run]:
        """Runs that can begin, of those whose name matches `wanted`."""
        for run in self.runs.values():
            if fnmatch.fnmatch(run.name, wanted) and not self.done(run.name):
                if all(map(self.done, run.needs)):
                    yield run


class Workers:
    """Runs side by side, each on its share of the cores."""

    def __init__(self, plan: Plan, jobs: int):
        cores = sorted(os.sched_getaffinity(0))
        self.plan = plan
        self.free = [cores[i::jobs] for i in range(jobs)]
        self.active: dict[str, tuple[subprocess.Popen, float, list[int]]] = {}

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
        self.active[run.name] = (process, time.time(), cores)

    def finished(self) -> None:
        """Take note of what has ended.

        Raises:
          RuntimeError: a run failed.
        """
        for name, (process, began, cores) in list(self.active.items()):
            if process.poll() is None:
                continue
            del self.active[name]
            self.free.append(cores)
            folder = self.plan.folder / name
            if process.returncode:
                raise RuntimeError(f"{name} failed; see {folder / 'log.txt'}")
            minutes = (time.time() - began) / 60
            command = shlex.join(self.plan.runs[name].command)
            facts = {"command": command, "commit": commit(), "minutes": round(minutes, 1)}
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


def results(plan: Plan) -> Iterator[dict]:
    """Scores of every finished test, with the commands of test and training."""
    for name in filter(plan.done, plan.runs):
        folder = plan.folder / name
        facts = json.loads((folder / DONE).read_text())
        if name.startswith("dictionary-"):
            _, data, trained, lang = name.split("-")
            lines = (folder / "log.txt").read_text().splitlines()
            scores = {f"{data}_{lang}": {f"dictionary {trained}": json.loads(lines[-1])}}
        elif (folder / "scores.json").exists():
            scores = json.loads((folder / "scores.json").read_text())
        else:
            scores = {}
        yield {"run": name, **facts, "scores": scores_kept(scores)}


def scores_kept(scores: dict) -> dict:
    """Of all scores those that results/experiments.jsonl is to keep."""
    kept: dict = {}
    for task, modes in scores.items():
        for mode, result in modes.items():
            values = {key: result[key] for key in KEPT if key in result}
            if "intervals" in result:
                values["interval"] = result["intervals"]["f1"]
            kept.setdefault(task, {})[mode] = values
    return kept


def collect(plan: Plan, path: str) -> None:
    """Write what is done to one file, without the paths of this machine."""
    lines = []
    for record in results(plan):
        text = json.dumps(record, ensure_ascii=False)
        for there, name in (
            (str(plan.folder), "EXPERIMENTS"),
            (str(plan.data), "$MEDMT5_DATA_DIR"),
            (sys.executable, "python"),
        ):
            text = text.replace(there, name)
        lines.append(text + "\n")
    write_text(path, "".join(lines))
    print(f"{len(lines)} of {len(plan.runs)} runs are in {path}")


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
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
    plan = Plan(given.folder.absolute(), Path(data).absolute())
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


if __name__ == "__main__":
    main()
