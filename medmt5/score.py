"""Score prediction files, with intervals, and compare two systems: `medmt5 score FILE...`.

Takes what `medmt5 eval` writes, or the same from elsewhere (`metrics.records` says what that is).
Several files, such as one per language, are also averaged: macro, each language counting the same,
and micro, each example counting the same. What is computed is left to `metrics`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from medmt5.launch import errors_to_exit, setup_logging
from medmt5.metrics import METRICS, Metric, bert_score
from medmt5.metrics.metric import Record
from medmt5.metrics.rationales import on_rationales
from medmt5.metrics.records import KINDS, check_same, kind_of, read_predictions
from medmt5.metrics.registry import count, default_names, metrics_for
from medmt5.metrics.significance import mean_interval, mean_test
from medmt5.metrics.spans import TABLES

Files = Mapping[str, Sequence[Record]]
# A row of the result: indices of the records of each group; its score is the mean over groups.
Groups = Sequence[Int[np.ndarray, " records"]]


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 score`."""
    flags = argparse.ArgumentParser(
        prog="medmt5 score",
        description=__doc__,
        epilog="example: medmt5 score runs/eval/headqa_es-constrained.jsonl --metrics accuracy "
        "--against runs/baseline/headqa_es-constrained.jsonl\n\n" + _metrics_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("files", nargs="+", metavar="FILE", help="predictions; - is standard input")
    flags.add_argument("--metrics", metavar="A,B", help="instead of the usual ones for the kind")
    flags.add_argument(
        "--against",
        nargs="+",
        metavar="FILE",
        help="predictions of another system for the same examples, a file for each: paired test",
    )
    flags.add_argument("--level", type=float, default=0.95, help="of the intervals (%(default)s)")
    flags.add_argument(
        "--samples", type=int, help="random samples; 1000 for intervals, 10000 for a paired test"
    )
    flags.add_argument("--seed", type=int, default=0, help="of the samples (%(default)s)")
    flags.add_argument("--json", action="store_true", help="print JSON instead of a table")
    flags.add_argument(
        "--bert-model", metavar="DIR|NAME", help="adds BERTScore by this model (extra `hf`)"
    )
    flags.add_argument("--bert-layer", type=int, metavar="N", help="of its hidden states")
    given = flags.parse_args(arguments)
    setup_logging()
    with errors_to_exit():
        if given.bert_layer is not None and not given.bert_model:
            raise ValueError("--bert-layer needs --bert-model")
        result = score_files(
            _read(given.files),
            _read(given.against) if given.against else None,
            names=[name.strip() for name in given.metrics.split(",")] if given.metrics else None,
            bert=bert_score(given.bert_model, given.bert_layer) if given.bert_model else None,
            level=given.level,
            samples=given.samples,
            seed=given.seed,
        )
        print(json.dumps(result, indent=2, ensure_ascii=False) if given.json else as_text(result))


def _metrics_help() -> str:
    lines = ["metrics (usual ones in `metrics.registry.DEFAULTS`):"]
    for kind in KINDS:
        lines.append(f"  {kind} records:")
        lines += [f"    {m.name:26} {m.about}" for m in METRICS.values() if m.kind == kind]
    return "\n".join(lines)


def _read(paths: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Predictions by the file's name without folder and ending, or by its path if two share it."""
    stems = [os.path.basename(path).removesuffix(".jsonl") for path in paths]
    names = stems if len(set(stems)) == len(stems) else paths
    if len(set(names)) < len(names):
        raise ValueError("a file is given twice; each counts once")
    return {name: read_predictions(path) for name, path in zip(names, paths, strict=True)}


def rows_of(files: Files) -> dict[str, Groups]:
    """What is scored: each file, each language, and averages over all.

    Languages get rows of their own where files do not stand for them. The macro average is over
    languages where all records say theirs and there are several, else over files.
    """
    sizes = [len(records) for records in files.values()]
    every = np.arange(sum(sizes))
    by_file = dict(zip(files, np.split(every, np.cumsum(sizes)[:-1]), strict=True))
    langs = np.array([record.get("lang", "") for records in files.values() for record in records])
    by_lang = {str(lang): np.flatnonzero(langs == lang) for lang in np.unique(langs)}
    rows: dict[str, Groups] = {name: [indices] for name, indices in by_file.items()}
    groups, unit = by_file, "files"
    if len(by_lang) > 1 and "" not in by_lang:
        groups, unit = by_lang, "languages"
        if {tuple(i) for i in by_lang.values()} != {tuple(i) for i in by_file.values()}:
            rows |= {lang: [indices] for lang, indices in by_lang.items()}
    if len(groups) > 1:
        rows[f"macro ({len(groups)} {unit})"] = list(groups.values())
        rows["micro"] = [every]
    return rows


def score_files(
    files: Files,
    against: Files | None = None,
    *,
    names: Sequence[str] | None = None,
    bert: Metric | None = None,
    level: float = 0.95,
    samples: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores, intervals and paired tests of prediction files.

    Args:
      files: name -> predictions, all of one kind.
      against: another system's predictions for the same examples, in the same order.
      names: metrics; by default the usual ones for the kind.
      bert: BERTScore of texts, to be added; of choices it scores the rationales.
      level: of intervals.
      samples: for intervals and tests; 1000 and 10000 by default.
      seed: of samples.

    Returns:
      `scores`: row -> metric -> score, and in each row `examples` and `intervals`; with `against`
      also that: row -> metric -> `score`, `difference`, `interval` and `p`.

    Raises:
      ValueError: files of several kinds, an unknown or unfitting metric, other examples.
    """
    kinds = {name: kind_of(records) for name, records in files.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise ValueError(f"files of several kinds ({told}); score each kind by itself")
    kind = next(iter(kinds.values()))
    records = [record for each in files.values() for record in each]
    names = list(default_names(records) if names is None else names)
    metrics = metrics_for(kind, names)
    if bert is not None:
        metrics += on_rationales([bert]) if kind == "choice" else metrics_for(kind, [bert])
    tables = [name for name in names if name in TABLES]
    counts = count(metrics, records)
    rows = rows_of(files)
    scores: dict[str, dict[str, Any]] = {}
    for row, groups in rows.items():
        scores[row] = {"examples": sum(map(len, groups))}
        for metric in metrics:
            scores[row][metric.name] = _score(metric, counts[metric.name], groups)
        scores[row]["intervals"] = {
            metric.name: mean_interval(
                metric,
                [counts[metric.name][indices] for indices in groups],
                level=level,
                samples=1000 if samples is None else samples,
                seed=seed,
            )
            for metric in metrics
        }
        if len(groups) == 1:
            chosen = [records[i] for i in groups[0]]
            scores[row] |= {table: TABLES[table](chosen) for table in tables}
    result: dict[str, Any] = {"level": level, "scores": scores}
    if against is not None:
        others = _matching(files, against, kind)
        theirs = count(metrics, others)
        result["against"] = {row: {} for row in rows}
        for row, groups in rows.items():
            for metric in metrics:
                ours, other = counts[metric.name], theirs[metric.name]
                difference, low, high, p = mean_test(
                    metric,
                    [(ours[indices], other[indices]) for indices in groups],
                    level=level,
                    samples=10000 if samples is None else samples,
                    seed=seed,
                )
                result["against"][row][metric.name] = {
                    "score": _score(metric, other, groups),
                    "difference": difference,
                    "interval": (low, high),
                    "p": p,
                }
    return result


def _score(metric: Metric, counts: np.ndarray, groups: Groups) -> float:
    return float(np.mean([metric.value(counts[indices].sum(axis=0)) for indices in groups]))


def _matching(files: Files, against: Files, kind: str) -> list[Record]:
    """The other system's records, in the order of ours."""
    if len(files) != len(against):
        raise ValueError(f"{len(against)} files --against {len(files)}; give one for each")
    for (name, ours), (other, theirs) in zip(files.items(), against.items(), strict=True):
        if (found := kind_of(theirs)) != kind:
            raise ValueError(f"{other} holds {found} records and {name} {kind} records")
        check_same(kind, ours, theirs, (name, other))
    return [record for records in against.values() for record in records]


def as_text(result: Mapping[str, Any]) -> str:
    """The result of `score_files` as tables."""
    scores, against = result["scores"], result.get("against")
    of_all = scores.get("micro") or next(iter(scores.values()))
    names = list(of_all["intervals"])
    head = ["metric", "of", "examples", "score", f"{100 * result['level']:g} % interval"]
    head += ["against", "difference", "interval of it", "p"] if against else []
    lines = [head]
    for name in names:
        for row, values in scores.items():
            line = [name, row, f"{values['examples']:,}", f"{values[name]:.2f}"]
            line.append(_span(values["intervals"][name]))
            if against:
                test = against[row][name]
                line += [f"{test['score']:.2f}", f"{test['difference']:+.2f}"]
                line += [_span(test["interval"]), f"{test['p']:.4f}"]
            lines.append(line)
    blocks = [_aligned(lines)] if names else []
    if "support" in of_all:
        blocks.append(f"{of_all['support']:,} gold spans")
    for title in ("per_label", "per_length"):
        if of_all.get(title):
            columns = ("precision", "recall", "f1")
            lines = [[title.replace("_", " "), *columns, "spans"]]
            for key, values in of_all[title].items():
                lines.append(
                    [key, *(f"{values[c]:.2f}" for c in columns), f"{values['support']:,}"]
                )
            blocks.append(_aligned(lines, left=1))
    return "\n\n".join(blocks)


def _span(interval: Sequence[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _aligned(lines: Sequence[Sequence[str]], left: int = 2) -> str:
    """Columns of text, the first `left` to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
