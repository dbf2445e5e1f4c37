"""The data card of a built corpus: what it is, where it is from, what was done to it.

Its tables are also those of the page: rows of texts and numbers, made of the manifest alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmt5 import markdown
from medmt5.corpus.manifest import CONFIG
from medmt5.corpus.tally import UNITS

NAME = "README.md"
LISTED = 10  # names in a cell of a table
_LIMITS = (
    "Languages, quality and medical content are told by rules and by a statistical identifier: "
    "good texts are among what was removed, and others were kept. `removed/` has the beginning of "
    "every removed document to look at.",
    "Personal data are looked for by their form (e-mail addresses, telephone, identity and record "
    "numbers, dates of birth). Names and addresses are not found. This is no anonymisation, and "
    "`removed/` has text in which nothing was replaced.",
    "Near duplicates are found by estimated similarity of n-grams, so translations and paraphrases "
    "stay.",
    "Decontamination compares with the evaluation sets listed here, and with no others.",
    "Licences are as the sources say them; whether they allow a use is for the user to decide.",
)


class Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int]]


def tables(manifest: Mapping[str, Any]) -> list[Table]:
    """What there is to say about a corpus in numbers."""
    sources, total = manifest["sources"], manifest["total"]
    first, last = manifest["stages"][0], manifest["stages"][-1]
    units = [
        unit
        for unit in UNITS
        if unit != "tokens" or manifest["config"].get("output", {}).get("vocabulary")
    ]
    found = [
        Table(
            "Languages",
            ["language", *units],
            [
                (language, *(counts.get(unit, 0) for unit in units))
                for language, counts in total["counts"].get(last, {}).items()
            ],
        ),
        Table(
            "Sources",
            ["source", "format", "licences", *units, "documents read"],
            [
                (
                    name,
                    str(_settings(manifest, name)["format"]),
                    _listed(tally["licences"]),
                    *(_sum(tally, last, unit) for unit in units),
                    _sum(tally, first, "documents"),
                )
                for name, tally in sources.items()
            ],
        ),
        Table(
            "Removed",
            ["step", "reason", "documents", "by language"],
            [
                (step, reason, sum(by.values()), _listed(by))
                for step in manifest["stages"]
                for reason, by in _by_reason(total["removed"].get(step, {})).items()
            ],
        ),
        Table(
            "Documents after each stage",
            ["stage", *sources],
            [
                (stage, *(_sum(tally, stage, "documents") for tally in sources.values()))
                for stage in manifest["stages"]
            ],
        ),
        Table(
            "Changed",
            ["step", "what", "number"],
            [
                (step, kind, number)
                for step in manifest["stages"]
                for kind, number in total["changed"].get(step, {}).items()
            ],
        ),
        Table("Could not be read", ["reason", "number"], list(total["bad"].items())),
    ]
    return [table for table in found if table.rows]


def _settings(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(table for table in manifest["config"]["sources"] if table["name"] == name)


def _sum(tally: Mapping[str, Any], stage: str, unit: str) -> int:
    return sum(counts.get(unit, 0) for counts in tally["counts"].get(stage, {}).values())


def _by_reason(removed: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Language -> reason turned into reason -> language."""
    turned: dict[str, dict[str, int]] = {}
    for language, reasons in removed.items():
        for reason, number in reasons.items():
            turned.setdefault(reason, {})[language] = number
    return dict(sorted(turned.items()))


def _listed(numbers: Mapping[str, int]) -> str:
    """The most frequent ones, and how many more there are."""
    most = sorted(numbers.items(), key=lambda item: -item[1])[:LISTED]
    names = [f"{name or 'not stated'} {number:,}" for name, number in most]
    if others := len(numbers) - len(most):
        names.append(f"and {others:,} more")
    return ", ".join(names)


def summary(manifest: Mapping[str, Any]) -> str:
    """How much there is, in a line."""
    last, total = manifest["stages"][-1], manifest["total"]
    facts = ", ".join(
        f"{_sum(total, last, unit):,} {unit}" for unit in UNITS if _sum(total, last, unit)
    )
    languages = ", ".join(total["counts"].get(last, {})) or "none"
    return f"{facts or 'no documents'}; languages: {languages}"


def text(manifest: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    parts = [
        f"# Corpus {manifest['name']}",
        f"{summary(manifest)}.",
        f"Made by medmt5 {manifest['medmt5']} from {len(manifest['files'])} files; "
        "`manifest.json` has all numbers and checksums, `report.html` charts and samples of what "
        "was removed.",
        "A word is a run of letters and digits; in Chinese and Japanese it is a character.",
    ]
    for table in tables(manifest):
        parts += [f"## {table.title}", markdown.table(table.columns, table.rows)]
    parts += ["## Steps", "\n".join(_steps(manifest))]
    if manifest["other_files"]:
        files = (f"* {file['for']}: `{file['path']}`" for file in manifest["other_files"])
        parts += ["## Files that the steps use", "\n".join(files)]
    parts += ["## Limits", "\n".join(f"* {limit}" for limit in _LIMITS)]
    parts += [
        "## To build it again",
        f"With the files of the same checksums, and `{CONFIG}` where its relative paths fit:",
        f"```sh\nmedmt5 corpus build {CONFIG} --output DIR\nmedmt5 corpus check DIR\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _steps(manifest: Mapping[str, Any]) -> Iterator[str]:
    for table in manifest["config"].get("steps", ()):
        yield f"* {table['name']}{_settings_text(table.items())}"
    given = manifest["config"].get("duplicates", {})
    yield f"* duplicates, over all sources{_settings_text(given.items())}"


def _settings_text(items: Iterable[tuple[str, Any]]) -> str:
    texts = [
        f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in items
        if key != "name"
    ]
    return f": {'; '.join(f'`{text}`' for text in texts)}" if texts else ""
