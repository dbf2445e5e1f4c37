"""Whether cleaning a corpus helps: the same model on raw and on cleaned text, run by run.

    python tools/corpus_experiments.py --folder runs/corpora --list
    python tools/corpus_experiments.py --folder runs/corpora --jobs 2
    python tools/corpus_experiments.py --folder runs/corpora --collect results/corpora.jsonl
    python tools/corpus_tables.py results/corpora.jsonl

Needs MEDMT5_DATA_DIR. The files of raw/ in all languages are built into two corpora: one as they
are, one with every step and without duplicates. One vocabulary of both; from it models of 2.5 M
parameters, three seeds on each corpus, equally many steps. Each is measured by its span-corruption
loss on the held-out documents of both corpora, which are the same documents as far as cleaning
kept them, and by what it gives to E3C in Spanish.

Near duplicates of held-out documents are left in the raw text alone: what a model gains by having
seen them is a part of its loss on raw text.

How runs are resumed is said by `experiment_runs`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import experiment_runs
from experiments import scores_kept

SEEDS = (0, 1, 2)
KINDS = ("raw", "clean")
# 12 rows are left for tags, as in mT5.
PIECES, ROWS = 6132, 6144
# Of eight languages with 0.4 to 0.8 MB each; one in 20, so that all have some.
HELD_OUT = 20
STEPS, TUNING_STEPS = 1500, 600
TUNED = "e3c_es"
STEP_NAMES = ("unicode", "boilerplate", "language", "quality", "medical", "personal")


def toml(kind: str, languages: list[str]) -> str:
    """The configuration of a corpus."""
    lines = [f'name = "{kind}"']
    for language in languages:
        lines += [
            "[[sources]]",
            f'name = "{language}"',
            'format = "jsonl"',
            f'language = "{language}"',
            f'paths = ["$MEDMT5_DATA_DIR/raw/{language}/*.jsonl"]',
        ]
    if kind == "raw":
        lines += ["[duplicates]", "exact = false", "near = false"]
    else:
        for step in STEP_NAMES:
            lines += ["[[steps]]", f'name = "{step}"']
        lines += ["[[steps]]", 'name = "contamination"']
        lines += ['files = ["$MEDMT5_DATA_DIR/seqlab/*/*-e3c-test.tsv"]']
    return "\n".join(lines) + "\n"


class Plan(experiment_runs.Plan):
    """All runs."""

    def __init__(self, folder: Path, data: Path):
        super().__init__(folder, data)
        languages = sorted(path.parent.name for path in data.glob("raw/*/*.jsonl"))
        for kind in KINDS:
            config = folder / f"{kind}.toml"
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(toml(kind, sorted(set(languages))))
            cli = (sys.executable, "-m", "medmt5.cli", "corpus")
            self.add(f"build-{kind}", (), *cli, "build", config, "--output", self.corpus(kind))
        self.add(
            "vocabulary",
            tuple(f"build-{kind}" for kind in KINDS),
            *(*cli, "vocabulary", *map(self.corpus, KINDS)),
            *("--size", PIECES, "--character_coverage", 0.9995, "--output", self.vocabulary),
        )
        for seed in SEEDS:
            for kind in KINDS:
                self._pretrain(kind, seed)
                self._tune(kind, seed)

    def corpus(self, kind: str) -> Path:
        return self.folder / f"build-{kind}" / "corpus"

    def _pretrain(self, kind: str, seed: int) -> None:
        name = f"pretrain-{kind}-{seed}"
        options = {"VOCAB_SIZE": ROWS, "TRAIN_STEPS": STEPS, "RANDOM_SEED": seed}
        self.train(name, "tiny_corpus", f"build-{kind}", **options)
        self._with_corpus(name, kind)
        for other in KINDS:
            loss = f"loss-{kind}-{seed}-on-{other}"
            tool = (sys.executable, "tools/span_loss.py", "--checkpoint", self.folder / name)
            self.add(loss, (name, f"build-{other}"), *tool)
            self._with_corpus(loss, other)

    def _with_corpus(self, name: str, kind: str) -> None:
        """Tell a run which corpus its tasks read."""
        variables = (
            f"MEDMT5_CORPUS_DIR={self.corpus(kind)}",
            f"MEDMT5_CORPUS_HELD_OUT={HELD_OUT}",
        )
        run = self.runs[name]
        self.runs[name] = run._replace(command=["env", *variables, *run.command])

    def _tune(self, kind: str, seed: int) -> None:
        name, initial = f"{TUNED}-{kind}-{seed}", f"pretrain-{kind}-{seed}"
        self.train(
            name,
            "tiny_labelling",
            initial,
            INITIAL_CHECKPOINT_PATH=str(self.folder / initial),
            MIXTURE_OR_TASK_NAME=TUNED,
            VOCAB_SIZE=ROWS,
            TRAIN_STEPS=TUNING_STEPS,
            RANDOM_SEED=seed,
        )
        self.evaluate(name, "test", TUNED, "constrained")

    def kept(self, name: str) -> dict:
        """Losses, scores, and what the builds counted."""
        folder = self.folder / name
        if name.startswith("loss-"):
            return {"loss": json.loads((folder / "log.txt").read_text().splitlines()[-1])}
        if name.startswith("build-"):
            manifest = json.loads((folder / "corpus" / "manifest.json").read_text())
            total = manifest["total"]
            return {key: total[key] for key in ("counts", "removed", "changed")}
        if name == "vocabulary":
            rows = json.loads(self.vocabulary.with_suffix(".json").read_text())["rows"]
            return {"fertility": rows}
        scores = folder / "scores.json"
        return {"scores": scores_kept(json.loads(scores.read_text()))} if scores.exists() else {}


if __name__ == "__main__":
    experiment_runs.main(Plan, __doc__)
