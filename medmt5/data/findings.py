"""What is wrong with data files: each place, counted and kept, instead of the first one raised.

What is wrong is decided by `check` and by the readers, whose `Report` this is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from medmt5.formats.gold import BadRecord, Report

# Where readers say the column: invalid UTF-8 by byte, JSON by character.
_COLUMN = re.compile(r"(?:at byte|column) (\d+)")


class Finding(NamedTuple):
    """`line` and `column` count from 1, columns in characters (in bytes for invalid UTF-8)."""

    path: str
    line: int
    column: int
    severity: str  # error: readers refuse it, or misread it; warning: they take it as it is
    kind: str
    fault: str

    def text(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.fault}"


class Checked(NamedTuple):
    """What comparing splits needs of a file: the first lines of its items and labels."""

    path: str
    items: dict[int, int]  # hash of a sentence or question -> line
    labels: dict[str, int]


class Places:
    """How many places have something, and the first of them: (line, column, what is there)."""

    def __init__(self, limit: int | None):
        self.limit, self.count = limit, 0
        self.first: list[tuple[int, int, str]] = []

    def add(self, line: int, column: int, what: str) -> None:
        self.count += 1
        if self.limit is None or len(self.first) < self.limit:
            self.first.append((line, column, what))


class Findings(Report):
    """Findings of many files; a reader that gets it as its report goes on after each.

    Args:
      limit: how many of a kind are kept per file; None for all. All are counted.

    Attributes:
      kept: the findings, in the order they came.
      counts: (path, severity, kind) -> how many there are.
    """

    def __init__(self, limit: int | None = None):
        super().__init__(skip_bad=True)
        self.limit = limit
        self.kept: list[Finding] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def error(self, path: str, line: int, column: int, kind: str, fault: str) -> None:
        self._add(Finding(path, line, column, "error", kind, fault))

    def warning(self, path: str, line: int, column: int, kind: str, fault: str) -> None:
        self._add(Finding(path, line, column, "warning", kind, fault))

    def errors(self, path: str, kind: str, places: Places, fault: str) -> None:
        """One error per place; `{}` in `fault` stands for what is there."""
        for line, column, what in places.first:
            self.error(path, line, column, kind, fault.format(what))
        self.counts[path, "error", kind] += places.count - len(places.first)

    def bad(self, place: str, fault: str) -> None:
        """What a reader cannot read; it goes on."""
        self.skipped += 1
        column = _COLUMN.search(fault)
        path, _, line = place.rpartition(":")
        if not line.isdigit():  # a row of a JSON document has no line: `file: question 7 (id x)`
            path, _, row = place.partition(": ")
            line, fault = "1", f"{row}: {fault}"
        self.error(path, int(line), int(column[1]) if column else 1, "record", fault)

    def unreadable(self, path: str, error: ValueError) -> None:
        """A file of which nothing more can be read."""
        if isinstance(error, BadRecord) and error.place:
            self.bad(error.place, error.fault)
        else:
            self.error(path, 1, 1, "file", str(error).removeprefix(f"{path}: "))

    def _add(self, finding: Finding) -> None:
        key = finding.path, finding.severity, finding.kind
        if self.limit is None or self.counts[key] < self.limit:
            self.kept.append(finding)
        self.counts[key] += 1

    def total(self, severity: str, path: str | None = None) -> int:
        return sum(
            count
            for (where, how, _), count in self.counts.items()
            if how == severity and path in (None, where)
        )

    def lines(self) -> Iterator[str]:
        """Findings by file and line; after each file, what was counted but not kept."""
        by_file: dict[str, list[Finding]] = {path: [] for path, _, _ in self.counts}
        for finding in self.kept:
            by_file[finding.path].append(finding)
        for path, found in by_file.items():
            yield from (finding.text() for finding in sorted(found))
            shown = Counter((finding.severity, finding.kind) for finding in found)
            for (where, severity, kind), count in self.counts.items():
                if where == path and (more := count - shown[severity, kind]):
                    yield f"{path}: {more:,} more of this kind: {severity}, {kind}"

    def as_json(self) -> dict[str, Any]:
        return {
            "errors": self.total("error"),
            "warnings": self.total("warning"),
            "counts": [
                {"path": path, "severity": severity, "kind": kind, "count": count}
                for (path, severity, kind), count in self.counts.items()
                if count
            ],
            "findings": [finding._asdict() for finding in self.kept],
        }
