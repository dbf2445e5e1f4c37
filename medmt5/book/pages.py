"""A results book as Markdown, CSV and one HTML page without scripts."""

from __future__ import annotations

import csv
import html
import io
import statistics
from collections.abc import Sequence

from medmt5.book.averages import Line
from medmt5.book.columns import Cell
from medmt5.book.dot_plot import CSS, MOST_SERIES, Dot, Series, dot_plot
from medmt5.book.runs import Run
from medmt5.book.tables import Head, Table
from medmt5.markdown import escaped
from medmt5.markdown import table as markdown_table
from medmt5.report import render_page

TITLE = "Results"
_ABOUT = (
    "Scores are percentages. [low, high] is the interval that the evaluation gave; ± is the sample "
    "standard deviation over n seeds. A number in brackets after a name is its published source. "
    "Common rows are those that every shown column has. "
    'Averages "as printed" are those of the sources; a run\'s is computed over the same rows.'
)
_NUMBER = ' class="number"'
_CSS = """
.book .number { white-space: nowrap; }
.book thead th { vertical-align: bottom; }
.book thead .number { white-space: normal; min-width: 6.5rem; }
.book th:first-child { position: sticky; left: 0; background: var(--paper); min-width: 13rem; }
.book tbody th { color: var(--ink); font-size: 1rem; font-weight: 400; }
.book .average > * { font-weight: 600; }
.book :not(.average) + .average > * { border-top: 2px solid var(--soft); }
.book small { color: var(--soft); font-weight: 400; }
.notes { color: var(--soft); font-size: .9rem; padding-inline-start: 1.2rem; }
"""


def markdown(tables: Sequence[Table], runs: Sequence[Run]) -> str:
    """The book for reading as text and for pasting."""
    parts = [f"# {TITLE}", _ABOUT]
    for table in tables:
        parts.append(f"## {table.section.title}")
        parts.append(_markdown_table(table, (*table.rows, *table.averages)))
        if table.differences:
            parts.append(f"### Difference to {escaped(table.baseline)}")
            parts.append(_markdown_table(table, table.differences, signed=True))
        if table.figures:
            figures = markdown_table(_FIGURE_HEADS, _figure_rows(table), right=[4])
            parts += ["### Single published numbers", figures]
        notes = [f"[{number}] {source}." for number, source in enumerate(table.sources, 1)]
        if notes or table.notes:
            parts.append("\n".join(f"* {escaped(note)}" for note in (*notes, *table.notes)))
    if runs:
        lines = [f"* {escaped(name)}: {escaped(files)}" for name, files in _run_files(runs)]
        parts += ["## Runs", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table, lines: Sequence[Line], *, signed: bool = False) -> str:
    heads = ["lang", "data set", "metric", *map(_head, table.heads)]
    rows = []
    for line in lines:
        title = line.title if line.kind == "row" else f"**{line.title}**"
        cells = [_text(cell, signed=signed) for cell in line.cells]
        rows.append([line.lang, title, line.metric, *cells])
    return markdown_table(heads, rows, right=range(3, len(heads)))


def _head(head: Head) -> str:
    return f"{head.name} [{head.source}]" if head.source else head.name


def _text(cell: Cell | None, *, signed: bool = False) -> str:
    if cell is None:
        return "–"
    after = _after(cell)
    return f"{_number(cell, signed)} {after}" if after else _number(cell, signed)


def _number(cell: Cell, signed: bool) -> str:
    return f"{cell.value:{'+' if signed else ''}.{cell.digits}f}"


def _after(cell: Cell) -> str:
    """What is said after the number: deviation, interval, remark."""
    parts = [] if cell.sure else ["(?)"]
    if cell.deviation is not None:
        parts.append(f"± {cell.deviation:.2f} (n={len(cell.seeds)})")
    if cell.interval:
        parts.append(f"[{cell.interval[0]:.2f}, {cell.interval[1]:.2f}]")
    if cell.recomputed is not None:
        parts.append(f"(its rows: {cell.recomputed:.2f})")
    return " ".join(parts)


_FIGURE_HEADS = ("lang", "data set", "metric", "model", "published", "source")


def _figure_rows(table: Table) -> list[list[str]]:
    rows = {row.task: row for row in table.rows}
    found = sorted(table.figures, key=lambda figure: (list(rows).index(figure.task), -figure.value))
    return [
        [
            rows[figure.task].lang,
            rows[figure.task].title,
            figure.metric,
            figure.name,
            str(figure.value),
            f"{figure.source} ({figure.note})" if figure.note else figure.source,
        ]
        for figure in found
    ]


def _run_files(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(run.name, ", ".join(run.files)) for run in runs]


FIELDS = (
    "section", "kind", "lang", "task", "data_set", "metric", "column", "published", "mode", "value",
    "deviation", "seeds", "low", "high", "difference", "recomputed", "source",
)  # fmt: skip


def comma_separated(tables: Sequence[Table]) -> str:
    """The book for programs: a line per cell, the columns as in FIELDS."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        differences = {(line.title, line.lang): line for line in table.differences}
        for line in (*table.rows, *table.averages):
            other = differences.get((line.title, line.lang))
            for place, (head, cell) in enumerate(zip(table.heads, line.cells, strict=True)):
                if cell is None:
                    continue
                low, high = cell.interval or ("", "")
                difference = other.cells[place] if other else None
                writer.writerow(
                    {
                        "section": table.section.name,
                        "kind": line.kind,
                        "lang": line.lang,
                        "task": line.task,
                        "data_set": line.title,
                        "metric": line.metric,
                        "column": head.name,
                        "published": int(head.source > 0),
                        "mode": cell.mode,
                        "value": round(cell.value, 4),
                        "deviation": "" if cell.deviation is None else round(cell.deviation, 4),
                        "seeds": "" if head.source else len(cell.seeds),
                        "low": low,
                        "high": high,
                        "difference": round(difference.value, 4) if difference else "",
                        "recomputed": "" if cell.recomputed is None else round(cell.recomputed, 4),
                        "source": table.sources[head.source - 1] if head.source else "",
                    }
                )
        for figure in table.figures:
            row = next(row for row in table.rows if row.task == figure.task)
            writer.writerow(
                {
                    "section": table.section.name,
                    "kind": "figure",
                    "lang": row.lang,
                    "task": figure.task,
                    "data_set": row.title,
                    "metric": figure.metric,
                    "column": figure.name,
                    "published": 1,
                    "value": figure.value,
                    "source": f"{figure.source} ({figure.note})" if figure.note else figure.source,
                }
            )
    return out.getvalue()


def page(tables: Sequence[Table], runs: Sequence[Run]) -> str:
    """The book as one HTML page: per section a plot, the table, the differences, the notes."""
    about = f'<p class="note">{html.escape(_ABOUT)}</p>\n'
    files = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(paths)}</dd></div>\n"
        for name, paths in _run_files(runs)
    )
    sections = [("How to read this", about)]
    sections += [(table.section.title, _html_section(table)) for table in tables]
    sections.append(("Runs", files and f'<dl class="files">\n{files}</dl>\n'))
    return render_page(TITLE, sections, css=_CSS + CSS)


def _html_section(table: Table) -> str:
    parts = [_plot(table), _html_table(table, (*table.rows, *table.averages))]
    if table.differences:
        parts.append(f"<h3>Difference to {html.escape(table.baseline)}</h3>\n")
        parts.append(_html_table(table, table.differences, signed=True))
    if table.figures:
        parts.append("<h3>Single published numbers</h3>\n")
        parts.append(_html_figures(_figure_rows(table)))
    notes = [f"[{number}] {source}." for number, source in enumerate(table.sources, 1)]
    items = "".join(f"<li>{html.escape(note)}</li>\n" for note in (*notes, *table.notes))
    parts.append(items and f'<ul class="notes">\n{items}</ul>\n')
    return "".join(parts)


def _html_figures(rows: Sequence[Sequence[str]]) -> str:
    number = _FIGURE_HEADS.index("published")

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{_NUMBER if place == number else ''}>{html.escape(text)}</{tag.split()[0]}>"
            for place, text in enumerate(texts)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    head = cells('th scope="col"', _FIGURE_HEADS)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _html_table(table: Table, lines: Sequence[Line], *, signed: bool = False) -> str:
    heads = "".join(
        f'<th scope="col"{_NUMBER}>{html.escape(_head(head))}</th>' for head in table.heads
    )
    label = table.section.title + (f", difference to {table.baseline}" if signed else "")
    rows = []
    for line in lines:
        cells = "".join(f"<td{_NUMBER}>{_html_cell(cell, signed)}</td>" for cell in line.cells)
        kind = "" if line.kind == "row" else ' class="average"'
        rows.append(
            f'<tr{kind}><th scope="row">{html.escape(line.title)}</th>'
            f"<td>{html.escape(line.lang)}</td><td>{html.escape(line.metric)}</td>{cells}</tr>\n"
        )
    return (
        # Focus lets the keyboard scroll it.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">'
        '<table class="book">\n<thead><tr><th scope="col">data set</th>'
        f'<th scope="col">lang</th><th scope="col">metric</th>{heads}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table></div>\n"
    )


def _html_cell(cell: Cell | None, signed: bool) -> str:
    if cell is None:
        return "–"
    after = _after(cell)
    return _number(cell, signed) + (f" <small>{html.escape(after)}</small>" if after else "")


def _plot(table: Table) -> str:
    dots = [[_dot(line.cells[place]) for line in table.rows] for place in range(len(table.heads))]
    there = [place for place, column in enumerate(dots) if any(column)]
    shown = there
    if len(there) > MOST_SERIES:
        # The runs, or, where there are none, those that are best on average.
        runs = [place for place in there if not table.heads[place].source]
        shown = (runs or sorted(there, key=lambda place: -_height(dots[place])))[:MOST_SERIES]
    series = {place: Series(table.heads[place].name, dots[place]) for place in there}
    # The names of tasks say the language, the titles of data sets do not.
    rows = [
        line.title if line.title == line.task else f"{line.title} {line.lang}"
        for line in table.rows
    ]
    return dot_plot(
        table.section.title,
        rows,
        [series[place] for place in shown],
        [series[place] for place in there if place not in shown],
    )


def _height(dots: Sequence[Dot | None]) -> float:
    return statistics.fmean(dot.value for dot in dots if dot)


def _dot(cell: Cell | None) -> Dot | None:
    if cell is None:
        return None
    if cell.interval:
        return Dot(cell.value, *cell.interval)
    if cell.deviation is not None:
        return Dot(cell.value, cell.value - cell.deviation, cell.value + cell.deviation)
    return Dot(cell.value)
