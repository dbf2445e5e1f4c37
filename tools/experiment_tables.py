"""Tables of docs/results.md from what tools/experiments.py collected.

    python tools/experiment_tables.py results/experiments.jsonl

F1 in percent: one number is one seed, `mean ± sd (n)` several. Runs that are not done are dashes.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from medmt5.markdown import table

LANGUAGES = ("en", "es", "fr", "it")
TASKS = ("ncbi_disease_en", "diann_en", "diann_es", *(f"e3c_{lang}" for lang in LANGUAGES))
_TEST = re.compile(r"(?P<trained>\w+)-(?P<corpus>\w+)-(?P<seed>\d+)-(test|free)")
_VARIANT = re.compile(r"_(prompted|shared)(?=_)")
MULTI = {
    "laptop_labelling_balanced": "all sets, prompts",
    "laptop_labelling_shared_balanced": "all sets",
}

# (trained on, pre-trained on, tested on, decoding) -> F1 of each seed.
Scores = dict[tuple[str, str, str, str], list[float]]


def read(path: str) -> tuple[Scores, Scores]:
    """F1, and the share of sentences whose words came back unchanged."""
    f1: Scores = defaultdict(list)
    faithful: Scores = defaultdict(list)
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        match = _TEST.fullmatch(record["run"])
        trained, corpus = (match["trained"], match["corpus"]) if match else ("", "")
        for task, modes in record["scores"].items():
            for mode, scores in modes.items():
                key = (trained, corpus, _VARIANT.sub("", task), mode)
                f1[key].append(scores["f1"])
                faithful[key].append(scores.get("faithful", 100.0))
    return f1, faithful


def shown(values: Sequence[float]) -> str:
    """`61.2`, or `61.2 ± 0.4 (3)`; a dash for none."""
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({len(values)})"


def difference(ours: Sequence[float], others: Sequence[float]) -> str:
    """Of the means over seeds that both have."""
    pairs = list(zip(ours, others, strict=False))
    return shown([a - b for a, b in pairs]) if pairs else "–"


def decoding(f1: Scores, faithful: Scores) -> str:
    """(a) constrained against unconstrained decoding, by what was trained on."""
    rows = []
    keys = {key[:2]: None for key in f1 if key[0]}
    for trained, corpus in keys:
        mine = [k for k in f1 if k[:2] == (trained, corpus) and k[3] == "constrained"]
        # Of one language's model only the own test: the others are (d).
        mine = [k for k in mine if trained in (*MULTI, k[2])]
        for key in mine:
            free = (*key[:3], "unconstrained")
            if free not in f1:
                continue
            rows.append(
                [
                    MULTI.get(trained, "that set"),
                    corpus,
                    key[2],
                    shown(f1[key]),
                    shown(f1[free]),
                    difference(f1[key], f1[free]),
                    shown(faithful[free]),
                ]
            )
    head = ["trained on", "pre-trained on", "test", "constrained", "free", "difference"]
    return table([*head, "unchanged sentences when free, %"], sorted(rows, key=lambda r: r[:3]))


def pretraining(f1: Scores) -> str:
    """(b) pre-training on medical text, on general text, on none."""
    rows = []
    for task in ("diann_en", "e3c_es"):
        medical, general, none = (
            f1[task, corpus, task, "constrained"] for corpus in ("medical", "general", "none")
        )
        values = [medical, general, none]
        rows.append([task, *map(shown, values), difference(medical, general)])
    return table(["test", "medical", "general", "none", "medical - general"], rows)


def sharing(f1: Scores) -> str:
    """(c), (e) one model per set, of all sets, and of all sets with label prompts."""
    rows = []
    for task in TASKS:
        single = f1[task, "medical", task, "constrained"]
        shared, prompted = (
            f1[f"laptop_labelling{variant}_balanced", "medical", task, "constrained"]
            for variant in ("_shared", "")
        )
        columns = [single, shared, prompted]
        rows.append([task, *map(shown, columns), difference(shared, single)])
        rows[-1].append(difference(prompted, shared))
    head = ["test", "that set alone", "all sets", "all sets, prompts"]
    return table([*head, "all - alone", "prompts - none"], rows)


def transfer(f1: Scores, name: str, languages: Sequence[str]) -> str:
    """(d) a set across languages, and dictionaries."""
    rows = []
    for trained in languages:
        keys = [
            (f"{name}_{trained}", "medical", f"{name}_{lang}", "constrained") for lang in languages
        ]
        rows.append([f"{name} {trained}", *(shown(f1[key]) for key in keys)])
    for title, known in (
        ("dictionary of English mentions", ["en"] * len(languages)),
        ("dictionary of the language's own mentions", languages),
    ):
        keys = [
            ("", "", f"{name}_{lang}", f"dictionary {trained}")
            for lang, trained in zip(languages, known, strict=True)
        ]
        rows.append([title, *(shown(f1[key]) for key in keys)])
    return table(["trained on", *languages], rows)


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("path", help="results/experiments.jsonl")
    f1, faithful = read(flags.parse_args().path)
    made: dict[str, Callable[[], str]] = {
        "(a) constrained decoding": lambda: decoding(f1, faithful),
        "(b) pre-training": lambda: pretraining(f1),
        "(c), (e) one model of all sets, label prompts": lambda: sharing(f1),
        "(d) E3C across languages": lambda: transfer(f1, "e3c", LANGUAGES),
        "(d) DIANN across languages": lambda: transfer(f1, "diann", ("en", "es")),
    }
    for title, make in made.items():
        print(f"### {title}\n\n{make()}\n")


if __name__ == "__main__":
    main()
