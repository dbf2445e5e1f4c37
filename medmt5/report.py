"""A run as one HTML page: summary, learning curves, scores, labelled sentences, where things are.

The page needs no network and no scripts, so it can be mailed, archived and printed. What to show
is decided by the caller; reading the scalars of a run is here because the curves come from them.
"""

import html
import json
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medmt5.formats.documents import Document
from medmt5.formats.page import SPAN_CSS, label_hues, render_legend, render_spans


class Curve(NamedTuple):
    """A line chart; each series is a sequence of (x, y). Points that are not finite are gaps."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[int | float, int | float]]]
    log_y: bool = False


class Table(NamedTuple):
    """Rows of text and numbers. A column with fractions gets the same number of digits
    throughout: 4, or 2 where it reaches 10 (percentages). None is shown as a dash."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]
    note: str = ""


def read_scalars(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a JSON Lines file of scalars, one object such as `{"step": 10, "loss": 3.2}` a line.

    A last line without its line end is what a killed run leaves behind; broken, it is ignored.

    Raises:
      ValueError: any other line is not a JSON object; with file and line number.
    """
    records = []
    *lines, unfinished = Path(path).read_bytes().split(b"\n")
    for number, line in enumerate([*lines, unfinished], start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8"))
        except ValueError as error:  # of UTF-8 as well as of JSON
            if number > len(lines):
                break
            raise ValueError(f"{_broken(path, number, line)} ({error})") from error
        if not isinstance(record, dict):
            raise ValueError(_broken(path, number, line))
        records.append(record)
    return records


def _broken(path: str | os.PathLike[str], number: int, line: bytes) -> str:
    return (
        f"{os.fspath(path)}:{number}: {line[:60]!r} is not a JSON object such as "
        '{"step": 10, "loss": 3.2}; correct or delete the line'
    )


# Okabe and Ito's colours for most kinds of colour blindness; in place of those too light for
# white paper, two of ColorBrewer's Dark2. All have contrast 3:1 on white and on the dark page.
# The dashes are for grey printers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a6761d", "#7570b3")
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "12 4", "4 2")
_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 14, 12, 46
# More points than this cannot be seen on so many pixels, but would be megabytes of page.
_MOST_POINTS = 800


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, str],
    curves: Sequence[Curve] = (),
    score_tables: Sequence[Table] = (),
    documents: Sequence[Document] = (),
    paths: Mapping[str, str] | None = None,
) -> Path:
    """Write the page, creating its folder, and return its path. Empty sections are left out.

    Args:
      path: the HTML file; replaced if it exists.
      title: heading of the page.
      summary: short facts, name to value, shown first.
      curves: line charts.
      score_tables: tables of metrics.
      documents: labelled sentences, shown with their entities coloured.
      paths: what was written where, name to path.

    Raises:
      ValueError: a table's row has not as many cells as the table has columns.
    """
    hues = label_hues(documents)
    sections = (
        ("Summary", _facts(summary)),
        ("Learning curves", _figures(curves)),
        ("Scores", "".join(_table(table) for table in score_tables)),
        (
            "Labelled documents",
            (render_legend(documents, hues) if hues else "")
            + "".join(render_spans(document, hues) for document in documents),
        ),
        ("Files", _facts(paths or {}, "files")),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(title, sections, css=SPAN_CSS), encoding="utf-8")
    return path


def render_page(title: str, sections: Iterable[tuple[str, str]], *, css: str) -> str:
    """A page of (heading, HTML) sections, empty ones left out, in the style of all reports."""
    body = "".join(
        f"<section>\n<h2>{html.escape(heading)}</h2>\n{content}</section>\n"
        for heading, content in sections
        if content
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_CSS}{css}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _facts(facts: Mapping[str, str], kind: str = "facts") -> str:
    items = "".join(
        f"<div><dt>{html.escape(str(name))}</dt><dd>{html.escape(str(value))}</dd></div>\n"
        for name, value in facts.items()
    )
    return items and f'<dl class="{kind}">\n{items}</dl>\n'


_NUMBER = ' class="number"'


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(
                f"table {table.title!r} has {len(table.columns)} columns, but its row {list(row)} "
                f"has {len(row)} cells; give one cell per column, None where there is no value"
            )
    note = f'<p class="note">{html.escape(table.note)}</p>\n' if table.note else ""
    return f"<h3>{html.escape(table.title)}</h3>\n{table_html(table.columns, table.rows)}{note}"


def table_html(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows of texts, of numbers and of None, which is a dash, under the names of their columns."""
    columns = [_cells([row[index] for row in rows]) for index in range(len(names))]
    head = "".join(
        f'<th scope="col"{_NUMBER if any(_NUMBER in cell for cell in cells) else ""}>'
        f"{html.escape(name)}</th>"
        for name, cells in zip(names, columns, strict=True)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in zip(*columns, strict=True))
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n'
        "</table></div>\n"
    )


def _cells(values: Sequence[Any]) -> list[str]:
    finite = [v for v in values if isinstance(v, numbers.Real) and math.isfinite(v)]
    digits = 2 if any(abs(value) >= 10 for value in finite) else 4
    whole = all(isinstance(value, numbers.Integral) for value in finite)
    cells = []
    for value in values:
        if value is None or (isinstance(value, numbers.Real) and math.isnan(value)):
            cells.append(f"<td{_NUMBER}>–</td>")
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            text = f"{value:,}" if whole else f"{float(value):,.{digits}f}"
            cells.append(f"<td{_NUMBER}>{text}</td>")
        else:
            cells.append(f"<td>{html.escape(str(value))}</td>")
    return cells


def _figures(curves: Sequence[Curve]) -> str:
    figures = "".join(_figure(curve) for curve in curves)
    return figures and f'<div class="figures">\n{figures}</div>\n'


def _figure(curve: Curve) -> str:
    """The chart as SVG, and a legend with the last value of each series."""
    series = {name: _visible(points, curve.log_y) for name, points in curve.series.items()}
    flat = [point for runs in series.values() for run in runs for point in run]
    styles = {
        name: f'style="stroke:{COLOURS[i % len(COLOURS)]}" stroke-dasharray="'
        f'{_DASHES[(i + i // len(COLOURS)) % len(_DASHES)]}"'
        for i, name in enumerate(series)
    }
    chart = _chart(curve, series, styles, flat) if flat else '<p class="note">No points yet.</p>\n'
    legend = "".join(
        f'<li><svg class="swatch" viewBox="0 0 28 8" aria-hidden="true">'
        f'<path class="line" {styles[name]} d="M0 4H28"/></svg>{html.escape(name)}'
        f"<b>{_short(runs[-1][-1][1]) if runs else '–'}</b></li>"
        for name, runs in series.items()
    )
    return (
        f"<figure>\n<h3>{html.escape(curve.title)}</h3>\n{chart}"
        f'<figcaption><ul class="keys">{legend}</ul></figcaption>\n</figure>\n'
    )


def _chart(curve: Curve, series: Mapping, styles: Mapping, flat: Sequence) -> str:
    x_ticks = _linear_ticks(min(x for x, _ in flat), max(x for x, _ in flat), most=7)
    low, high = min(y for _, y in flat), max(y for _, y in flat)
    y_ticks = _log_ticks(low, high) if curve.log_y else _linear_ticks(low, high, most=6)
    height = math.log10 if curve.log_y else float
    # Steps start and end where the data do; values get room up to the next tick.
    left, right = min(x for x, _ in flat), max(x for x, _ in flat)
    if left == right:
        left, right = x_ticks[0], x_ticks[-1]
    bottom, top = height(y_ticks[0]), height(y_ticks[-1])

    def across(x: float) -> float:
        return _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return (
            _HEIGHT - _BOTTOM - (height(y) - bottom) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)
        )

    x_step = x_ticks[1] - x_ticks[0]
    y_step = math.inf if curve.log_y else y_ticks[1] - y_ticks[0]
    floor, middle = _HEIGHT - _BOTTOM, (_HEIGHT - _BOTTOM + _TOP) / 2
    parts = []
    for y in y_ticks:
        place, label = f"{down(y):.1f}", _short(y, y_step)
        parts.append(f'<path class="grid" d="M{_LEFT} {place}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{place}" dy=".3em" text-anchor="end">{label}</text>'
        )
    for x in (x for x in x_ticks if left <= x <= right):
        place, label = f"{across(x):.1f}", _short(x, x_step)
        parts.append(f'<path class="grid" d="M{place} {_TOP}V{floor}"/>')
        parts.append(f'<text x="{place}" y="{floor + 18}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - _RIGHT}"/>')
    for name, runs in series.items():
        for run in runs:
            # A run of one point has no length; round caps make a zero-length line a dot.
            places = [f"{across(x):.1f} {down(y):.1f}" for x, y in run]
            kind = "line" if len(run) > 1 else "line dot"
            line = "L".join(places if len(run) > 1 else places * 2)
            parts.append(f'<path class="{kind}" {styles[name]} d="M{line}"/>')
    x_label, y_label = html.escape(curve.x_label), html.escape(curve.y_label)
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f'{x_label}</text>\n<text transform="translate(14 {middle}) rotate(-90)" '
        f'text-anchor="middle">{y_label}{" (log)" if curve.log_y else ""}</text>'
    )
    lines = "\n".join(parts)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(curve.title)}: {y_label} by {x_label}">\n{lines}\n</svg>\n'
    )


def _visible(points: Sequence, log_y: bool) -> list[list[tuple[float, float]]]:
    """Cut a series at points that cannot be drawn and thin it, keeping its peaks."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        x, y = float(x), float(y)
        # Beyond 1e300, where a diverging loss passes, differences would overflow.
        if abs(x) < 1e300 and abs(y) < 1e300 and (y > 1e-300 or not log_y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    width = math.ceil(2 * sum(map(len, runs)) / _MOST_POINTS)
    return [_thin(run, width) for run in runs if run]


def _thin(run: list[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """First, last, and the lowest and highest of every `width` points."""
    if width <= 2:
        return run
    kept = {0, len(run) - 1}
    for start in range(0, len(run), width):
        group = range(start, min(start + width, len(run)))
        kept |= {min(group, key=lambda i: run[i][1]), max(group, key=lambda i: run[i][1])}
    return [run[i] for i in sorted(kept)]


def _linear_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose the range."""
    if high - low <= max(1e-9 * abs(low), 1e-290):
        margin = abs(low) / 10 if abs(low) > 1e-280 else 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose the range, with 2 and 5 between where they are few."""
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    every = max(1, (last - first) // 8)
    ticks = [float(f"{f}e{power}") for power in range(first, last + every, every) for f in factors]
    below = max(tick for tick in ticks if tick <= low)
    above = min(tick for tick in ticks if tick > low and tick >= high)
    return [tick for tick in ticks if below <= tick <= above]


def _short(value: float, step: float = math.inf) -> str:
    """4 digits, or as many as tell ticks `step` apart; thousands and more as k, M and G."""
    digits = 4
    if value and step < abs(value):
        digits = max(4, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) + 1)
    for start, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if start <= abs(value) < 1e12:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --paper: #fff;
  --card: #f6f7f9; --rule: #d9dde3; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e8eaee; --soft: #a0a8b4; --paper: #15171b; --card: #1e2126; --rule: #343941; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem clamp(1rem, 4vw, 3rem);
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
section { display: flow-root; }
dl { margin: 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .7rem; }
.facts div { background: var(--card); border-radius: .5rem; padding: .6rem .9rem; }
.facts dd { font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.files div { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .3rem 0; }
.files dt { flex: 0 0 10rem; }
.files dd { font-family: ui-monospace, monospace; font-size: .9rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 1.6rem; }
figure { margin: 0; max-width: 44rem; break-inside: avoid; }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.grid, .axis { fill: none; stroke: var(--rule); }
.axis { stroke: var(--soft); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.dot { stroke-width: 6; stroke-linecap: round; stroke-dasharray: none; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .3rem 0 0; padding: 0;
  list-style: none; font-size: .9rem; }
.keys b { margin-inline-start: .4rem; font-variant-numeric: tabular-nums; }
.swatch { width: 28px; height: 8px; margin-inline-end: .4rem; vertical-align: middle; }
.scroll { overflow-x: auto; margin-bottom: .6rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: start; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-size: .85rem; font-weight: 600; }
th.number, td.number { text-align: end; }
tr { break-inside: avoid; }
.note { color: var(--soft); font-size: .9rem; margin: 0 0 1.6rem; }
@media screen and (max-width: 36rem) { .chart text { font-size: 17px; } }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; } .scroll { overflow: visible; } }
"""
