"""The experiments on real text behind docs/results.md, run by run, each of which can be resumed.

    python tools/experiments.py --folder runs/experiments --list
    python tools/experiments.py --folder runs/experiments --jobs 2
    python tools/experiments.py --folder runs/experiments --collect results/experiments.jsonl

Needs MEDMT5_DATA_DIR. Models of 2 M parameters from scratch. What is compared:

(a) constrained against unconstrained decoding: what began as a medical model is scored both ways,
    the models of all sets for one seed;
(b) pre-training on medical text against general text and against none;
(c) one model per set against one model of all sets;
(d) E3C and DIANN across languages: each language's model on the tests of all, and a dictionary of
    the training mentions of English and of the language itself;
(e) one model of all sets with and without label prompts.

How runs are resumed is said by `experiment_runs`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import experiment_runs

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


class Plan(experiment_runs.Plan):
    """All runs."""

    def __init__(self, folder: Path, data: Path):
        super().__init__(folder, data)
        raw = [path for lang in LANGUAGES for path in sorted(data.glob(f"raw/{lang}/*.jsonl"))]
        self.add_vocabulary(4084, [*(data / path for path in TRAINING_TEXT), *raw])
        for corpus, mixture in (
            ("medical", "raw_text_and_copy"),
            ("general", "general_text_and_copy"),
        ):
            self.train(f"pretrain-{corpus}", "tiny_raw_multilingual", MIXTURE_OR_TASK_NAME=mixture)
        for name in ("e3c", "diann"):
            for lang in LANGUAGES if name == "e3c" else ("en", "es"):
                self._dictionary(name, lang, "en")
                self._dictionary(name, lang, lang)
        for seed in SEEDS:
            for task in STEPS:
                self._labelling(task, "medical", seed)
            for task in ("e3c_es", "diann_en"):
                for corpus in ("general", "none"):
                    self._labelling(task, corpus, seed)
        for seed in SEEDS:  # the longest last
            for prompts in ("", "_shared"):
                self._labelling(f"laptop_labelling{prompts}_balanced", "medical", seed)

    def _labelling(self, task: str, corpus: str, seed: int) -> None:
        """Fine-tuning, and the scores of its tests: in all languages of a set."""
        tested = task.rpartition("_")[0] if task.startswith(("e3c", "diann")) else task
        name = f"{task}-{corpus}-{seed}"
        initial = None if corpus == "none" else f"pretrain-{corpus}"
        self.train(
            name,
            "tiny_labelling",
            *([initial] if initial else []),
            INITIAL_CHECKPOINT_PATH=initial and str(self.folder / initial),
            MIXTURE_OR_TASK_NAME=task,
            TRAIN_STEPS=STEPS.get(task, ALL_STEPS),
            RANDOM_SEED=seed,
        )
        self.evaluate(name, "test", tested, "constrained")
        # Free decoding takes several times as long: on the sets that were trained on alone.
        if corpus == "medical" and (task in STEPS or seed == 0):
            self.evaluate(name, "free", task, "unconstrained")

    def _dictionary(self, name: str, lang: str, trained: str) -> None:
        self.add(
            f"dictionary-{name}-{trained}-{lang}",
            (),
            *(sys.executable, "tools/dictionary_baseline.py"),
            *("--train", self.data / f"seqlab/{trained}/{trained}-{name}-train.tsv"),
            *("--test", self.data / f"seqlab/{lang}/{lang}-{name}-test.tsv"),
        )

    def kept(self, name: str) -> dict:
        """Scores of a test."""
        folder = self.folder / name
        if name.startswith("dictionary-"):
            _, data, trained, lang = name.split("-")
            lines = (folder / "log.txt").read_text().splitlines()
            scores = {f"{data}_{lang}": {f"dictionary {trained}": json.loads(lines[-1])}}
        elif (folder / "scores.json").exists():
            scores = json.loads((folder / "scores.json").read_text())
        else:
            scores = {}
        return {"scores": scores_kept(scores)}


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


if __name__ == "__main__":
    experiment_runs.main(Plan, __doc__)
