"""The main job at laptop size: pre-train, fine-tune, evaluate, label, report.

Everything it does can be done with the commands it prints; it runs on the sample data that ships
with the package and needs no network.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import time
from collections.abc import Sequence

from medmt5.formats.documents import Document
from medmt5.report import Curve, Table, read_scalars, write_report

log = logging.getLogger(__name__)

SENTENCES = (
    "The patient was given metoprolol for arterial hypertension and denies fever.",
    "Ingresó por pancreatitis aguda; se suspendió la simvastatina y no tiene alergias.",
    "Le patient souffre d' une cardiomyopathie dilatée et prend du ramipril le soir.",
    "La paziente ha una nefropatia cronica ed è in terapia con atenololo 50 mg.",
)


def quickstart(output: str, *, pretrain_steps: int | None, finetune_steps: int | None) -> None:
    """Run the five stages; a stage that was finished before is not run again.

    Args:
      output: folder for models, predictions and the report.
      pretrain_steps: instead of the recipe's.
      finetune_steps: instead of the recipe's.
    """
    from medmt5 import launch
    from medmt5.evaluate import score_table
    from medmt5.labeller import Labeller

    began = time.monotonic()
    pretrained, finetuned = os.path.join(output, "pretrain"), os.path.join(output, "finetune")
    scores_dir = os.path.join(output, "eval")

    def stage(number: int, title: str) -> None:
        log.info("")
        log.info("[%d/5] %s (%.0f s so far)", number, title, time.monotonic() - began)

    def run(command: str, recipe: str, *bindings: str) -> object:
        flags = [f"--gin_file={recipe}", *(f"--gin.{b.replace(' = ', '=')}" for b in bindings)]
        log.info("$ medmt5 %s %s", command, " ".join(flags))
        return launch.run(command, files=[recipe], bindings=bindings)

    def steps(count: int | None) -> list[str]:
        if count is None:
            return []
        return [f"TRAIN_STEPS = {count}", f"WARMUP_STEPS = {count // 10}"]

    stage(1, "pre-training on the sample corpus: span corruption and copying")
    run(
        "train",
        "gin_configs/recipes/quickstart_pretrain.gin",
        f"MODEL_DIR = {pretrained!r}",
        *steps(pretrain_steps),
    )
    stage(2, "fine-tuning to label diseases and chemicals in en, es, fr, it")
    run(
        "train",
        "gin_configs/recipes/quickstart_finetune.gin",
        f"MODEL_DIR = {finetuned!r}",
        f"INITIAL_CHECKPOINT_PATH = {pretrained!r}",
        *steps(finetune_steps),
    )
    stage(3, "scoring the test split, with and without constrained decoding")
    scores = run(
        "eval",
        "gin_configs/recipes/quickstart_eval.gin",
        f"CHECKPOINT_PATH = {finetuned!r}",
        f"EVAL_OUTPUT_DIR = {scores_dir!r}",
    )
    stage(4, "labelling four sentences")
    documents = Labeller.load(finetuned, batch_size=4).label(SENTENCES)
    for document in documents:
        found = [f"{e.text} [{e.label} {e.score:.2f}]" for e in document.entities]
        print(f"{document.text}\n    {'; '.join(found) or '(nothing)'}")
    stage(5, "writing the report")
    report = os.path.join(output, "report.html")
    seconds = time.monotonic() - began
    _write_report(report, output, scores, documents, seconds)
    print(f"\n{score_table(scores)}\n")
    print(f"model    {finetuned}")
    print(f"scores   {os.path.join(scores_dir, 'scores.json')}")
    print(f"report   {report}")
    print(f"next     echo 'He takes ramipril.' | medmt5 label -m {finetuned}")
    log.info("done in %.0f s", seconds)


def _write_report(
    path: str, output: str, scores: dict, documents: Sequence[Document], seconds: float
) -> None:
    curves = []
    for name, title in (("pretrain", "Pre-training"), ("finetune", "Fine-tuning")):
        series = {}
        for part, label in (("train", "training"), ("eval", "validation")):
            file = os.path.join(output, name, part, "scalars.jsonl")
            if os.path.exists(file):
                points = [(s["step"], s["loss"]) for s in read_scalars(file) if "loss" in s]
                if points:
                    series[label] = points
        curves.append(Curve(f"{title}: loss per token", "step", "nats", series))
    rows = [
        [task, mode, label, row["precision"], row["recall"], row["f1"], row["support"]]
        for task, modes in scores.items()
        for mode, result in modes.items()
        for label, row in {"all": result, **result["per_label"]}.items()
    ]
    table = Table(
        "Test scores",
        ["task", "decoding", "label", "precision", "recall", "F1", "spans"],
        rows,
        "Entity-level exact match in percent, micro-averaged. Sample data is generated: these "
        "numbers show that the pipeline works, not how well it labels real text.",
    )
    write_report(
        path,
        title="medmt5 quickstart",
        summary={"time": f"{seconds:.0f} s", "machine": f"{platform.machine()}, CPU"},
        curves=curves,
        score_tables=[table],
        documents=documents,
        paths={"models and scores": output},
    )


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 quickstart`."""
    flags = argparse.ArgumentParser(prog="medmt5 quickstart", description=__doc__)
    flags.add_argument("-o", "--output", default="runs/quickstart", help="default: runs/quickstart")
    flags.add_argument("--pretrain-steps", type=int, help="instead of the recipe's")
    flags.add_argument("--finetune-steps", type=int, help="instead of the recipe's")
    given = flags.parse_args(arguments)
    from medmt5.compilation import keep_compiled_programs
    from medmt5.launch import errors_to_exit, setup_logging

    setup_logging()
    keep_compiled_programs()
    with errors_to_exit():
        quickstart(
            given.output,
            pretrain_steps=given.pretrain_steps,
            finetune_steps=given.finetune_steps,
        )
