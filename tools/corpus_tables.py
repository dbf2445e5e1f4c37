"""Tables of what tools/corpus_experiments.py collected.

    python tools/corpus_tables.py results/corpora.jsonl

Means over seeds and, in brackets, their range. Runs that are not done are dashes.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from medmt5.markdown import table

KINDS = ("raw", "clean")
_LOSS = re.compile(r"loss-(?P<kind>\w+)-\d+-on-(?P<other>\w+)")
_SCORE = re.compile(r"e3c_es-(?P<kind>\w+)-\d+-test")


def read(path: str) -> dict[str, dict]:
    """Run -> what is kept of it."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {record["run"]: record for record in map(json.loads, lines)}


def shown(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({low}–{high})"


def texts(runs: Mapping[str, Mapping]) -> str:
    """What each step took out, in documents and bytes, by language."""
    counts = runs["build-clean"]["counts"]
    before = counts["read"]
    rows = []
    for language in sorted(before):
        removed = [
            f"{step} {sum(reasons[language].values())}"
            for step, reasons in runs["build-clean"]["removed"].items()
            if language in reasons
        ]
        left = counts["duplicates"].get(language, {"documents": 0, "bytes": 0})
        share = 100 * left["bytes"] / before[language]["bytes"]
        documents = (f"{before[language]['documents']:,}", f"{left['documents']:,}")
        rows.append([language, *documents, f"{share:.0f}", ", ".join(removed)])
    return table(["language", "raw", "cleaned", "bytes left, %", "documents removed by"], rows)


def losses(runs: Mapping[str, Mapping]) -> str:
    """Loss of each pair of corpora, by language."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for name, record in runs.items():
        if match := _LOSS.fullmatch(name):
            for task, result in record["loss"].items():
                of = found.setdefault((match["kind"], match["other"]), {})
                of.setdefault(task.rpartition("_")[2], []).append(result["loss"])
    languages = sorted({name for of in found.values() for name in of} - {"all"})
    pairs = [(kind, other) for other in KINDS for kind in KINDS]
    rows = [
        [language, *(shown(found.get(pair, {}).get(language, []), 2) for pair in pairs)]
        for language in (*languages, "all")
    ]
    heads = [f"{kind}, on {other} text" for kind, other in pairs]
    return table(["language", *heads], rows)


def scores(runs: Mapping[str, Mapping]) -> str:
    """What each pre-training gives to E3C."""
    rows = []
    for kind in KINDS:
        matches = ((_SCORE.fullmatch(name), record) for name, record in runs.items())
        found = [
            record["scores"]["e3c_es"]["constrained"]
            for match, record in matches
            if match and match["kind"] == kind
        ]
        names = ("f1", "precision", "recall")
        rows.append([kind, *(shown([result[name] for result in found], 1) for name in names)])
    return table(["pre-trained on", "F1", "precision", "recall"], rows)


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("path", help="results/corpora.jsonl")
    runs = read(flags.parse_args().path)
    for title, make in (
        ("What cleaning took", texts),
        ("Loss on held-out documents, nats per target token", losses),
        ("E3C in Spanish, entity F1", scores),
    ):
        print(f"### {title}\n\n{make(runs)}\n")


if __name__ == "__main__":
    main()
