"""Tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | int]],
    *,
    right: Collection[int] | None = None,
) -> str:
    """Rows of texts and of whole numbers, which get commas.

    Args:
      right: places of the columns that are set to the right; by default those of numbers alone.
    """
    rows = list(rows)
    places = range(len(columns))
    if right is None:
        right = [place for place in places if all(isinstance(row[place], int) for row in rows)]
    rules = ["---:" if place in right else "---" for place in places]
    lines = [f"|{'|'.join(rules)}|"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(map(escaped, columns))} |", *lines])


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else escaped(value)


def escaped(text: str) -> str:
    """Text that means itself in a cell: no column ends in it and no HTML begins."""
    return re.sub(r"([\\|<])", r"\\\1", text).replace("\n", " ")
