"""Scores as dots with bars for their intervals, a row per data set, as SVG for the HTML report.

Bars that start at 0 would hide the differences that matter; dots need no zero. The table beside the
plot holds every number, so the plot may leave some to it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from medmt5.report import COLOURS

_WIDTH, _RIGHT, _TOP, _BOTTOM = 640, 16, 24, 28
_INSET = 10  # of the scale, so that a dot at its end does not touch the names
_STEP = 12  # between the dots of one row
_PER_CHARACTER = 8.3  # of 13 px system fonts, on the safe side
# Told apart without colour too.
_MARKS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
    "M-4.5-4.5h9v9h-9z",
    "M0-6l5.5 10h-11z",
    "M0-6.5l6 6.5-6 6.5-6-6.5z",
    "M0 6l5.5-10h-11z",
    "M-5-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z",
)
MOST_SERIES = len(_MARKS)

CSS = """
.dots text.row { fill: var(--ink); }
.dots .band { fill: var(--card); }
.dots .tick { stroke: var(--soft); stroke-width: 1.4; opacity: .75; }
.dots .bar { stroke-width: 1.6; fill: none; }
.mark { width: 14px; height: 14px; margin-inline-end: .4rem; vertical-align: -2px; }
.mark .tick { stroke: var(--soft); stroke-width: 1.6; }
"""


class Dot(NamedTuple):
    value: float
    low: float | None = None
    high: float | None = None


class Series(NamedTuple):
    """A dot per row, None where there is none."""

    name: str
    dots: Sequence[Dot | None]


def dot_plot(
    title: str, rows: Sequence[str], series: Sequence[Series], background: Sequence[Series]
) -> str:
    """A figure: at most MOST_SERIES series in colours and shapes, the background as grey ticks."""
    dots = [dot for one in (*series, *background) for dot in one.dots if dot]
    if not dots:
        return ""
    ticks = _ticks(
        min(dot.value if dot.low is None else dot.low for dot in dots),
        max(dot.value if dot.high is None else dot.high for dot in dots),
    )
    left = min(_PER_CHARACTER * max(map(len, rows)) + 16, 280)
    height = _STEP * (max(len(series), 1) + 1)
    floor = _TOP + height * len(rows)

    def across(value: float) -> str:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return f"{left + _INSET + share * (_WIDTH - _RIGHT - _INSET - left):.1f}"

    parts = []
    for index, row in enumerate(rows):
        top = _TOP + height * index
        if index % 2 == 0:
            parts.append(f'<path class="band" d="M0 {top}H{_WIDTH}V{top + height}H0z"/>')
        parts.append(
            f'<text class="row" x="{left - 8:.1f}" y="{top + height / 2}" dy=".33em" '
            f'text-anchor="end">{html.escape(row)}</text>'
        )
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{across(tick)} {_TOP}V{floor}"/>')
        for y in (_TOP - 8, floor + 18):  # at both ends: plots are taller than a screen
            parts.append(f'<text x="{across(tick)}" y="{y}" text-anchor="middle">{tick:g}</text>')
    for one in background:
        for index, dot in enumerate(one.dots):
            if dot:
                start = _TOP + height * index + 3
                parts.append(
                    f'<path class="tick" d="M{across(dot.value)} {start}v{height - 6}">'
                    f"<title>{html.escape(one.name)}: {dot.value:g}</title></path>"
                )
    for number, one in enumerate(series):
        for index, dot in enumerate(one.dots):
            if dot:
                middle = _TOP + height * index + _STEP * (number + 1)
                parts.append(_drawn(one.name, number, dot, across, middle))
    lines = "\n".join(parts)
    return (
        f'<figure>\n<figcaption><ul class="keys">{_legend(series, background)}</ul></figcaption>\n'
        f'<svg class="chart dots" viewBox="0 0 {_WIDTH} {floor + _BOTTOM}" role="img" '
        f'aria-label="{html.escape(title)}: a dot per data set and column; the table has the '
        f'numbers">\n{lines}\n</svg>\n</figure>\n'
    )


def _legend(series: Sequence[Series], background: Sequence[Series]) -> str:
    items = [_swatch(_shape(number)) + html.escape(one.name) for number, one in enumerate(series)]
    if background:
        others = f"{len(background)} further column{'s' if len(background) > 1 else ''}"
        items.append(_swatch('<path class="tick" d="M0-6v12"/>') + f"{others} of the table")
    return "".join(f"<li>{item}</li>" for item in items)


def _drawn(name: str, number: int, dot: Dot, across, middle: float) -> str:
    words = f"{name}: {dot.value:.2f}"
    bar = ""
    if dot.low is not None and dot.high is not None:
        words += f", {dot.low:.2f} to {dot.high:.2f}"
        bar = (
            f'<path class="bar" style="stroke:{COLOURS[number]}" '
            f'd="M{across(dot.low)} {middle - 3}v6m0-3H{across(dot.high)}m0-3v6"/>'
        )
    return (
        f"<g><title>{html.escape(words)}</title>{bar}"
        f'<g transform="translate({across(dot.value)} {middle})">{_shape(number)}</g></g>'
    )


def _shape(number: int) -> str:
    return f'<path style="fill:{COLOURS[number]}" d="{_MARKS[number]}"/>'


def _swatch(shape: str) -> str:
    return f'<svg class="mark" viewBox="-7 -7 14 14" aria-hidden="true">{shape}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """At most nine round numbers that enclose the range; scores are percentages."""
    for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= 8:
            break
    last += first == last
    return [step * index for index in range(first, last + 1)]
