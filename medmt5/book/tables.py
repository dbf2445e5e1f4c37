"""From runs and published numbers to the tables of a results book.

What a column has for a task is in `columns`, sums over rows in `averages`; how tables are
written is left to `pages`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from medmt5.book import published, sections
from medmt5.book.averages import Line, averages, differences, fixed_averages
from medmt5.book.columns import Column, run_columns, scored_tasks
from medmt5.book.runs import Run
from medmt5.book.sections import Section


class Head(NamedTuple):
    """What a column is: a run, or a published reference with the number of its source."""

    name: str
    source: int = 0


class Table(NamedTuple):
    """A section of the book, filled.

    `differences` are to the baseline, whose name is in `baseline`; `figures` are single published
    numbers of the same rows; `sources` are what the columns' numbers refer to.
    """

    section: Section
    heads: tuple[Head, ...]
    rows: tuple[Line, ...]
    averages: tuple[Line, ...]
    baseline: str
    differences: tuple[Line, ...]
    figures: tuple[published.Figure, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]


def tables(
    runs: Sequence[Run],
    *,
    show: Collection[str] | None = None,
    mode: str = "",
    metrics: Mapping[str, str] | None = None,
    baseline: str = "",
) -> list[Table]:
    """Fill the sections that have a row.

    Args:
      runs: a column each. Without any, the published numbers are shown.
      show: names of published columns and figures; None for those that share a row, or an average
        that the rows make up; ("all",) for all, with the rows that no run has; ("none",) for none.
      mode: of decoding; "" for the first of MODES that a task has, "all" for a column each.
      metrics: family -> metric to show instead of the main one.
      baseline: name of the column that differences are to; "" for none.

    Raises:
      ValueError: something asked for is not there.
    """
    metrics, references = metrics or {}, published.read_published()[0]
    if show is not None and not {"all", "none"} & set(show):
        known = {column.name for column in references}
        known |= {figure.name for figure in published.read_published()[1]}
        for name in show:
            _known(name, known, "--published", "published column")
    columns = run_columns(runs, mode)
    _check_metrics(columns, metrics)
    every_row = not runs or (show is not None and "all" in show)
    references = [r for r in references if show is None or "all" in show or r.name in show]
    made = []
    for section in sections.SECTIONS:
        rows = _rows(section, columns, references if every_row else (), metrics)
        chosen = [
            Column(reference.name, (), "", reference)
            for reference in references
            if reference.section == section.name and _shares(reference, rows)
        ]
        table = _table(section, [*columns, *chosen], rows, show)
        if table.rows:
            made.append(table)
    if not made:
        raise ValueError("there is nothing to show; name runs, or leave out --published none")
    if baseline:
        names = {head.name for table in made for head in table.heads}
        _known(baseline, names, "--baseline", "column")
        made = [_with_differences(table, baseline) for table in made]
    return made


def _known(name: str, names: Collection[str], flag: str, what: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or sorted(names)[:5]
        raise ValueError(f"{flag}: no {what} is named {name!r}; near: {'; '.join(near)}")


def _check_metrics(columns: Sequence[Column], metrics: Mapping[str, str]) -> None:
    for family, metric in metrics.items():
        there = set()
        for task, found in scored_tasks(columns).items():
            for section in sections.sections_of(task, found):
                if sections.family_of(section, found) == family:
                    there |= {name for name, value in found.items() if not isinstance(value, dict)}
        if columns and metric not in there:
            raise ValueError(
                f"--metric {family}={metric}: no {family} task has it; there is: "
                f"{', '.join(sorted(there)) or 'no such task'}"
            )


class _Row(NamedTuple):
    task: str
    metric: str
    is_main: bool


def _rows(
    section: Section,
    columns: Sequence[Column],
    references: Iterable[published.Column],
    metrics: Mapping[str, str],
) -> list[_Row]:
    found: dict[str, list[str]] = {}
    for task, scores in scored_tasks(columns).items():
        if section in sections.sections_of(task, scores):
            found[task] = [name for name, value in scores.items() if not isinstance(value, dict)]
    for reference in references:
        if reference.section == section.name:
            for task, metric in reference.scores:
                found.setdefault(task, [metric] if metric else [])
    order = {task: place for place, task in enumerate(section.titles)}
    rows = []
    for task in sorted(found, key=lambda task: (order.get(task, len(order)), task)):
        family = sections.family_of(section, found[task])
        main = sections.main_metric(task, family, found[task])
        metric = metrics.get(family, main)
        rows.append(_Row(task, metric, metric == main))
    return rows


def _shares(reference: published.Column, rows: Sequence[_Row]) -> bool:
    """Whether a published column has a row, or only an average that the rows make up."""
    column = Column(reference.name, (), "", reference)
    if any(column.cell(row.task, row.metric, is_main=row.is_main) for row in rows):
        return True
    return not reference.scores and any(
        {(task, reference.metric) for task in average.tasks} <= {(r.task, r.metric) for r in rows}
        for average in reference.averages.values()
    )


def _table(
    section: Section,
    columns: Sequence[Column],
    rows: Sequence[_Row],
    show: Collection[str] | None,
) -> Table:
    cells = {
        row: [column.cell(row.task, row.metric, is_main=row.is_main) for column in columns]
        for row in rows
    }
    rows = [row for row in rows if any(cells[row])]
    # A run that has nothing to do with this section has no column in it.
    kept = [
        place
        for place, column in enumerate(columns)
        if column.reference or any(cells[row][place] for row in rows)
    ]
    columns = [columns[place] for place in kept]
    lines = tuple(
        Line(
            "row",
            section.titles.get(row.task, row.task),
            sections.language(row.task),
            row.task,
            row.metric,
            tuple(cells[row][place] for place in kept),
        )
        for row in rows
    )
    sources = list(dict.fromkeys(c.reference.source for c in columns if c.reference))
    heads = tuple(
        Head(c.name, sources.index(c.reference.source) + 1 if c.reference else 0) for c in columns
    )
    notes = list(dict.fromkeys(c.reference.note for c in columns if c.reference))
    means, why_none = averages(section, lines)
    notes += [why_none, *_modes(heads, lines)]
    means += fixed_averages(columns, lines)
    shown = {(row.task, row.metric) for row in rows} | {(r.task, "") for r in rows if r.is_main}
    figures = tuple(
        figure
        for figure in published.read_published()[1]
        if (figure.task, figure.metric) in shown
        and (show is None or "all" in show or figure.name in show)
    )
    return Table(
        section, heads, lines, tuple(means), "", (), figures, tuple(sources),
        tuple(note for note in notes if note),
    )  # fmt: skip


def _modes(heads: Sequence[Head], lines: Sequence[Line]) -> list[str]:
    """What was decoded how, a sentence."""
    by_modes: dict[str, list[str]] = {}
    for place, head in enumerate(heads):
        modes = [cell.mode for line in lines if (cell := line.cells[place])]
        counts = {mode: modes.count(mode) for mode in modes if mode}
        if counts:
            text = ", ".join(
                mode if len(counts) == 1 else f"{mode} ({count} of {len(modes)} rows)"
                for mode, count in counts.items()
            )
            by_modes.setdefault(text, []).append(head.name)
    return [f"Decoding: {modes}: {', '.join(names)}." for modes, names in by_modes.items()]


def _with_differences(table: Table, baseline: str) -> Table:
    names = [head.name for head in table.heads]
    if names == [baseline]:
        return table
    if baseline not in names:
        note = f"No differences: {baseline} has no row here."
        return table._replace(notes=(*table.notes, note))
    found = differences([*table.rows, *table.averages], names.index(baseline))
    return table._replace(baseline=baseline, differences=tuple(found))
