"""Averages and differences below and beside the rows of a results book."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from medmt5.book import published
from medmt5.book.columns import Cell, Column
from medmt5.book.sections import Section

_SOUTH = ("es", "fr", "it")


class Line(NamedTuple):
    """A row or an average, with a cell per column.

    Attributes:
      kind: "row"; "average" of rows above; "printed": an average that a source prints.
      title: the data set, or what the average is over.
      lang: of the task; "" of an average.
      task: "" of an average.
      metric: "" where it is not known, or several are averaged.
      cells: None where there is no score.
    """

    kind: str
    title: str
    lang: str
    task: str
    metric: str
    cells: tuple[Cell | None, ...]


def _mean(cells: Sequence[Cell], weights: Sequence[int] | None = None) -> Cell:
    """The mean of a column's rows; of each seed by itself where all rows have the same ones."""
    same = all(cell.seeds.keys() == cells[0].seeds.keys() for cell in cells)
    weights = weights or [1] * len(cells)
    if not same:
        return Cell({0: statistics.fmean([cell.value for cell in cells], weights)})
    return Cell(
        {
            seed: statistics.fmean([cell.seeds[seed] for cell in cells], weights)
            for seed in cells[0].seeds
        }
    )


def averages(section: Section, lines: Sequence[Line]) -> tuple[list[Line], str]:
    """Averages over the rows that every column has, and why there are none."""
    if not lines:
        return [], ""
    if section.normalised:
        return normalised(section, lines), ""
    places = range(len(lines[0].cells))
    # Of some models only the average is published: they have no rows.
    full = [place for place in places if any(line.cells[place] for line in lines)]
    common = [line for line in lines if all(line.cells[place] for place in full)]
    if len({line.metric for line in common}) > 1:
        return [], "No average over all rows: they have different metrics."
    if not common:
        return [], "No average over all rows: none has a score in every column."

    def line(title: str, of: Sequence[Line], weights: Sequence[int] | None = None) -> Line:
        columns = [[cell for row in of if (cell := row.cells[place])] for place in places]
        cells = [_mean(column, weights) if column else None for column in columns]
        return Line("average", title, "", "", of[0].metric, tuple(cells))

    if len(common) == 1:
        return [], ""  # it would say the same again
    everything = len(common) == len(lines)
    title = (
        f"average, all {len(common)} rows" if everything else f"average, {len(common)} common rows"
    )
    made = [line(title, common)]
    south = [row for row in common if row.lang in _SOUTH]
    if 1 < len(south) < len(common):
        languages = ", ".join(lang for lang in _SOUTH if any(row.lang == lang for row in south))
        made.append(line(f"average {languages}, {len(south)} rows", south))
    weights = [section.questions.get(row.lang, 0) for row in common]
    if all(weights):
        title = f"question-weighted (micro), {sum(weights):,} questions"
        made.append(line(title, common, weights))
    return made, ""


def normalised(section: Section, lines: Sequence[Line]) -> list[Line]:
    """Plain means over rows of different metrics, all in percent, as ProMoT's.

    A column counts in a mean if it has one of its rows; the mean is over the rows that all of these
    columns have.
    """
    made = []
    for title, tasks in section.normalised.items():
        rows = [line for line in lines if line.task in tasks]
        places = [
            place for place in range(len(lines[0].cells)) if any(r.cells[place] for r in rows)
        ]
        common = [row for row in rows if all(row.cells[place] for place in places)]
        if len(common) < 2:
            continue
        columns = [[cell for row in common if (cell := row.cells[place])] for place in places]
        means = {
            place: _mean(cells)._replace(interval=_interval(cells))
            for place, cells in zip(places, columns, strict=True)
        }
        cells = tuple(means.get(place) for place in range(len(lines[0].cells)))
        made.append(Line("average", f"{title}, {len(common)} rows", "", "", "", cells))
    return made


def _interval(cells: Sequence[Cell]) -> tuple[float, float] | None:
    """The interval of a mean of scores on independent sets: the root of the sum of squares."""
    known = [(cell.value, *cell.interval) for cell in cells if cell.interval]
    if len(known) < len(cells):
        return None
    mean = statistics.fmean(value for value, _, _ in known)
    below = math.hypot(*(value - low for value, low, _ in known)) / len(known)
    above = math.hypot(*(high - value for value, _, high in known)) / len(known)
    return mean - below, mean + above


def fixed_averages(columns: Sequence[Column], lines: Sequence[Line]) -> list[Line]:
    """The averages that the sources print: theirs as printed, ours over the same rows."""
    made = []
    references = [column.reference for column in columns if column.reference]
    printed = {
        (name, reference.metric): average.tasks
        for reference in references
        for name, average in reference.averages.items()
    }
    by_task = {line.task: line for line in lines}
    for (name, metric), tasks in printed.items():
        rows = [by_task[task] for task in tasks if task in by_task]
        if metric and any(row.metric != metric for row in rows):
            continue
        cells = []
        for place, column in enumerate(columns):
            parts = [cell for row in rows if (cell := row.cells[place])]
            computed = _mean(parts) if len(parts) == len(tasks) else None
            reference = column.reference
            if reference and name in reference.averages:
                cells.append(_as_printed(reference, name, computed))
            else:
                cells.append(computed)
        if any(cells):
            title = f"{name} ({len(tasks)} rows), as printed"
            made.append(Line("printed", title, "", "", metric, tuple(cells)))
    return made


def _as_printed(reference: published.Column, name: str, computed: Cell | None) -> Cell:
    printed = reference.averages[name].printed
    digits = max(reference.digits, len(f"{printed:.10g}".partition(".")[2]))
    # A printed mean of printed rows is right to half a unit of its own and half of theirs.
    slack = (10**-reference.digits + 10**-digits) / 2 + 1e-9
    recomputed = computed.value if computed else printed
    differs = abs(printed - recomputed) > slack
    return Cell({0: printed}, digits=digits, recomputed=recomputed if differs else None)


def differences(lines: Sequence[Line], base: int) -> list[Line]:
    """How much more than column `base` each other column has, in the lines where it has a score."""
    made = []
    for line in lines:
        against = line.cells[base]
        # Averages as printed are left out: some are not those of their rows.
        if against is None or line.kind == "printed":
            continue
        cells = [
            Cell({0: cell.value - against.value}, sure=cell.sure and against.sure)
            if cell and place != base
            else None
            for place, cell in enumerate(line.cells)
        ]
        made.append(line._replace(cells=tuple(cells)))
    return made
