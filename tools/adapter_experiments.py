"""What a model forgets when it is tuned on one task, and what adapters do about it, run by run.

    python tools/adapter_experiments.py --folder runs/adapters --list
    python tools/adapter_experiments.py --folder runs/adapters --jobs 2
    python tools/adapter_experiments.py --folder runs/adapters --collect results/adapters.jsonl
    python tools/adapter_tables.py results/adapters.jsonl

Needs MEDMT5_DATA_DIR. One base of 2 M parameters is trained on span corruption and on four general
tasks (tasks/laptop.py), then tuned on a task that is new to it, three times each: all parameters,
LoRA, a soft prompt, ProMoT (the prompt, then the model behind it), prompt and model at once, the
model behind a random prompt, and LoRA, then the model under it. As it trains, each is scored on the
new task and, without its prompt, on the four that it knew; answers are generated freely.

How runs are resumed is said by `experiment_runs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import experiment_runs

SEEDS = (0, 1, 2)
# Method -> its recipe; those that begin with another's result name it in START.
METHODS = {
    "full": "tiny_full",
    "prompt": "tiny_prompt",
    "promot": "tiny_promot",
    "lora": "tiny_lora",
    "lora-promot": "tiny_lora_promot",
    "joint": "tiny_joint",
    "random-prompt": "tiny_random_prompt",
}
START = {"promot": "prompt", "lora-promot": "lora"}
# Scored as it is, a model is one that took a step of length 0. LoRA is left out by a model without.
BEFORE, WITHOUT = "before", "lora-promot-without"
AS_IT_IS = {"TRAIN_STEPS": 1, "WARMUP_STEPS": 0, "LEARNING_RATE": 0.0}
ANSWERS = ("claim", "premise", "neither")  # of the new task


class Plan(experiment_runs.Plan):
    """All runs."""

    def __init__(self, folder: Path, data: Path):
        super().__init__(folder, data)
        texts = [path for lang in ("en", "es", "fr") for path in sorted(data.glob(f"raw/{lang}/*"))]
        texts += [data / "general/en-sst2-dev.jsonl", data / "seqlab/en/en-neoplasm-train.tsv"]
        self.add_vocabulary(4084, texts)
        self.train("base", "tiny_general")
        self._tune(BEFORE, "tiny_full", "base", **AS_IT_IS)
        for seed in SEEDS:
            for method, recipe in METHODS.items():
                start = f"{START[method]}-{seed}" if method in START else "base"
                self._tune(f"{method}-{seed}", recipe, start, RANDOM_SEED=seed)
            self._tune(f"{WITHOUT}-{seed}", "tiny_full", f"lora-promot-{seed}", **AS_IT_IS)

    def _tune(self, name: str, recipe: str, start: str, **macros: object) -> None:
        start_path = str(self.folder / start)
        self.train(name, recipe, start, INITIAL_CHECKPOINT_PATH=start_path, **macros)

    def kept(self, name: str) -> dict:
        """What was measured after so many steps; nothing of the base and the vocabulary."""
        folder = self.folder / name / "eval"
        if not any(folder.glob("*/scores.json")):
            return {"steps": []}
        lines = map(json.loads, (folder / "scalars.jsonl").read_text().splitlines())
        # One that was stopped just after an evaluation has made it again: the last counts.
        losses = {line["step"]: line["loss"] for line in lines}
        return {"steps": [_measured(folder, step, losses[step]) for step in sorted(losses)]}


def _measured(folder: Path, step: int, loss: float) -> dict:
    at = folder / f"step_{step}"
    scores = dict(_scores(json.loads((at / "scores.json").read_text())))
    captured = {task: _captured(at / f"{task}-unconstrained.jsonl") for task in scores}
    return {"step": step, "loss": loss, "scores": scores, "captured": captured}


def _scores(scores: Mapping[str, Mapping[str, Mapping]]) -> Iterator[tuple[str, float]]:
    """Accuracy, or ROUGE-1 of what is generated, in percent."""
    for task, modes in scores.items():
        result = modes["unconstrained"]
        yield task, result.get("accuracy", result.get("rouge1"))


def _captured(path: Path) -> float:
    """Percent of predictions that are answers of the new task."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    texts = [record.get("text", record["predicted"]) for record in records]
    return 100 * sum(text.casefold().strip(" .") in ANSWERS for text in texts) / len(texts)


if __name__ == "__main__":
    experiment_runs.main(Plan, __doc__)
