"""Bars as SVG: parts of a whole for each row, and a histogram."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from medmt5.report import COLOURS

_WIDTH, _BAR, _STEP, _LEFT, _RIGHT = 640, 16, 26, 70, 110
_PER_CHARACTER = 7.8  # of 13 px system fonts

CSS = """
.bars text.row { fill: var(--ink); }
rect.pale { opacity: .55; }
svg.key { width: .8rem; height: .8rem; margin-inline-end: .4rem; }
"""


def _style(number: int) -> str:
    """Colour of a series; the second round of colours is pale."""
    pale = " pale" if number >= len(COLOURS) else ""
    return f'class="part{pale}" style="fill:{COLOURS[number % len(COLOURS)]}"'


def stacked(title: str, rows: Mapping[str, Mapping[str, int]], *, unit: str) -> str:
    """A figure with a bar per row, cut into named parts; one without any is left out.

    Args:
      rows: name of the row -> name of the part -> how much.
      unit: what is counted.
    """
    rows = {name: parts for name, parts in rows.items() if sum(parts.values())}
    if not rows:
        return ""
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    most = max(sum(parts.values()) for parts in rows.values())
    left = max(_LEFT, _PER_CHARACTER * max(map(len, rows)) + 12)
    scale = (_WIDTH - left - _RIGHT) / most
    drawn = []
    for index, (row, parts) in enumerate(rows.items()):
        top, across, total = _STEP * index + 4, left, sum(parts.values())
        middle = f'y="{top + _BAR / 2}" dy=".35em"'
        label = html.escape(row)
        drawn.append(
            f'<text class="row" x="{left - 8:.1f}" {middle} text-anchor="end">{label}</text>'
        )
        for name, amount in parts.items():
            if amount:
                words = html.escape(f"{row}, {name}: {amount:,} {unit} ({amount / total:.1%})")
                drawn.append(
                    f'<rect {_style(names.index(name))} x="{across:.1f}" y="{top}" '
                    f'width="{amount * scale:.1f}" height="{_BAR}"><title>{words}</title></rect>'
                )
                across += amount * scale
        drawn.append(f'<text x="{across + 6:.1f}" {middle}>{total:,}</text>')
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><rect {_style(number)} '
        f'width="10" height="10"/></svg>{html.escape(name)}</li>'
        for number, name in enumerate(names)
    )
    return _figure(title, f"a bar per row, in {unit}", drawn, _STEP * len(rows) + 8, keys)


def histogram(title: str, bins: Mapping[str, int], *, unit: str) -> str:
    """A figure with a column per bin, in their order."""
    most = max(bins.values(), default=0)
    if not most:
        return ""
    wide, tall = min((_WIDTH - 20) / len(bins), 60), 120
    drawn = []
    for index, (name, amount) in enumerate(bins.items()):
        high = tall * amount / most
        middle = f'x="{10 + wide * (index + 0.5):.1f}" text-anchor="middle"'
        drawn.append(
            f'<rect {_style(0)} x="{11 + wide * index:.1f}" y="{20 + tall - high:.1f}" '
            f'width="{wide - 2:.1f}" height="{high:.1f}"/>'
            f'<text {middle} y="{14 + tall - high:.1f}">{amount or ""}</text>'
            f'<text {middle} y="{tall + 38}">{html.escape(name)}</text>'
        )
    return _figure(title, unit, drawn, tall + 46, "")


def _figure(title: str, about: str, drawn: Sequence[str], height: int, keys: str) -> str:
    legend = keys and f'<figcaption><ul class="keys">{keys}</ul></figcaption>\n'
    label = html.escape(f"{title}: {about}")
    lines = "\n".join(drawn)
    return (
        f"<figure>\n<h3>{html.escape(title)}</h3>\n{legend}"
        f'<svg class="chart bars" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{label}">\n{lines}\n</svg>\n</figure>\n'
    )
