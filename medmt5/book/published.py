"""Numbers that others published, with their sources: the reference columns of `medmt5 report`.

They are in `published/*.json`, as printed. A file holds tables (`rows` are tasks, `columns` models,
`averages` what the source printed below) and single `figures`. What cannot be said of a number,
such as the metric of some of ProMoT's, is left empty.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple


class Average(NamedTuple):
    """An average as printed, and the tasks that it is of."""

    printed: float
    tasks: tuple[str, ...]


class Column(NamedTuple):
    """A model of a published table.

    Attributes:
      name: of the model.
      section: of the book, as in `sections`.
      scores: (task, metric) -> as printed; the metric is "" where it is not known.
      averages: name -> average.
      metric: of all scores and averages; "" where they have several.
      digits: after the decimal point, as printed.
      source: paper or repository, and how it was read.
      note: what to know before comparing.
    """

    name: str
    section: str
    scores: Mapping[tuple[str, str], float]
    averages: Mapping[str, Average]
    metric: str
    digits: int
    source: str
    note: str

    def tasks(self) -> list[str]:
        return [task for task, _ in self.scores]


class Figure(NamedTuple):
    """A single published number for a task."""

    task: str
    metric: str
    name: str
    value: float
    source: str
    note: str


@functools.cache
def read_published() -> tuple[tuple[Column, ...], tuple[Figure, ...]]:
    """All columns and figures, in the order of the files."""
    columns: list[Column] = []
    figures: list[Figure] = []
    folder = resources.files("medmt5.book") / "published"
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    for file in sorted(files, key=lambda file: file.name):
        content = json.loads(file.read_text(encoding="utf-8"))
        for table in content["tables"]:
            columns += _columns(table)
        for group in content["figures"]:
            task, metric, source = group["task"], group["metric"], group["source"]
            note = group.get("note", "")
            for name, value in group["values"].items():
                figures.append(Figure(task, metric, name, value, source, note))
    return tuple(columns), tuple(figures)


def _columns(table: Mapping[str, Any]) -> list[Column]:
    rows = table["rows"]
    given = table["metric"]  # of all rows, or of those whose metric is known
    metrics = [given if isinstance(given, str) else given.get(row, "") for row in rows]
    # Of some models only the average is known.
    averaged = [name for average in table["averages"] for name in average["printed"]]
    made = []
    for name in dict.fromkeys([*table["columns"], *averaged]):
        values = table["columns"].get(name, [None] * len(rows))
        scores = zip(zip(rows, metrics, strict=True), values, strict=True)
        averages = {
            average["name"]: Average(average["printed"][name], tuple(average.get("rows", rows)))
            for average in table["averages"]
            if name in average["printed"]
        }
        column = Column(
            name=name,
            section=table["section"],
            scores={key: value for key, value in scores if value is not None},
            averages=averages,
            metric=given if isinstance(given, str) else "",
            digits=table["digits"],
            source=table["source"],
            note=table.get("note", ""),
        )
        made.append(column)
    return made
